"""The agent is killed at every moment at which it changes something, and is asked again (AG-5).

The process really dies: a copy of it is forked, ends without any clean-up at the n-th change of a file, and
the command is then repeated here. Machines in memory would be lost with the copy; there the change itself
raises, and the objects of the agent are made anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sekiso.agent.contract import (
    CacheParams,
    CaptureLayerParams,
    CreateImageMachineParams,
    CreatePackagingParams,
    ImportOsParams,
    PackagingParams,
    PackagingStatesParams,
    RemoveImageParams,
    RemoveLayersParams,
    SourceDisk,
)
from sekiso.hypervisors.memory import MemoryDriver, MemoryHost
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskFormat

from .bench import HARDWARE, IMAGE, MIB, OTHER_TASK, TASK, VERSION, Bench, FakeEngine, key_of, talkative

pytestmark = pytest.mark.slow

KILLED = 77
#: Each of them is one moment to die before, and one to die after.
CHANGES = ("replace", "rename", "unlink", "mkdir", "link")
CACHE = 64 * MIB


class Deaths:
    """Counts changes and calls `die` at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
        self.at, self.count, self.after = -1, 0, False
        self._die = die
        for name in CHANGES:
            monkeypatch.setattr(os, name, self.watched(getattr(os, name)))

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            mine = self.count == self.at
            if mine and not self.after:
                self._die()
            try:
                return function(*arguments, **named)
            finally:
                if mine:
                    self._die()

        return change

    def plan(self, at: int, *, after: bool) -> None:
        self.at, self.count, self.after = at, 0, after


def exit_now() -> None:
    os._exit(KILLED)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Deaths:
    return Deaths(monkeypatch, exit_now)


def dies(work: Callable[[], object]) -> bool:
    """Do something in a copy of this process; whether it was killed in the middle."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, raw = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(raw)
    assert code in (0, KILLED), code
    return code == KILLED


def every_death(deaths: Deaths, folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield a folder for each death; ends when the work is done before it comes."""
    number = 0
    while True:
        number += 1
        for after in (False, True):
            deaths.plan(number, after=after)
            yield number, folder / f"{number}-{after}"
        if number > 120:
            raise AssertionError("it never gets done")


Case = Callable[[Bench], tuple[str, Any]]


def new_disk(bench: Bench, **more: Any) -> tuple[str, Any]:
    return "disk.compose", bench.compose(bench.recipe(bench.add_layer()), **more)


def image_options(**more: Any) -> dict[str, Any]:
    return {"target": "image", "owner_id": IMAGE, "owner_name": "web 1", "disk_name": "web", **more}


def received(bench: Bench, **more: Any) -> tuple[str, Any]:
    file = bench.storage / "Tasks" / TASK / "disk.vhd"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not any(bench.storage.rglob("*.vhd")):
        file.write_bytes(b"from the appliance" * 1000)
    return "disk.compose", bench.compose(bench.recipe("1" * 64), received=str(file), **more)


def evicting(bench: Bench) -> tuple[str, Any]:
    """Compose a disk for which another one has to leave the cache."""
    layer = bench.add_layer()
    first = bench.compose(
        bench.recipe(layer, title="first"),
        **image_options(owner_id=VERSION, owner_name="first", cache_bytes=5 * MIB),
        task_id=OTHER_TASK,
    )
    if not (bench.storage / "Images" / "first").exists():
        bench.run("disk.compose", first, task=OTHER_TASK)
    return "disk.compose", bench.compose(bench.recipe(layer), cache_bytes=5 * MIB)


def imported(bench: Bench) -> tuple[str, Any]:
    source = bench.storage.parent / f"{bench.storage.name}.source.raw"
    source.write_bytes(b"\0" * 4096)
    return "os.import", ImportOsParams(bench.path, TASK, SourceDisk(str(source)), "os", "1", guest_tools=True)


CASES: dict[str, Case] = {
    "packaging": new_disk,
    "packaging, cached": lambda b: new_disk(b, cache_bytes=CACHE),
    "image": lambda b: new_disk(b, **image_options()),
    "image, cached": lambda b: new_disk(b, **image_options(cache_bytes=CACHE)),
    "received": received,
    "received, cached": lambda b: received(b, cache_bytes=CACHE),
    "received image": lambda b: received(b, **image_options()),
    "received image, cached": lambda b: received(b, **image_options(cache_bytes=CACHE)),
    "evicting": evicting,
    "import": imported,
}


