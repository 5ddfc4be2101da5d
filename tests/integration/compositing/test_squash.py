"""A version and the changes on top of it become one layer file: the same images come of it (LY-3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.compositing.composition import MergedStack, merge_stack
from sekiso.compositing.families import support_for
from sekiso.compositing.squash import SquashRequest, squash
from sekiso.compositing.stack import LayerStack
from sekiso.compositing.verify import verify_layer
from sekiso.errors import AlreadyExistsError, CanceledError, RuleError
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.machine import Generation
from sekiso.store.layer_file import Compression, LayerFile
from sekiso.wim import libwim
from sekiso.wim.diff import diff
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import NO_BLOB, Node, blobs_of, find, walk
from tests.unit.compositing.builders import Content, put, tree
from tests.unit.compositing.edit_scripts import Disk, captured, identity, write_layer

from .cancel import CancelAfter
from .systems import stanza

pytestmark = pytest.mark.slow


def merged(paths: list[Path]) -> tuple[Node, dict[str, bytes]]:
    """Return the tree of a stack of layers, and the content of every file by path."""
    with LayerStack.open(paths) as stack:
        done = merge_stack(stack, support_for(stack.family), created=0)
        content = {
            f"{path} {sha1.hex()}": _read(stack, done, sha1)
            for path, node in walk(done.editor.root)
            for sha1 in blobs_of(node)
        }
        return done.editor.root, content


def _read(stack: LayerStack, done: MergedStack, sha1: bytes) -> bytes:
    made = done.editor.generated.get(sha1)
    return stack.read_blob(sha1) if made is None else made


def assert_same_images(one: list[Path], other: list[Path], *, windows: bool = False) -> None:
    (first, first_content), (second, second_content) = merged(one), merged(other)
    assert not diff(first, second, case_sensitive=not windows, ignore=())
    assert first_content == second_content


def do_squash(previous: Path, delta: Path, out: Path, **more: object) -> Path:
    squash(SquashRequest(previous, delta, out, "App", "2", **more))  # type: ignore[arg-type]
    verify_layer(out)
    return out


@pytest.mark.parametrize("windows", [False, True], ids=["linux", "windows"])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_versions_on_top_of_each_other(
    windows: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("squash")
    family = GuestFamily.WINDOWS if windows else GuestFamily.LINUX
    base = Disk(windows=windows, seed=seed)
    base.edit(16)
    system = write_layer(
        place / "os.wim", LayerTree("os", base.root), base.content, kind=LayerKind.OS, family=family
    )
    first, below = base, (identity(system),)
    version: Path | None = None
    for number in (1, 2, 3):
        later = first.copy(seed + number)
        later.edit(9)
        found = captured(f"delta {number}", first.root, later.root, windows=windows)
        bases = below if version is None else (*below, identity(version))
        delta = write_layer(place / f"delta-{number}.wim", found, later.content, base=bases, family=family)
        if version is None:
            version = delta
        else:
            known = (system,) if number == 3 else ()
            joined = do_squash(version, delta, place / f"v{number}.wim", base=known)
            assert_same_images([system, version, delta], [system, joined], windows=windows)
            version = joined
        with LayerFile(version) as layer:
            assert layer.manifest.base == below
        first = later


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1 << 32), windows=st.booleans())
def test_an_os_layer_stays_a_whole_system(
    seed: int, windows: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("squash")
    family = GuestFamily.WINDOWS if windows else GuestFamily.LINUX
    base = Disk(windows=windows, seed=seed)
    base.edit(16)
    system = write_layer(
        place / "os.wim", LayerTree("os", base.root), base.content, kind=LayerKind.OS, family=family
    )
    later = base.copy(seed + 1)
    later.edit(9)
    found = captured("delta", base.root, later.root, windows=windows)
    delta = write_layer(place / "delta.wim", found, later.content, base=(identity(system),), family=family)
    joined = do_squash(system, delta, place / "v2.wim", generation=Generation.TWO)
    assert_same_images([system, delta], [joined], windows=windows)
    with LayerFile(joined) as layer, LayerFile(system) as old:
        manifest, before = layer.manifest, old.manifest
        assert before.boot is not None
        assert manifest.boot == replace(before.boot, generation=Generation.TWO)
        assert (manifest.kind, manifest.base, manifest.deleted, manifest.replaced) == ("os", (), (), ())
        assert (manifest.changed_directories, manifest.structured) == ((), ())
        assert layer.wim.image_count == 1


# --- files merged by content

PASSWD = "root:x:0:0:root:/root:/bin/sh\n"


def account(name: str, number: int) -> str:
    return f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"


class Files:
    """Layers of files merged by content, each captured on top of the one before."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.content = Content()

    def write(
        self, name: str, files: dict[str, str | None], base: list[Path], before: dict[str, str | None]
    ) -> Path:
        root = tree(self.content)
        for path, text in files.items():
            if text is not None:
                put(root, self.content, path, text.encode())
        bases = {path: None if (was := before.get(path)) is None else was.encode() for path in files}
        for was in bases.values():
            if was is not None:
                self.content.keep(was)
        deleted = tuple(sorted(path for path, text in files.items() if text is None))
        return write_layer(
            self.place / f"{name}.wim",
            LayerTree(name, root, deleted),
            self.content,
            kind=LayerKind.APP if base else LayerKind.OS,
            base=tuple(identity(path) for path in base),
            bases=bases if base else {},
        )


