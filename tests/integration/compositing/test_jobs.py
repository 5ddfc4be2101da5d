"""Engine work in a process of its own: results, errors, cancellation, crashes (LY-1, LY-2, LY-3, IM-2)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.compositing.capture import UnfinishedWorkError
from sekiso.compositing.execute import record_path
from sekiso.compositing.jobs import (
    CaptureJob,
    ComposeJob,
    ConflictsJob,
    DiffLayersJob,
    EngineCrashedError,
    ImportJob,
    ListFilesJob,
    PackJob,
    PlanJob,
    SquashJob,
    VerifyLayerJob,
    replace_unfinished,
    run_job,
)
from sekiso.compositing.jobs import run as runner
from sekiso.compositing.verify import read_record
from sekiso.disks.image import inspect
from sekiso.disks.open import open_disk
from sekiso.errors import (
    AlreadyExistsError,
    CanceledError,
    DamagedInputError,
    NotFoundError,
    RuleError,
    UnsupportedInputError,
)
from sekiso.guests.booting import Generalization
from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import SilentProgress
from sekiso.store.layer_file import Compression
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import new_root
from tests.unit.compositing.builders import Content, put, tree
from tests.unit.compositing.edit_scripts import identity, write_layer

from .conftest import Linux
from .systems import mounted, overlay, run, stanza, write

pytestmark = pytest.mark.slow

CREATED = 1_700_000_000


class Watched(SilentProgress):
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.amounts = 0

    def step(self, name: str, *, total: int | None = None) -> None:
        self.steps.append(name)

    def advance(self, done: int) -> None:
        self.amounts += 1


class AtWork(SilentProgress):
    """Does something, once, as soon as the job's process is at work."""

    def __init__(self, what: Callable[[], bool]) -> None:
        self._what: Callable[[], bool] | None = what
        self._deadline = time.monotonic() + 30

    def canceled(self) -> bool:
        what = self._what
        assert time.monotonic() < self._deadline
        if what is None or not any(is_waiting(pid) for pid in workers(os.getpid())):
            return False
        self._what = None
        return what()


def is_waiting(pid: int) -> bool:
    """Whether a process hangs in the opening of a FIFO."""
    return any(
        "wait_for_partner" in (task / "wchan").read_text() for task in Path(f"/proc/{pid}/task").iterdir()
    )