@pytest.fixture
def quick_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk: the order of the calls is what is tried."""
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: original(fd) if fd < 0 else None)


@pytest.mark.parametrize("case", list(CASES))
def test_killed_anywhere_and_asked_again_it_ends_as_if_never_killed(
    case: str, tmp_path: Path, quick_locks: None, fake: FakeEngine, deaths: Deaths
) -> None:
    fake.disk_bytes = MIB
    undisturbed = Bench(tmp_path / "undisturbed")
    wanted = undisturbed.run(*CASES[case](undisturbed))
    expected = undisturbed.tree()
    killed = 0
    for number, folder in every_death(deaths, tmp_path):
        at, deaths.at = deaths.at, -1
        bench = Bench(folder)
        method, params = CASES[case](bench)
        deaths.plan(at, after=deaths.after)
        was_killed = dies(lambda: bench.run(method, params))  # noqa: B023
        deaths.plan(-1, after=False)
        bench.restarted()
        made = bench.run(method, params)
        if case != "import":
            assert str(made).replace(str(folder), str(undisturbed.storage)) == str(wanted), number
            assert bench.tree() == expected, (number, deaths.after)
        else:
            assert sorted(Path(p).suffix for p in bench.tree() if p.startswith("Layers")) == [".json", ".wim"]
        assert bench.run(method, params) == made
        if not was_killed:
            break
        killed += 1
    assert killed > 5


def test_counters_and_entries_of_the_cache_survive_a_kill(
    tmp_path: Path, quick_locks: None, fake: FakeEngine, deaths: Deaths
) -> None:
    fake.disk_bytes = MIB
    for _, folder in every_death(deaths, tmp_path):
        at, deaths.at = deaths.at, -1
        bench = Bench(folder)
        method, params = evicting(bench)
        deaths.plan(at, after=deaths.after)
        was_killed = dies(lambda: bench.run(method, params))  # noqa: B023
        deaths.plan(-1, after=False)
        bench.run(method, params)
        facts = bench.run("cache.list", CacheParams(bench.path))
        in_use = [d for d in facts.disks if d.in_use_by]
        assert [d.key for d in in_use] == [key_of(params.recipe)]
        assert facts.file_bytes <= 5 * MIB
        if not was_killed:
            break


def test_layers_are_removed_whenever_killed(tmp_path: Path, quick_locks: None, deaths: Deaths) -> None:
    for _, folder in every_death(deaths, tmp_path):
        at, deaths.at = deaths.at, -1
        bench = Bench(folder)
        params = RemoveLayersParams(bench.path, (bench.add_layer(),))
        deaths.plan(at, after=deaths.after)
        was_killed = dies(lambda: bench.run("layers.remove", params))  # noqa: B023
        deaths.plan(-1, after=False)
        bench.run("layers.remove", params)
        assert bench.tree() == []
        if not was_killed:
            break


# Machines


class KilledError(BaseException):
    """Stands for the end of the process."""


class MortalDriver(MemoryDriver):
    """Dies before or after one of its changes."""

    def __init__(self, host: MemoryHost, deaths: Deaths) -> None:
        super().__init__(host)
        for name in (
            "create_machine", "create_packaging_disk", "start", "turn_off", "delete_machine", "detach_disk",
            "request_shut_down",
        ):  # fmt: skip
            setattr(self, name, deaths.watched(getattr(self, name)))


def die_now() -> None:
    raise KilledError


class Mortal(Bench):
    """A bench whose agent dies; files and machines stay."""

    def __init__(self, storage: Path, deaths: Deaths) -> None:
        super().__init__(storage, MemoryHost(guest=talkative))
        self.driver = MortalDriver(self.memory, deaths)
        self.restarted()
        self._deaths = deaths

    def prepare(self) -> CreatePackagingParams:
        boot = self.storage / "Packaging" / VERSION / "boot.vhd"
        boot.parent.mkdir(parents=True, exist_ok=True)
        boot.write_bytes(b"boot")
        run_once = self.storage / "Tasks" / TASK / "run-once.raw"
        run_once.parent.mkdir(parents=True, exist_ok=True)
        run_once.write_bytes(b"run")
        return CreatePackagingParams(
            self.path, TASK, VERSION, "web", HARDWARE, str(boot), DiskFormat.VHD, str(run_once)
        )

    def dies(self, method: str, params: Any) -> bool:
        try:
            self.run(method, params)
        except KilledError:
            return True
        finally:
            self._deaths.plan(-1, after=False)
            self.restarted()
        return False


@pytest.fixture
def mortal_deaths(monkeypatch: pytest.MonkeyPatch, quick_locks: None) -> Deaths:
    return Deaths(monkeypatch, die_now)


def every_mortal(deaths: Deaths, folder: Path) -> Iterator[tuple[int, bool, Mortal]]:
    for number, place in every_death(deaths, folder):
        after = deaths.after
        deaths.at = -1
        yield number, after, Mortal(place, deaths)


def test_there_is_one_packaging_machine_started_once(tmp_path: Path, mortal_deaths: Deaths) -> None:
    for number, after, bench in every_mortal(mortal_deaths, tmp_path):
        starts: list[str] = []
        bench.memory.guest = lambda host, machine, event: (
            starts.append(event), talkative(host, machine, event)  # noqa: B023
        )[0]  # fmt: skip
        params = bench.prepare()
        mortal_deaths.plan(number, after=after)
        was_killed = bench.dies("packaging.create", params)
        made = bench.run("packaging.create", params)
        assert [m.id for m in bench.driver.list_machines()] == [made.machine_id]
        assert starts == ["started"], (number, after)
        state = bench.run("packaging.states", PackagingStatesParams(bench.path, (VERSION,))).states[0]
        assert (state.state, state.ready) == ("running", True)
        assert len(bench.driver.get_machine(made.machine_id).disks) == 2
        if not was_killed:
            return


def test_a_guest_that_was_quicker_than_the_answer_is_not_started_again(
    tmp_path: Path, mortal_deaths: Deaths
) -> None:
    for number, after, bench in every_mortal(mortal_deaths, tmp_path):
        starts: list[str] = []

        def hasty(host: MemoryHost, machine: str, event: str) -> None:
            starts.append(event)  # noqa: B023
            talkative(host, machine, event)  # type: ignore[arg-type]
            host.guest_powers_off(machine)

        bench.memory.guest = hasty
        params = bench.prepare()
        mortal_deaths.plan(number, after=after)
        was_killed = bench.dies("packaging.create", params)
        bench.run("packaging.create", params)
        assert starts == ["started"], (number, after)
        if not was_killed:
            return


@pytest.mark.parametrize("target", ["packaging", "image"])
def test_removing_ends_whenever_killed(
    tmp_path: Path, mortal_deaths: Deaths, fake: FakeEngine, target: str
) -> None:
    fake.disk_bytes = 4096
    for number, after, bench in every_mortal(mortal_deaths, tmp_path):
        if target == "packaging":
            bench.run("packaging.create", bench.prepare())
            method: str = "packaging.remove"
            params: Any = PackagingParams(bench.path, VERSION)
        else:
            disk = bench.run("disk.compose", new_disk(bench, **image_options())[1])
            made = bench.run(
                "image.create-machine",
                CreateImageMachineParams(bench.path, IMAGE, "web 1", HARDWARE, disk.path, DiskFormat.VHD),
            )
            method, params = "image.remove", RemoveImageParams(bench.path, IMAGE, "web 1", made.machine_id)
        mortal_deaths.plan(number, after=after)
        was_killed = bench.dies(method, params)
        bench.run(method, params)
        assert bench.driver.list_machines() == ()
        assert not [p for p in bench.tree() if p.startswith(("Packaging", "Images"))]
        if not was_killed:
            return


def test_there_is_one_machine_for_an_image(tmp_path: Path, mortal_deaths: Deaths, fake: FakeEngine) -> None:
    fake.disk_bytes = 4096
    for number, after, bench in every_mortal(mortal_deaths, tmp_path):
        disk = bench.run("disk.compose", new_disk(bench, **image_options())[1])
        params = CreateImageMachineParams(bench.path, IMAGE, "web 1", HARDWARE, disk.path, DiskFormat.VHD)
        mortal_deaths.plan(number, after=after)
        was_killed = bench.dies("image.create-machine", params)
        made = bench.run("image.create-machine", params)
        assert [m.id for m in bench.driver.list_machines()] == [made.machine_id]
        if not was_killed:
            return


def test_a_capture_is_one_layer(tmp_path: Path, mortal_deaths: Deaths, fake: FakeEngine) -> None:
    for number, after, bench in every_mortal(mortal_deaths, tmp_path):
        base = bench.add_layer()
        bench.run("packaging.create", bench.prepare())
        bench.run("packaging.turn-off", PackagingParams(bench.path, VERSION))
        params = CaptureLayerParams(
            bench.path, OTHER_TASK, VERSION, (base,), "web", "1", LayerKind.APP, ignore_gate=False
        )
        mortal_deaths.plan(number, after=after)
        was_killed = bench.dies("layer.capture", params)
        bench.run("layer.capture", params)
        layers = [p for p in bench.tree() if p.startswith("Layers") and p.endswith(".wim")]
        assert len(layers) == 2, (number, after, layers)
        if not was_killed:
            return


def test_a_lock_ends_with_the_process_that_held_it(bench: Bench, fake: FakeEngine) -> None:
    """A killed agent leaves its lock files, which nobody waits for."""
    method, params = new_disk(bench, cache_bytes=CACHE)
    bench.run(method, params)
    lock = bench.storage / "Cache" / f".{key_of(params.recipe)}.lock"

    def hold() -> None:
        fd = os.open(lock, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        exit_now()

    assert dies(hold)
    again = replace(params, owner_id=IMAGE)
    assert bench.run(method, again).cache_hit is False