STATUS, ACCOUNTS, SHELLS = "/var/lib/dpkg/status", "/etc/passwd", "/etc/group"


def test_files_merged_by_content(tmp_path: Path) -> None:
    files = Files(tmp_path)
    base: dict[str, str | None] = {STATUS: stanza("base-files"), ACCOUNTS: PASSWD}
    first: dict[str, str | None] = {
        STATUS: stanza("app", "1.0") + stanza("base-files") + stanza("helper"),
        ACCOUNTS: PASSWD + account("app", 900) + account("helper", 901),
    }
    second: dict[str, str | None] = {
        STATUS: stanza("app", "2.0") + stanza("base-files") + stanza("tool"),
        ACCOUNTS: PASSWD + account("app", 900) + account("tool", 902),
    }
    system = files.write("os", base, [], {})
    one = files.write("one", first, [system], base)
    two = files.write("two", second, [system, one], first)
    joined = do_squash(one, two, tmp_path / "joined.wim")
    assert_same_images([system, one, two], [system, joined])
    with LayerFile(joined) as layer:
        assert layer.manifest.structured == (ACCOUNTS, STATUS)
        for path in (STATUS, ACCOUNTS):
            assert layer.base_content(path) == str(base[path]).encode()
    # Over a newer OS, and with another app in between, too.
    newer = files.write(
        "newer",
        {STATUS: stanza("base-files", "1.1") + stanza("more"), ACCOUNTS: PASSWD + account("new", 950)},
        [],
        {},
    )
    other = files.write("other", {ACCOUNTS: PASSWD + account("other", 960)}, [system], base)
    assert_same_images([newer, other, one, two], [newer, other, joined])


def test_changes_made_over_a_newer_os_do_not_bring_it_along(tmp_path: Path) -> None:
    files = Files(tmp_path)
    base: dict[str, str | None] = {ACCOUNTS: PASSWD}
    first: dict[str, str | None] = {ACCOUNTS: PASSWD + account("app", 900)}
    seen: dict[str, str | None] = {ACCOUNTS: PASSWD + account("new", 950) + account("app", 900)}
    second: dict[str, str | None] = {ACCOUNTS: f"{seen[ACCOUNTS]}{account('tool', 902)}"}
    system = files.write("os", base, [], {})
    newer = files.write("newer", {ACCOUNTS: PASSWD + account("new", 950)}, [], {})
    one = files.write("one", first, [system], base)
    two = files.write("two", second, [newer, one], seen)
    joined = do_squash(one, two, tmp_path / "joined.wim")
    root, content = merged([system, joined])
    node = find(root, ACCOUNTS)
    assert node is not None
    text = content[f"{ACCOUNTS} {node.data.hex()}"].decode()
    assert text == PASSWD + account("app", 900) + account("tool", 902)


@pytest.mark.parametrize("step", ["made", "removed", "made and removed", "removed and made"])
def test_files_merged_by_content_that_come_and_go(tmp_path: Path, step: str) -> None:
    files = Files(tmp_path)
    text = "g:x:5:\n"
    was, then, now = {
        "made": (None, None, text),
        "removed": (text, text, None),
        "made and removed": (None, text, None),
        "removed and made": (text, None, text + "h:x:6:\n"),
    }[step]
    base: dict[str, str | None] = {ACCOUNTS: PASSWD, **({SHELLS: was} if was else {})}
    system = files.write("os", base, [], {})
    first: dict[str, str | None] = {ACCOUNTS: PASSWD + account("app", 900)}
    if then != was:
        first[SHELLS] = then
    one = files.write("one", first, [system], base)
    two = files.write("two", {SHELLS: now}, [system, one], {SHELLS: then})
    joined = do_squash(one, two, tmp_path / "joined.wim")
    assert_same_images([system, one, two], [system, joined])
    with LayerFile(joined) as layer:
        assert layer.base_content(SHELLS) == (None if was is None else was.encode())
        assert (SHELLS in layer.manifest.deleted) is (step == "removed")


