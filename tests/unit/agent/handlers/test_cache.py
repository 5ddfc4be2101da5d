"""The layer disk cache: limit, order of eviction, disks in use, damage, and crashes in between."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sekiso.agent.cache import CLAIM, BootClaim, CacheEntry, DiskCache, DiskFacts, recipe_key
from sekiso.agent.contract import DiskRecipe
from sekiso.agent.handlers.records import write_record
from sekiso.agent.handlers.sparse import allocated_bytes, content_root, copy_disk_file
from sekiso.agent.places import make_folder, open_places
from sekiso.errors import CanceledError
from sekiso.model.canonical import content_id
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import SilentProgress

from .bench import disk_content

UNIT = 64 << 10
MADE_BY = "a" * 32


def recipe(number: int) -> DiskRecipe:
    return DiskRecipe((f"{number:064x}",), Generation.ONE, DiskFormat.VHD)


def version(number: int) -> str:
    return f"{number:032x}"


class Canceled(SilentProgress):
    def canceled(self) -> bool:
        return True


@dataclass
class Rig:
    """A cache and a clock that goes on with every look."""

    root: Path
    now: float = 1000.0
    held: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.places = open_places(str(self.root))
        self.cache = DiskCache(self.places, clock=self.tick)

    def tick(self) -> float:
        self.now += 1
        return self.now

    def claim_file(self, owner: str) -> Path:
        return make_folder(self.places.packaging(owner)) / CLAIM

    def use(
        self, number: int, *, limit: int, owner: str | None = None, units: int = 1, task: str = MADE_BY
    ) -> tuple[CacheEntry | None, bool]:
        """Take a disk from the cache, or make it and put it there; as `disk.compose` does."""
        wanted = recipe(number)
        key = recipe_key(wanted)

        def claim(entry: CacheEntry) -> None:
            if owner is not None:
                write_record(self.claim_file(owner), BootClaim(entry.key, cached=True))

        def release() -> None:
            if owner is not None:
                self.claim_file(owner).unlink()

        with self.cache.holding(key):
            found = self.cache.find(key, task_id=task, claim=claim, release=release)
            if found is not None:
                return found, True
            disk = self.places.scratch(MADE_BY) / "disk.vhd"
            disk.write_bytes(disk_content(key, units * UNIT))
            facts = DiskFacts(wanted)
            return self.cache.put(disk, facts, limit_bytes=limit, task_id=task, claim=claim), False

    def damage(self, number: int) -> None:
        with (self.places.cache() / f"{recipe_key(recipe(number))}.vhd").open("r+b") as stream:
            stream.seek(100)
            stream.write(b"\0")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "storage")


def test_the_key_is_the_identity_of_the_whole_recipe() -> None:
    one = recipe(1)
    assert recipe_key(one) == content_id(msgspec.to_builtins(one))
    others = [replace(one, title="x"), replace(one, created_s=1), replace(one, size_bytes=5), recipe(2)]
    assert len({recipe_key(r) for r in (one, *others)}) == 5


def test_a_disk_is_made_once_and_found_again(rig: Rig) -> None:
    entry, hit = rig.use(1, limit=10 * UNIT, task="1" * 32)
    assert entry is not None and not hit
    again, hit = rig.use(1, limit=10 * UNIT, task="2" * 32)
    assert hit and again is not None and again.hits == 1
    facts = rig.cache.facts()
    assert (facts.hits, facts.misses, facts.evictions, facts.rebuilt) == (1, 1, 0, 0)
    assert facts.file_bytes == facts.disks[0].file_bytes == UNIT
    assert facts.disks[0].identities == recipe(1).identities


def test_the_task_that_made_a_disk_finds_it_without_a_hit(rig: Rig) -> None:
    rig.use(1, limit=10 * UNIT)
    rig.use(1, limit=10 * UNIT)
    assert rig.cache.facts().hits == 0


def test_the_least_recently_used_goes_first(rig: Rig) -> None:
    for number in (1, 2, 3):
        rig.use(number, limit=3 * UNIT)
    rig.use(1, limit=3 * UNIT, task="b" * 32)
    rig.use(4, limit=3 * UNIT)
    facts = rig.cache.facts()
    assert [d.key for d in facts.disks] == [recipe_key(recipe(n)) for n in (4, 1, 3)]
    assert facts.evictions == 1


def test_a_disk_in_use_stays_and_one_that_does_not_fit_is_not_kept(rig: Rig) -> None:
    rig.use(1, limit=2 * UNIT, owner=version(1))
    rig.use(2, limit=2 * UNIT, owner=version(2))
    entry, _ = rig.use(3, limit=2 * UNIT)
    assert entry is None
    assert (rig.places.task(MADE_BY) / "disk.vhd").is_file()
    facts = rig.cache.facts()
    assert facts.evictions == 0
    assert {d.in_use_by for d in facts.disks} == {(version(1),), (version(2),)}
    shutil.rmtree(rig.places.packaging(version(1)))
    assert rig.use(3, limit=2 * UNIT)[0] is not None
    assert {d.key for d in rig.cache.facts().disks} == {recipe_key(recipe(n)) for n in (2, 3)}


def test_nothing_is_evicted_for_a_disk_that_does_not_fit_anyway(rig: Rig) -> None:
    rig.use(1, limit=2 * UNIT)
    assert rig.use(2, limit=2 * UNIT, units=3)[0] is None
    assert len(rig.cache.facts().disks) == 1


def test_a_damaged_disk_is_removed_and_made_again(rig: Rig) -> None:
    rig.use(1, limit=9 * UNIT)
    rig.damage(1)
    entry, hit = rig.use(1, limit=9 * UNIT, task="b" * 32)
    assert entry is not None and not hit
    assert rig.cache.path(entry).read_bytes() == disk_content(entry.key, UNIT)
    facts = rig.cache.facts()
    assert (facts.hits, facts.misses, facts.rebuilt) == (0, 2, 1)


@pytest.mark.parametrize("harm", ["cut", "grown", "gone"])
def test_other_damage_is_found_too(rig: Rig, harm: str) -> None:
    entry, _ = rig.use(1, limit=9 * UNIT)
    assert entry is not None
    path = rig.cache.path(entry)
    if harm == "gone":
        path.unlink()
    else:
        os.truncate(path, UNIT - 512 if harm == "cut" else UNIT + 512)
    again, hit = rig.use(1, limit=9 * UNIT, task="b" * 32)
    assert again is not None and not hit
    assert content_root(path) == again.root


def test_a_damaged_disk_in_use_is_replaced_where_it_lies(rig: Rig) -> None:
    entry, _ = rig.use(1, limit=9 * UNIT, owner=version(1))
    assert entry is not None
    rig.damage(1)
    path = rig.cache.path(entry)
    key = entry.key
    with rig.cache.holding(key):
        assert rig.cache.find(key, task_id="b" * 32, claim=lambda _: None) is None
    assert path.is_file()
    rig.cache.clear()
    assert path.is_file()
    rig.use(1, limit=9 * UNIT, owner=version(2), task="b" * 32)
    assert path.read_bytes() == disk_content(key, UNIT)
    assert rig.cache.facts().disks[0].in_use_by == (version(1), version(2))


def test_clearing_keeps_what_is_in_use(rig: Rig) -> None:
    for number in (1, 2, 3):
        rig.use(number, limit=9 * UNIT, owner=version(1) if number == 1 else None)
    left = rig.cache.clear((recipe_key(recipe(1)), recipe_key(recipe(2)), "0" * 64))
    assert {d.key for d in left.disks} == {recipe_key(recipe(n)) for n in (1, 3)}
    left = rig.cache.clear()
    assert [d.key for d in left.disks] == [recipe_key(recipe(1))]
    assert left.evictions == 0


def test_clearing_to_a_limit_evicts_the_least_recently_used(rig: Rig) -> None:
    for number in (1, 2, 3):
        rig.use(number, limit=9 * UNIT)
    left = rig.cache.clear(limit_bytes=2 * UNIT)
    assert {d.key for d in left.disks} == {recipe_key(recipe(n)) for n in (2, 3)}
    assert left.evictions == 1
    assert rig.cache.clear(limit_bytes=0).file_bytes == 0


def test_what_somebody_holds_is_not_evicted(rig: Rig) -> None:
    rig.use(1, limit=9 * UNIT)
    with rig.cache.holding(recipe_key(recipe(1))):
        assert len(rig.cache.clear().disks) == 1
    assert rig.cache.clear().disks == ()


def test_waiting_for_a_key_can_be_canceled(rig: Rig) -> None:
    key = recipe_key(recipe(1))
    waiting = rig.cache.holding(key, progress=Canceled())
    with rig.cache.holding(key), pytest.raises(CanceledError):
        waiting.__enter__()


def test_looking_at_a_disk_can_be_canceled(rig: Rig) -> None:
    rig.use(1, limit=9 * UNIT)
    key = recipe_key(recipe(1))
    with rig.cache.holding(key), pytest.raises(CanceledError):
        rig.cache.find(key, task_id=MADE_BY, claim=lambda _: None, progress=Canceled())
    assert len(rig.cache.facts().disks) == 1


def test_leftovers_of_crashes_go(rig: Rig) -> None:
    rig.use(1, limit=9 * UNIT)
    folder = rig.places.cache()
    (folder / f"{'e' * 64}.vhd").write_bytes(b"no record")
    (folder / f"{'f' * 64}.json").write_text("{}")
    rig.use(2, limit=9 * UNIT)
    assert sorted(p.suffix for p in folder.glob("[0-9a-f]*.*")) == [".json", ".json", ".vhd", ".vhd"]


def test_a_broken_record_or_index_counts_as_absent(rig: Rig) -> None:
    rig.use(1, limit=9 * UNIT)
    folder = rig.places.cache()
    (folder / "index.json").write_text("[")
    (folder / f"{recipe_key(recipe(1))}.json").write_bytes(b"\xff\xfe")
    assert rig.cache.facts().disks == ()
    assert rig.use(1, limit=9 * UNIT)[1] is False


class CacheMachine(RuleBasedStateMachine):
    """Whatever happens, the cache keeps its limit, what is in use, and right content."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sekiso-cache-"))
        self.rig = Rig(self.folder / "storage")
        self.used: dict[str, str] = {}
        self.limit = 4

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(limit=st.integers(1, 5))
    def choose_limit(self, limit: int) -> None:
        self.limit = limit

    @rule(
        number=st.integers(1, 6),
        owner=st.none() | st.integers(1, 3),
        task=st.integers(1, 3),
    )
    def use(self, number: int, owner: int | None, task: int) -> None:
        name = None if owner is None else version(owner)
        if name in self.used:
            return
        # The size follows from the recipe, as with real disks.
        units = 1 + number % 3
        entry, _ = self.rig.use(number, limit=self.limit * UNIT, owner=name, units=units, task=version(task))
        if entry is not None:
            assert self.rig.cache.path(entry).read_bytes() == disk_content(entry.key, units * UNIT)
            if name is not None:
                self.used[name] = entry.key
        else:
            in_use = {k: self._size(k) for k in self.used.values()}
            assert sum(in_use.values()) + units * UNIT > self.limit * UNIT

    @rule(number=st.integers(1, 6))
    def damage(self, number: int) -> None:
        key = recipe_key(recipe(number))
        if (self.rig.places.cache() / f"{key}.vhd").exists() and key not in self.used.values():
            self.rig.damage(number)

    @rule(owner=st.integers(1, 3))
    def let_go(self, owner: int) -> None:
        self.used.pop(version(owner), None)
        shutil.rmtree(self.rig.places.packaging(version(owner)), ignore_errors=True)

    @rule(number=st.integers(1, 6))
    def clear_one(self, number: int) -> None:
        self.rig.cache.clear((recipe_key(recipe(number)),))

    def _size(self, key: str) -> int:
        return allocated_bytes(self.rig.places.cache() / f"{key}.vhd")

    @invariant()
    def limit_is_kept(self) -> None:
        facts = self.rig.cache.facts()
        assert facts.file_bytes <= self.limit * UNIT
        held = {d.key for d in facts.disks}
        assert set(self.used.values()) <= held
        on_disk = {p.stem for p in self.rig.places.cache().glob("*.vhd")}
        assert held <= on_disk


CacheMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestCacheMachine = CacheMachine.TestCase


# Sparse files


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(5 << 20)
        stream.write(b"x" * 100)
        stream.seek((40 << 20) + 7)
        stream.write(b"y" * (3 << 20))
    yield path


def test_a_copy_keeps_holes_and_content(sparse: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_disk_file(sparse, copy)
    assert copy.read_bytes() == sparse.read_bytes()
    assert allocated_bytes(copy) < 8 << 20
    assert content_root(copy) == content_root(sparse)


def test_the_content_hash_does_not_depend_on_holes(sparse: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.write_bytes(sparse.read_bytes())
    assert allocated_bytes(full) > allocated_bytes(sparse)
    assert content_root(full) == content_root(sparse)
    with full.open("r+b") as stream:
        stream.seek(20 << 20)
        stream.write(b"\1")
    assert content_root(full) != content_root(sparse)
    os.truncate(full, 63 << 20)
    assert content_root(full) != content_root(sparse)
