"""Layers composed, applied to a real folder, captured again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.errors import (
    AlreadyExistsError,
    CanceledError,
    NoSpaceError,
    ToolFailedError,
    ToolMissingError,
    UnsupportedInputError,
)
from sekiso.wim import libwim
from sekiso.wim.client import Worker
from sekiso.wim.diff import Reason, diff
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import DIRECTORY, REPARSE_POINT, Node, Reparse, UnixData, new_root
from sekiso.wim.writer import WimWriter

from ...unit.wim.model import EDITS, START, FileSystem, edit, layer_of, sha1
from .build import blob_wim, fill_linux, metadata_wim, read, run

pytestmark = pytest.mark.root
#: What a folder cannot say back: reading its files changes access times.
IGNORED = (Reason.ACCESS_TIME,)


class Watch:
    """A progress that remembers, and cancels when told to."""

    def __init__(self, *, cancel: bool = False) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.done: list[int] = []
        self.cancel = cancel

    def step(self, name: str, *, total: int | None = None) -> None:
        self.steps.append((name, total))

    def advance(self, done: int) -> None:
        self.done.append(done)

    def canceled(self) -> bool:
        return self.cancel


@given(EDITS, st.lists(EDITS, min_size=1, max_size=3))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_composed_layers_arrive_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, start: list, steps: list
) -> None:
    tmp_path = tmp_path_factory.mktemp("compose")
    system = edit(FileSystem(), start)
    layers, blobs = [LayerTree("os", system.tree())], [system.blobs()]
    for number, step in enumerate(steps):
        after = edit(system, step)
        layers.append(layer_of(str(number), system.tree(), after.tree()))
        blobs.append(after.blobs())
        system = after
    merged = merge(layers, case_sensitive=True)
    wims = [blob_wim(tmp_path / f"{n}.wim", contents) for n, contents in enumerate(blobs)]
    libwim.apply_folder(metadata_wim(tmp_path / "m.wim", merged.root), wims, tmp_path / "out")
    libwim.capture_folder(tmp_path / "out", tmp_path / "back.wim")
    found = diff(system.tree(), read(tmp_path / "back.wim"), case_sensitive=True, ignore=IGNORED)
    assert not found, found


def test_all_that_linux_can_say_survives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    fill_linux(tmp_path / "in")
    libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim", compression="xpress")
    libwim.apply_folder(tmp_path / "a.wim", [], tmp_path / "out")
    libwim.capture_folder(tmp_path / "out", tmp_path / "b.wim")
    assert not diff(read(tmp_path / "a.wim"), read(tmp_path / "b.wim"), case_sensitive=True, ignore=IGNORED)
    assert seen_by_others(tmp_path / "in") == seen_by_others(tmp_path / "out")


def seen_by_others(folder: Path) -> list[str]:
    """What find, stat, getfattr and sha1sum say of a folder."""
    text = run("find", folder, "-printf", "%P %y %m %U %G %n %T@ %l\\n")
    names = sorted(re.sub(r"(\.\d{7})\d+", r"\1", text).splitlines())  # WIM counts time in 100 ns
    devices = run("find", folder, "-type", "b,c", "-exec", "stat", "-c", "%t %T", "{}", ";").splitlines()
    content = run(
        "sh", "-c", 'cd "$1" && find . -type f -exec sha1sum {} + | sort', "sh", folder
    ).splitlines()
    attributes = run("sh", "-c", 'cd "$1" && getfattr -hR -d -m - . | cat', "sh", folder).split("\n\n")
    assert any("user.test" in text for text in attributes)
    return [*names, *sorted(devices), *content, *sorted(attributes)]


def test_progress_counts_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(os.urandom(5 << 20))
    watch = Watch()
    outcome = libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim", watch)
    assert ("write", 5 << 20) in watch.steps
    assert watch.done[-1] == 5 << 20
    assert outcome.version.startswith("1.")
    assert outcome.warnings == ()


def test_canceling_ends_the_worker_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(b"x")
    with pytest.raises(CanceledError):
        libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim", Watch(cancel=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_name_that_is_not_utf8_is_refused_before_anything_happens(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/in"
    os.mkdir(raw)  # noqa: PTH102 (bytes)
    with open(raw + b"/bad\xff", "wb"):  # noqa: PTH123 (bytes)
        pass
    with pytest.raises(UnsupportedInputError, match="UTF-8"):
        libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim")


def test_names_that_are_not_utf8_are_applied_as_they_were(tmp_path: Path) -> None:
    root = new_root()
    root.write_time = root.access_time = START
    tag, flags, data = symlink_reparse("to\udcff/x")
    link = Reparse(tag, flags, sha1(data))
    kid = Node("in\udcfe", unix=UnixData(0, 0, 0o100600))
    folder = Node(
        "d\udc80", DIRECTORY, START, START, START, unix=UnixData(0, 0, 0o040755), children={kid.name: kid}
    )
    root.children = {
        folder.name: folder,
        "l": Node("l", REPARSE_POINT, START, START, START, reparse=link, unix=UnixData(1, 2, 0o120777)),
    }
    libwim.apply_folder(
        metadata_wim(tmp_path / "m.wim", root), [blob_wim(tmp_path / "b.wim", [data])], tmp_path / "o"
    )
    base = os.fsencode(tmp_path / "o")
    assert sorted(os.listdir(base)) == [b"d\x80", b"l"]  # noqa: PTH208 (bytes)
    assert os.listdir(base + b"/d\x80") == [b"in\xfe"]  # noqa: PTH208 (bytes)
    assert os.readlink(base + b"/l") == b"to\xff/x"  # noqa: PTH115 (bytes)
    assert os.lstat(base + b"/l").st_uid == 1
    times = {os.lstat(base + name).st_mtime_ns for name in (b"", b"/d\x80", b"/l")}
    assert times == {(START - 116_444_736_000_000_000) * 100}


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(os.urandom(3 << 20))
    libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim")
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small)
    try:
        with pytest.raises(NoSpaceError):
            libwim.capture_folder(tmp_path / "in", small / "a.wim")
        with pytest.raises(NoSpaceError):
            libwim.export(tmp_path / "a.wim", small / "b.wim", "xpress")
        with WimWriter(small / "c.wim") as writer, pytest.raises(NoSpaceError):
            writer.add_bytes(bytes(3 << 20))
        assert list(small.iterdir()) == []
        with pytest.raises(NoSpaceError):
            libwim.apply_folder(tmp_path / "a.wim", [], small / "out")
    finally:
        run("umount", small)


def test_a_folder_with_content_and_an_existing_target_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(b"x")
    libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim")
    with pytest.raises(AlreadyExistsError):
        libwim.capture_folder(tmp_path / "in", tmp_path / "a.wim")
    with pytest.raises(AlreadyExistsError):
        libwim.apply_folder(tmp_path / "a.wim", [], tmp_path / "in")
    with pytest.raises(AlreadyExistsError):
        libwim.export(tmp_path / "a.wim", tmp_path / "a.wim")


def test_a_missing_library_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBWIM", str(tmp_path / "no.so"))
    with pytest.raises(ToolMissingError, match="libwim15"):
        libwim.version()


def test_the_worker_ends_with_its_caller(tmp_path: Path) -> None:
    text = (
        "import time; from sekiso.wim.client import Worker; w = Worker(); w.call('version', {});"
        "print(w._proc.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        worker = int(caller.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        caller.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_dies_is_an_error_with_a_reason(tmp_path: Path) -> None:
    with Worker() as worker:
        assert worker.call("version", {})["version"]
        process = worker._proc  # pyright: ignore[reportPrivateUsage]
        process.kill()
        process.wait()
        assert worker.call("version", {})["version"], "a new one takes its place"
    with pytest.raises(ToolFailedError):
        libwim.capture_ntfs(tmp_path, tmp_path / "a.wim")