# --- content, refusals, cancellation


def two_layers(place: Path, compression: Compression) -> tuple[Path, Path, Path]:
    content = Content()
    system, one, two = tree(content), tree(content), tree(content)
    put(system, content, "/etc/base", b"base")
    for number in range(30):
        put(one, content, f"/srv/{number}", bytes([number]) * 70_000)
    put(two, content, "/srv/0", b"other" * 9000)
    put(two, content, "/srv/more", b"more" * 9000)
    base = write_layer(place / "os.wim", LayerTree("os", system), content, kind=LayerKind.OS)
    below = (identity(base),)
    first = write_layer(
        place / "one.wim", LayerTree("one", one), content, base=below, compression=compression
    )
    delta = write_layer(
        place / "two.wim",
        LayerTree("two", two, ("/srv/1",)),
        content,
        base=(*below, identity(first)),
        compression=compression,
    )
    return base, first, delta


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (Compression.NONE, Compression.NONE),
        (Compression.NONE, Compression.XPRESS),
        (Compression.XPRESS, Compression.NONE),
        (Compression.XPRESS, Compression.XPRESS),
        (Compression.XPRESS, Compression.SOLID),
        (Compression.SOLID, Compression.LZX),
    ],
)
def test_every_form_of_content(tmp_path: Path, made: Compression, wanted: Compression) -> None:
    base, one, two = two_layers(tmp_path, made)
    joined = do_squash(one, two, tmp_path / "joined.wim", compression=wanted)
    libwim.verify(joined)
    assert_same_images([base, one, two], [base, joined])
    with LayerFile(joined) as layer, LayerFile(one) as old:
        packed = {sha1: place for sha1, place in layer.wim.blobs.items() if place.compressed}
        assert bool(packed) is (wanted is not Compression.NONE)
        gone = find(old.tree(), "/srv/1")
        assert gone is not None and gone.data not in layer.wim.blobs
        assert len(layer.wim.blobs) == 30  # 28 of the 30 files, and two of the changes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["joined.wim", "one.wim", "os.wim", "two.wim"]


def test_content_is_copied_as_it_is_stored(tmp_path: Path) -> None:
    _, one, two = two_layers(tmp_path, Compression.XPRESS)
    joined = do_squash(one, two, tmp_path / "joined.wim", compression=Compression.XPRESS)
    with LayerFile(joined) as layer, LayerFile(one) as old:
        kept = layer.wim.blobs.keys() & old.wim.blobs.keys() - {NO_BLOB}
        assert len(kept) == 28
        for sha1 in kept:
            here, there = layer.wim.blobs[sha1], old.wim.blobs[sha1]
            raw = [
                where.path.read_bytes()[where.offset : where.offset + where.stored_bytes]
                for where in (here, there)
            ]
            assert here.compressed and raw[0] == raw[1]


def test_same_layers_give_the_same_identity(tmp_path: Path) -> None:
    _, one, two = two_layers(tmp_path, Compression.XPRESS)
    first = do_squash(one, two, tmp_path / "a.wim")
    again = do_squash(one, two, tmp_path / "b.wim", compression=Compression.NONE)
    assert identity(first) == identity(again)


def test_refusals(tmp_path: Path) -> None:
    base, one, two = two_layers(tmp_path, Compression.NONE)
    out = tmp_path / "out.wim"
    with pytest.raises(RuleError, match="not made on top"):
        do_squash(two, one, out)
    with pytest.raises(RuleError, match="no OS layer"):
        do_squash(one, two, out, generation=Generation.TWO)
    with pytest.raises(AlreadyExistsError):
        do_squash(one, two, base)
    assert not out.exists()


def test_cancellation_leaves_nothing(tmp_path: Path) -> None:
    _, one, two = two_layers(tmp_path, Compression.NONE)
    before = sorted(tmp_path.iterdir())
    for calls in (0, 1, 2):
        with pytest.raises(CanceledError):
            squash(SquashRequest(one, two, tmp_path / "out.wim", "App", "2"), progress=CancelAfter(calls))
        assert sorted(tmp_path.iterdir()) == before
