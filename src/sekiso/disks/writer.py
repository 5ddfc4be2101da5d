"""Writers of new disk files: one small interface, one class per format and allocation."""

from __future__ import annotations

import os
from typing import Protocol

from sekiso.disks.fileio import write_all
from sekiso.disks.identity import DiskIds
from sekiso.disks.sizes import MIB
from sekiso.disks.vhd_writer import DynamicVhdWriter, FixedVhdWriter
from sekiso.disks.vhdx.writer import DEFAULT_BLOCK_BYTES, VhdxWriter
from sekiso.errors import RuleError
from sekiso.model.machine import DiskAllocation, DiskFormat


class DiskWriter(Protocol):
    """A new disk; what is not written reads as zeros."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write content of the disk."""
        ...

    def finish(self) -> None:
        """Make the file a valid disk."""
        ...


class RawWriter:
    """A raw disk."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self._size = size_bytes

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write content of the disk."""
        write_all(self._fd, data, offset)

    def finish(self) -> None:
        """Give the file its length."""
        os.ftruncate(self._fd, self._size)


def make_writer(
    fd: int,
    fmt: DiskFormat,
    size_bytes: int,
    *,
    allocation: DiskAllocation,
    ids: DiskIds,
    block_bytes: int | None = None,
    logical_sector_bytes: int = 512,
    physical_sector_bytes: int = 4096,
) -> DiskWriter:
    """Return the writer of a new disk in an empty file.

    Raises:
        RuleError: the format is not written here, or an option is not allowed.
    """
    fmt, fixed = DiskFormat(fmt), DiskAllocation(allocation) is DiskAllocation.FIXED
    block = block_bytes or DEFAULT_BLOCK_BYTES
    _check_options(fmt, block, logical_sector_bytes, physical_sector_bytes)
    if fmt is DiskFormat.RAW:
        return RawWriter(fd, size_bytes)
    if fmt is DiskFormat.VHD:
        if fixed:
            return FixedVhdWriter(fd, size_bytes, ids=ids)
        return DynamicVhdWriter(fd, size_bytes, ids=ids, block_bytes=block)
    return VhdxWriter(
        fd,
        size_bytes,
        fixed=fixed,
        ids=ids,
        block_bytes=block,
        logical_sector_bytes=logical_sector_bytes,
        physical_sector_bytes=physical_sector_bytes,
    )


def _check_options(fmt: DiskFormat, block_bytes: int, logical: int, physical: int) -> None:
    if fmt not in (DiskFormat.RAW, DiskFormat.VHD, DiskFormat.VHDX):
        raise RuleError(
            field="format", reason=f"Sekiso does not write {fmt} disks.", remedy="Choose VHD, VHDX or raw."
        )
    low = MIB if fmt is DiskFormat.VHDX else MIB // 2
    high = 256 * MIB if fmt is DiskFormat.VHDX else 2 * MIB
    if block_bytes & (block_bytes - 1) or not low <= block_bytes <= high:
        raise RuleError(
            field="block_bytes",
            reason=f"A block size of {block_bytes} bytes is no power of two from {low} to {high}.",
            remedy="Leave it out: 2 MiB is used then.",
        )
    if {logical, physical} - {512, 4096} or physical < logical:
        raise RuleError(
            field="logical_sector_bytes",
            reason="Sectors have 512 or 4096 bytes, and a physical sector is no smaller than a logical one.",
            remedy="Leave it out: 512 and 4096 are used then.",
        )