def workers(parent: int | None = None) -> list[int]:
    """Processes of jobs, of one parent if it is named."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"sekiso.compositing.jobs" in words and parent in (None, above):
            found.append(int(entry.name))
    return found


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def until(what: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def compose_job(layers: list[Path], out: Path, **more: object) -> ComposeJob:
    job = ComposeJob(
        tuple(str(path) for path in layers),
        str(out),
        Generation.ONE,
        DiskFormat.VHD,
        generalization=Generalization.NONE,
        seed="test",
        created_s=CREATED,
        title="Debian",
    )
    return replace(job, **more)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.root
def test_from_a_disk_to_a_second_version(linux: Linux, tmp_path: Path) -> None:
    """The main job, each step in its own process."""
    packed = run_job(PackJob(str(linux.disk), str(tmp_path / "packed.vhdx")))
    assert packed.size_bytes == linux.disk.stat().st_size
    facts = inspect(tmp_path / "packed.vhdx")
    assert (facts.format, packed.file_bytes) == ("vhdx", (tmp_path / "packed.vhdx").stat().st_size)
    with open_disk(tmp_path / "packed.vhdx") as one, open_disk(linux.disk) as other:
        assert one.read(0, 64 << 20) == other.read(0, 64 << 20)

    watched = Watched()
    imported = run_job(
        ImportJob(packed.path, str(tmp_path / "os.wim"), "Debian", "1", guest_tools=False), progress=watched
    )
    assert watched.steps[:2] == ["Examining the disk", "Reading /"]
    assert watched.amounts
    assert (imported.family, imported.generation) == (GuestFamily.LINUX, Generation.ONE)
    assert imported.os_name == "Debian GNU/Linux 12 (small)"
    assert imported.identity == identity(Path(imported.path))
    system = tmp_path / "os.wim"

    composed = run_job(compose_job([system], tmp_path / "boot.vhd"))
    plan = run_job(
        PlanJob(
            (str(system),),
            Generation.ONE,
            DiskFormat.VHD,
            generalization=Generalization.NONE,
            seed="test",
            created_s=CREATED,
            title="Debian",
        )
    )
    assert plan.plan_id == composed.plan_id == read_record(tmp_path / "boot.vhd").plan_id
    assert (plan.size_bytes, plan.entries, plan.content_bytes) == (
        composed.size_bytes,
        composed.entries,
        composed.content_bytes,
    )
    assert plan.plan["disk_format"] == "vhd"
    again = run_job(compose_job([system], tmp_path / "called-otherwise.vhd"))
    assert again.plan_id == composed.plan_id
    assert (tmp_path / "called-otherwise.vhd").read_bytes() == (tmp_path / "boot.vhd").read_bytes()

    app = tmp_path / "app.wim"
    captured = run_job(capture_job(tmp_path, [system], tmp_path / "boot.vhd", app, first_edit))
    assert captured.identity == identity(app)
    assert (captured.file_bytes, captured.deleted) == (app.stat().st_size, 1)
    assert captured.changed >= 3
    run_job(compose_job([system, app], tmp_path / "boot2.vhd"))
    delta = tmp_path / "delta.wim"
    run_job(capture_job(tmp_path, [system, app], tmp_path / "boot2.vhd", delta, second_edit))
    joined = tmp_path / "app2.wim"
    squashed = run_job(SquashJob(str(app), str(delta), str(joined), "App", "2", base=(str(system),)))
    assert squashed.identity == identity(joined)
    assert squashed.deleted == 2

    verified = run_job(VerifyLayerJob(str(joined)))
    assert verified.identity == squashed.identity
    listed = run_job(ListFilesJob(str(joined), "/opt/app"))
    assert [(e.name, e.kind, e.size_bytes) for e in listed.entries] == [("two", "file", 3)]
    compared = run_job(DiffLayersJob(str(app), str(joined)))
    told = {d.path: d.what for d in compared.differences}
    assert told["/opt/app/one"] == "removed" and told["/opt/app/two"] == "added"
    assert told["/srv/data/001.bin"] == "deletes"
    assert run_job(ConflictsJob((str(system), str(joined)))).conflicts == ()
    # The same content comes of the version made in one as of the two on top of each other.
    one = run_job(compose_job([system, joined], tmp_path / "one.vhd"))
    two = run_job(compose_job([system, app, delta], tmp_path / "two.vhd"))
    assert read_record(Path(one.path)).tree == read_record(Path(two.path)).tree
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def first_edit(root: Path) -> None:
    write(root, "opt/app/one", "one")
    (root / "srv/data/000.bin").unlink()
    status = root / "var/lib/dpkg/status"
    status.write_text(stanza("app") + status.read_text())


def second_edit(root: Path) -> None:
    (root / "opt/app/one").unlink()
    write(root, "opt/app/two", "two")
    (root / "srv/data/001.bin").unlink()
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace(stanza("app"), stanza("app", "2.0")))


def capture_job(
    place: Path, base: list[Path], boot_disk: Path, out: Path, edit: Callable[[Path], None]
) -> CaptureJob:
    raw = place / f"{out.stem}.edited.raw"
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", boot_disk, raw)
    with mounted(raw) as root:
        edit(root)
    disk = overlay(boot_disk, DiskFormat.VHD, raw, place / f"{out.stem}.qcow2")
    paths = tuple(str(path) for path in base)
    return CaptureJob(str(disk), str(boot_disk), paths, str(out), "App", "1")


@pytest.mark.root
def test_errors_come_back_as_what_they_were(linux: Linux, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInputError) as caught:
        run_job(ImportJob(str(linux.layer), str(tmp_path / "x.wim"), "x", "1"))
    assert caught.value.params["reason"]
    with pytest.raises(NotFoundError, match=r"The folder .*nowhere does not exist"):
        run_job(PackJob(str(linux.disk), str(tmp_path / "nowhere/x.vhdx")))
    with pytest.raises(RuleError, match="exactly one OS layer"):
        run_job(ConflictsJob(()))
    with pytest.raises(NotFoundError):
        run_job(VerifyLayerJob(str(tmp_path / "none.wim")))
    (tmp_path / "here.vhdx").write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        run_job(PackJob(str(linux.disk), str(tmp_path / "here.vhdx")))

    def unfinished(root: Path) -> None:
        half = stanza("half").replace("install ok installed", "install ok half-configured")
        with (root / "var/lib/dpkg/status").open("a") as stream:
            stream.write(half)

    job = capture_job(tmp_path, [linux.layer], linux.boot_disk, tmp_path / "app.wim", unfinished)
    with pytest.raises(UnfinishedWorkError):
        run_job(job)
    assert run_job(replace(job, ignore_gate=True)).path == job.out
    assert (tmp_path / "here.vhdx").read_bytes() == b"precious"
    assert not [name for name in names(tmp_path) if name.startswith(".")]


# --- endings


@pytest.fixture
def endless(tmp_path: Path) -> SquashJob:
    """A job that hangs at once: nobody ever writes to its layer."""
    os.mkfifo(tmp_path / "source.wim")
    (tmp_path / "out").mkdir()
    source = str(tmp_path / "source.wim")
    return SquashJob(source, source, str(tmp_path / "out/layer.wim"), "x", "1")


def test_cancellation_ends_the_process_at_once(endless: SquashJob, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(CanceledError):
        run_job(endless, progress=AtWork(lambda: True))
    assert time.monotonic() - begun < 10
    assert workers(os.getpid()) == []
    assert names(tmp_path / "out") == []


def test_a_job_canceled_before_starts_nothing(endless: SquashJob, tmp_path: Path) -> None:
    class Canceled(SilentProgress):
        def canceled(self) -> bool:
            return True

    with pytest.raises(CanceledError):
        run_job(endless, progress=Canceled())
    assert names(tmp_path / "out") == []


def test_a_progress_that_fails_ends_the_process(endless: SquashJob, tmp_path: Path) -> None:
    def fail() -> bool:
        raise ValueError("the database is gone")

    with pytest.raises(ValueError, match="database"):
        run_job(endless, progress=AtWork(fail))
    assert workers(os.getpid()) == []
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_is_told(endless: SquashJob, tmp_path: Path, number: signal.Signals) -> None:
    def kill() -> bool:
        for pid in workers(os.getpid()):
            os.kill(pid, number)
        return False

    with pytest.raises(
        EngineCrashedError, match=rf"The joining of the layers ended before.*\n.*{number.name}"
    ) as caught:
        run_job(endless, progress=AtWork(kill))
    assert caught.value.retryable
    assert names(tmp_path / "out") == []


def test_too_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Content()
    root = tree(content)
    put(root, content, "/etc/passwd", b"x" * (100 << 20))
    layer = write_layer(tmp_path / "os.wim", LayerTree("os", root), content, kind=LayerKind.OS)
    other = tree(content)
    put(other, content, "/etc/passwd", b"y")
    app = write_layer(tmp_path / "app.wim", LayerTree("app", other), content, bases={"/etc/passwd": b"x"})
    monkeypatch.setenv("SEKISO_ENGINE_MEMORY_MIB", "600")
    with pytest.raises(EngineCrashedError, match="not enough memory"):
        run_job(ConflictsJob((str(layer), str(app))))


def test_a_traceback_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.stdin.readline(); raise OSError('odd')"
    monkeypatch.setattr(runner, "_COMMAND", (sys.executable, "-c", program))
    with pytest.raises(EngineCrashedError, match=r"(?s)status 1.*OSError: odd") as caught:
        run_job(VerifyLayerJob(str(tmp_path)))
    assert caught.value.params["work"] == "verification"


@pytest.mark.parametrize(
    "said", ["nonsense", "[1]", '{"result": {"identity": 3}}', '{"error": {"code": "other", "text": "Oh."}}']
)
def test_nonsense_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program = f"import sys; sys.stdin.readline(); print({said!r}, flush=True); sys.stdin.read()"
    monkeypatch.setattr(runner, "_COMMAND", (sys.executable, "-c", program))
    with pytest.raises(EngineCrashedError):
        run_job(VerifyLayerJob(str(tmp_path)))


def test_the_process_never_outlives_its_caller(endless: SquashJob, tmp_path: Path) -> None:
    """Not even one that is killed; what it leaves is removed by the next attempt."""
    program = (
        "import sys; from sekiso.compositing.jobs import SquashJob, run_job\n"
        "run_job(SquashJob(sys.argv[1], sys.argv[1], sys.argv[2], 'x', '1'))"
    )
    with subprocess.Popen([sys.executable, "-c", program, endless.previous, endless.out]) as caller:
        until(lambda: bool(workers(caller.pid)))
        (worker,) = workers(caller.pid)
        until(lambda: is_waiting(worker))
        caller.kill()
    until(lambda: worker not in workers())
    left = names(tmp_path / "out")
    assert len(left) == 1 and left[0].startswith(".layer.wim.") and left[0].endswith(".job")
    with pytest.raises(CanceledError):
        run_job(endless, progress=AtWork(lambda: True))
    assert names(tmp_path / "out") == []


def test_unfinished_work_goes_and_work_in_progress_stays(tmp_path: Path) -> None:
    out = tmp_path / "layer.wim"
    left, held, foreign = (tmp_path / name for name in (".layer.wim.1.a.job", ".layer.wim.2.b.job", ".x.job"))
    for folder in (left, held, foreign):
        folder.mkdir()
        (folder / "part").write_bytes(b"part")
    for path in (out, record_path(out)):
        path.write_bytes(b"unfinished")
    fd = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        replace_unfinished(out)
    finally:
        os.close(fd)
    assert names(tmp_path) == [".layer.wim.2.b.job", ".x.job"]
    replace_unfinished(tmp_path / "nowhere/layer.wim")


def test_two_jobs_at_once(tmp_path: Path) -> None:
    root = new_root()
    layer = write_layer(tmp_path / "a.wim", LayerTree("a", root), {}, kind=LayerKind.OS)
    results: list[str] = []

    def verify() -> None:
        results.append(run_job(VerifyLayerJob(str(layer))).identity)

    threads = [threading.Thread(target=verify) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [identity(layer)] * 2


# --- what a layer holds


def test_listing(tmp_path: Path) -> None:
    content = Content()
    root = tree(content)
    put(root, content, "/etc/app/conf", b"12345", mode=0o640)
    put(root, content, "/etc/app/link", "../x")
    put(root, content, "/etc/b\udcffd/x", b"")
    put(root, content, "/etc/zfolder/x", b"")
    made = LayerTree("app", root, ("/etc/gone", "/etc/app/old"), ("/etc/app",))
    layer = str(write_layer(tmp_path / "app.wim", made, content))
    top = run_job(ListFilesJob(layer))
    assert [(e.name, e.kind, e.changed) for e in top.entries] == [("etc", "folder", False)]
    etc = run_job(ListFilesJob(layer, "/etc/"))
    assert [(e.name, e.kind, e.changed) for e in etc.entries] == [
        ("app", "folder", True),
        ("b\\udcffd", "folder", False),
        ("zfolder", "folder", False),
        ("gone", "deleted", True),
    ]
    assert [e.name for e in run_job(ListFilesJob(layer, "/etc/b\\udcffd")).entries] == ["x"]
    app = run_job(ListFilesJob(layer, "/etc/app"))
    conf, link, old = app.entries
    assert (conf.size_bytes, conf.mode, conf.owner) == (5, 0o640, (0, 0))
    assert (link.kind, link.target, old.kind) == ("link", "../x", "deleted")
    cut = run_job(ListFilesJob(layer, "/etc", limit=2))
    assert (len(cut.entries), cut.total) == (2, 4)
    for path in ("/none", "/etc/app/conf"):
        with pytest.raises(NotFoundError):
            run_job(ListFilesJob(layer, path))


def test_differences(tmp_path: Path) -> None:
    content = Content()
    one, two = tree(content), tree(content)
    put(one, content, "/a/same", b"1")
    put(two, content, "/a/same", b"1")
    put(one, content, "/a/changed", b"1")
    put(two, content, "/a/changed", b"2", mode=0o600)
    put(one, content, "/a/removed", b"1")
    put(two, content, "/a/added", b"1")
    left = write_layer(tmp_path / "1.wim", LayerTree("one", one, ("/x", "/y")), content)
    right = write_layer(
        tmp_path / "2.wim", LayerTree("two", two, ("/y", "/z")), content, compression=Compression.XPRESS
    )
    found = run_job(DiffLayersJob(str(left), str(right)))
    assert [(d.path, d.what, d.reasons) for d in found.differences] == [
        ("/a/added", "added", ()),
        ("/a/changed", "changed", ("content", "unix")),
        ("/a/removed", "removed", ()),
        ("/x", "keeps", ()),
        ("/z", "deletes", ()),
    ]
    cut = run_job(DiffLayersJob(str(left), str(right), limit=1))
    assert (len(cut.differences), cut.total, cut.counts) == (1, 5, found.counts)


def test_damage_is_found_by_verification(tmp_path: Path) -> None:
    content = Content()
    root = tree(content)
    put(root, content, "/a", b"x" * 1000)
    layer = write_layer(tmp_path / "a.wim", LayerTree("a", root), content, kind=LayerKind.OS)
    raw = bytearray(layer.read_bytes())
    raw[raw.find(b"x" * 1000) + 5] ^= 1
    layer.write_bytes(raw)
    with pytest.raises(DamagedInputError):
        run_job(VerifyLayerJob(str(layer)))
