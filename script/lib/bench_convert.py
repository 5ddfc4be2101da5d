"""Measures converting a raw disk, against a sparse copy of it with cp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sekiso.disks.convert import convert
from sekiso.model.machine import DiskAllocation, DiskFormat

from .bench_measure import Phases, Settings, Step, Table, command, fsync, in_child, measure, remove, say
from .bench_tree import SEED, Content

GOAL = 1.2
_DATA_SHARE = 0.6
_MIB = 1 << 20
_QEMU = {
    (DiskFormat.VHD, DiskAllocation.DYNAMIC): ("vpc", "subformat=dynamic,force_size=on"),
    (DiskFormat.VHD, DiskAllocation.FIXED): ("vpc", "subformat=fixed,force_size=on"),
    (DiskFormat.VHDX, DiskAllocation.DYNAMIC): ("vhdx", "subformat=dynamic,block_size=2M"),
    (DiskFormat.VHDX, DiskAllocation.FIXED): ("vhdx", "subformat=fixed,block_size=2M,block_state_zero=off"),
}


def make_sparse_raw(path: Path, data_bytes: int) -> None:
    """Write a raw disk of which about 60 % is data, in runs of 64 KiB to 8 MiB with holes between."""
    rng, content = np.random.default_rng(SEED + 3), Content()
    disk_bytes = int(data_bytes / _DATA_SHARE) // _MIB * _MIB
    at = number = 0
    with path.open("wb") as stream:
        # Whole blocks: qemu-img cuts the last one of a fixed VHDX short and then cannot open it.
        stream.truncate(-(-disk_bytes // (2 << 20)) * (2 << 20))
        while at < disk_bytes:
            run = int(rng.integers(1, 129)) * 65536
            stream.seek(at)
            stream.writelines(content.pieces(number + 1, min(run, disk_bytes - at)))
            # Rounded to whole runs of 64 KiB; on average the hole is two thirds as long as the run.
            at += run + int(rng.integers(0, 129) * (1 - _DATA_SHARE) / _DATA_SHARE) * 65536
            number += 1
    fsync(path)


def measure_convert(work: Path, content_bytes: int, settings: Settings) -> Table:
    """Measure conversions of one raw disk."""
    source = work / "convert.raw"
    say("making the raw disk")
    in_child(lambda _: make_sparse_raw(source, content_bytes))
    state = source.stat()
    try:
        steps = [_copy(work, source)]
        for fmt, allocation in _QEMU:
            steps += [_ours(work, source, fmt, allocation), _qemu(work, source, fmt, allocation)]
        table = measure("Convert", "cp", steps, settings)
    finally:
        remove(source)
    table.checks.append(f"the disk has {state.st_size} bytes, {state.st_blocks * 512} of them on the host")
    return table


def _copy(work: Path, source: Path) -> Step:
    target = work / "copy.raw"

    def run(_: Phases) -> None:
        command("cp", "--sparse=auto", "--reflink=never", source, target)
        fsync(target)

    return Step("cp", "cp --sparse=auto of the raw disk (reference)", run, cleanup=lambda: remove(target))


def _ours(work: Path, source: Path, fmt: DiskFormat, allocation: DiskAllocation) -> Step:
    target = work / f"ours-{allocation}.{fmt}"

    def run(phases: Phases) -> None:
        convert(source, target, fmt, allocation=allocation, progress=phases)

    name = f"ours: raw to {allocation} {fmt.upper()}"
    return Step(f"{fmt}-{allocation}", name, run, cleanup=lambda: remove(target), goal=GOAL)


def _qemu(work: Path, source: Path, fmt: DiskFormat, allocation: DiskAllocation) -> Step:
    target = work / f"qemu-{allocation}.{fmt}"
    driver, options = _QEMU[fmt, allocation]

    def run(_: Phases) -> None:
        command("qemu-img", "convert", "-f", "raw", "-O", driver, "-o", options, source, target)
        fsync(target)

    name = f"qemu-img convert to {allocation} {fmt.upper()}"
    return Step(f"qemu-{fmt}-{allocation}", name, run, cleanup=lambda: remove(target))
