"""Make a disk file from a frame (partition table, small volumes) and volumes in files of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso.disks.blocks import BlockReader
from sekiso.disks.convert import copy_ranges
from sekiso.disks.fileio import new_file, refuse_existing, write_all
from sekiso.disks.identity import DiskIds
from sekiso.disks.image import DiskFacts, inspect
from sekiso.disks.open import open_disk
from sekiso.disks.shifting import insert_range
from sekiso.disks.writer import DiskWriter, make_writer
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PlacedVolume:
    """A raw file with the content of a volume.

    Attributes:
        path: the file.
        offset_bytes: where the volume begins on the disk.
    """

    path: Path
    offset_bytes: int


class _Shifted:
    """Writes a volume into its place on the disk."""

    def __init__(self, writer: DiskWriter, offset_bytes: int) -> None:
        self._writer = writer
        self._offset = offset_bytes

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write content of the volume."""
        self._writer.write(self._offset + offset, data)

    def finish(self) -> None:
        """Do nothing: the disk is finished once, after its last volume."""


def assemble(
    frame: Path,
    volumes: Sequence[PlacedVolume],
    target: Path,
    fmt: DiskFormat,
    *,
    allocation: DiskAllocation = DiskAllocation.DYNAMIC,
    ids: DiskIds | None = None,
    progress: Progress = NO_PROGRESS,
) -> DiskFacts:
    """Write a frame and volumes as one disk file; nothing is copied twice.

    Args:
        frame: a raw file of the size of the disk, with everything that lies outside the volumes.
        volumes: raw files that go to their places in it.
        target: the new file; appears under its name only when complete and on the disk.
        fmt: VHD, VHDX or raw.
        allocation: fixed or dynamic.
        ids: identifiers of the new file; fresh ones when left out.
        progress: a step per part; counts bytes.

    Raises:
        AlreadyExistsError: the target exists.
        CanceledError: the work was canceled; nothing is left of the target.
    """
    refuse_existing(target)
    with new_file(target) as (fd, _), open_disk(frame, fmt=DiskFormat.RAW) as disk:
        writer = make_writer(fd, fmt, disk.size_bytes, allocation=allocation, ids=ids or DiskIds.fresh())
        copy_ranges(disk, writer, disk.data_ranges(), progress=progress)
        for volume in volumes:
            with open_disk(volume.path, fmt=DiskFormat.RAW) as content:
                reader: BlockReader = content
                shifted = _Shifted(writer, volume.offset_bytes)
                copy_ranges(reader, shifted, content.data_ranges(), progress=progress)
        writer.finish()
    return inspect(target)


def volume_becomes_disk(volume: PlacedVolume, frame: Path, disk_bytes: int) -> bool:
    """Turn the file of a volume into the raw disk it lies on, without copying the volume.

    Args:
        volume: the volume; its file becomes the disk. Nobody else has it open.
        frame: a raw file of the size of the disk, with everything that lies outside the volume.
        disk_bytes: size of the disk.

    Returns:
        False if the file system cannot move parts of a file; the file is unchanged then.

    Raises:
        OSError: reading or writing failed; the file is unusable then.
    """
    fd = os.open(volume.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        end = volume.offset_bytes + os.fstat(fd).st_size
        if not insert_range(fd, 0, volume.offset_bytes):
            return False
        os.ftruncate(fd, disk_bytes)
        with open_disk(frame, fmt=DiskFormat.RAW) as content:
            for part in content.data_ranges():
                _copy(content, fd, part.start, min(part.end, volume.offset_bytes))
                _copy(content, fd, max(part.start, end), part.end)
        return True
    finally:
        os.close(fd)


def _copy(content: BlockReader, fd: int, first: int, last: int) -> None:
    for at in range(first, last, _PIECE_BYTES):
        write_all(fd, content.read(at, min(_PIECE_BYTES, last - at)), at)
