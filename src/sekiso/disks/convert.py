"""Copy the content of a disk into a new disk file of another format.

Done by Sekiso's own readers and writers rather than by `qemu-img convert`: the size can be rounded up,
a log still to be replayed and parents are read through, identifiers and the layout of the file are chosen,
so that the same content gives the same file.
"""

from __future__ import annotations

from pathlib import Path

from sekiso.disks.blocks import BlockReader, ByteRange
from sekiso.disks.fileio import new_file, refuse_existing, refuse_full
from sekiso.disks.identity import DiskIds
from sekiso.disks.image import DiskFacts, inspect
from sekiso.disks.open import open_disk
from sekiso.disks.sizes import MIB, plan_size
from sekiso.disks.writer import DiskWriter, make_writer
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

_CHUNK = 1 * MIB
#: Zeros are left out in this unit; file systems keep holes in units of 4 KiB to 64 KiB.
_GRAIN = 64 << 10
_ZEROS = bytes(_CHUNK)
_STRUCTURES_BYTES = 8 * MIB


def convert(
    source: Path,
    target: Path,
    fmt: DiskFormat,
    *,
    allocation: DiskAllocation = DiskAllocation.DYNAMIC,
    size_bytes: int | None = None,
    ids: DiskIds | None = None,
    block_bytes: int | None = None,
    allow: tuple[Path, ...] = (),
    progress: Progress = NO_PROGRESS,
) -> DiskFacts:
    """Copy a disk (raw, VHD, VHDX or qcow2, with the disks below it) into a new file.

    Args:
        source: the disk to read; not changed.
        target: the new file; must not exist; appears under its name only when complete and on the disk.
        fmt: VHD, VHDX or raw.
        allocation: fixed or dynamic; a fixed file has its whole length, its empty parts are holes.
        size_bytes: a larger size for the copy; the source's, rounded up by `plan_size`, when left out.
        ids: identifiers of the new file; fresh ones when left out.
        block_bytes: unit of allocation; 2 MiB when left out.
        allow: where disks below the source may lie, see `open_disk`.
        progress: counts bytes of content; asked for cancellation at every MiB.

    Raises:
        AlreadyExistsError: the target exists.
        NoSpaceError: the content does not fit on the target's file system.
        RuleError: the size is not allowed in that format.
        DamagedInputError: the source is damaged.
        UnsupportedInputError: the source cannot be read here.
        CanceledError: the work was canceled; nothing is left of the target.
    """
    fmt = DiskFormat(fmt)
    refuse_existing(target)
    with open_disk(source, allow=allow) as disk:
        size = plan_size(fmt, max(size_bytes or 0, disk.size_bytes)).size_bytes
        sector = disk.logical_sector_bytes if fmt is DiskFormat.VHDX else 512
        ranges = disk.data_ranges()
        refuse_full(target, sum(r.length for r in ranges) + _STRUCTURES_BYTES)
        with new_file(target) as (fd, _temp):
            writer = make_writer(
                fd, fmt, size, allocation=allocation, ids=ids or DiskIds.fresh(),
                block_bytes=block_bytes, logical_sector_bytes=sector,
            )  # fmt: skip
            copy_ranges(disk, writer, ranges, progress=progress)
            writer.finish()
    return inspect(target)


def copy_ranges(
    disk: BlockReader, writer: DiskWriter, ranges: tuple[ByteRange, ...], *, progress: Progress
) -> None:
    """Copy these ranges of a disk, zeros left out.

    Raises:
        CanceledError: the work was canceled.
    """
    progress.step("convert", total=sum(r.length for r in ranges))
    done = 0
    for part in ranges:
        at = part.start
        while at < part.end:
            check_canceled(progress)
            length = min(_CHUNK - at % _CHUNK, part.end - at)
            _write_data(writer, at, disk.read(at, length))
            at += length
            done += length
            progress.advance(done)


def _write_data(writer: DiskWriter, offset: int, data: bytes) -> None:
    """Write what is not zero, runs of grains joined."""
    if data == _ZEROS[: len(data)]:
        return
    view = memoryview(data)
    start: int | None = None
    for at in range(0, len(data), _GRAIN):
        grain = data[at : at + _GRAIN]
        if grain == _ZEROS[: len(grain)]:
            if start is not None:
                writer.write(offset + start, view[start:at])
                start = None
        elif start is None:
            start = at
    if start is not None:
        writer.write(offset + start, view[start:])
