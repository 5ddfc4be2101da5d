"""Logs that a killed writer left behind, replayed here and by QEMU."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sekiso.disks.convert import convert
from sekiso.disks.image import create, inspect, repair_copy
from sekiso.disks.open import open_disk
from sekiso.model.machine import DiskFormat
from tests.integration.disks.tools import MIB, assert_same, run
from tests.unit.disks.builders import log_entry, set_log, vhdx
from tests.unit.disks.test_vhdx import BAT, FULL, LOG_ID, data_of, entry


def kill_a_writer(path: Path, seed: int, after_s: float) -> None:
    """SIGKILL qemu-io while it allocates blocks of a dynamic VHDX."""
    rng = random.Random(seed)
    writer = subprocess.Popen(
        ["qemu-io", "-f", "vhdx", "-t", "writeback", path],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert writer.stdin is not None
    lines = "".join(
        f"write -P {i % 250 + 1} {rng.randrange(500 * 2048) * 512} {512 * rng.randrange(1, 999)}\n"
        for i in range(3000)
    )
    feeder = subprocess.Popen(["printf", "%s", lines], stdout=writer.stdin)
    time.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdin.close()
    feeder.wait()


@pytest.mark.slow
def test_files_of_a_killed_writer_read_as_qemu_repairs_them(tmp_path: Path) -> None:
    dirty = 0
    for attempt in range(6):
        path = tmp_path / "v.vhdx"
        if attempt % 2:
            create(path, DiskFormat.VHDX, 512 * MIB, block_bytes=MIB)
        else:
            run("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, "512M")
        kill_a_writer(path, attempt, 0.05 + 0.03 * attempt)
        facts = inspect(path)
        dirty += not facts.clean
        ours, theirs, mended = tmp_path / "ours.raw", tmp_path / "theirs.vhdx", tmp_path / "mended.vhdx"
        convert(path, ours, DiskFormat.RAW)
        assert repair_copy(path, mended).clean
        shutil.copy(path, theirs)
        run("qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", theirs)
        for other in (theirs, mended):
            assert_same(ours, other, DiskFormat.VHDX)
        assert "No errors" in run("qemu-img", "check", "-f", "vhdx", mended)
        for done in (path, ours, theirs, mended):
            done.unlink()
    print(f"{dirty} of 6 files were dirty")


@pytest.mark.parametrize("entries", [1, 2, 5])
@pytest.mark.parametrize("start", [0, 8192, MIB - 5 * 8192])
def test_logs_built_by_hand_replay_as_qemu_replays_them(tmp_path: Path, entries: int, start: int) -> None:
    """Not across the ring's end: there QEMU 7.2 replays only what follows the wrap (see the unit tests)."""
    path = vhdx(tmp_path / "a.vhdx", 3 * MIB, {0: data_of(1), MIB: data_of(2)})
    ring = bytearray(MIB)
    at = start
    for i in range(entries):
        swapped = (entry(FULL, 4 + (i + 1) % 2) + entry(FULL, 4 + i % 2)).ljust(4096, b"\0")
        raw = log_entry(
            LOG_ID, 20 + i, [(BAT, swapped), (4 * MIB + 8192 * i, 4096)], tail=start, file_bytes=6 * MIB
        )
        for half in range(0, len(raw), 4096):
            ring[at : at + 4096] = raw[half : half + 4096]
            at = (at + 4096) % MIB
    set_log(path, LOG_ID, bytes(ring))
    with open_disk(path) as disk:
        ours = disk.read(0, 3 * MIB)
    (tmp_path / "ours.raw").write_bytes(ours)
    repair_copy(path, tmp_path / "mended.vhdx")
    out = run("qemu-img", "check", "-r", "all", "-f", "vhdx", path)
    assert "repaired" in out
    assert_same(tmp_path / "ours.raw", path, DiskFormat.VHDX)
    assert_same(tmp_path / "ours.raw", tmp_path / "mended.vhdx", DiskFormat.VHDX)
    assert ours[:4096] != bytes(4096) or entries % 2 == 0
