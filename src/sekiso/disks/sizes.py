"""Which sizes a disk may have, and the geometry that a VHD claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sekiso.errors import RuleError
from sekiso.model.machine import DiskFormat

SECTOR = 512
MIB = 1 << 20
GIB = 1 << 30
#: Hyper-V refuses smaller VHD and VHDX files. Source: New-VHD (-SizeBytes, 3 MB minimum).
HYPERV_MIN_BYTES = 3 * MIB
#: Source: New-VHD; "Virtual Hard Disk Image Format Specification" 1.0 with Hyper-V's limit of 2040 GB.
VHD_MAX_BYTES = 2040 * GIB
#: Source: [MS-VHDX] 2.6.2.2 (virtual disk size of at most 64 TB).
VHDX_MAX_BYTES = 64 << 40
_OTHER_MAX_BYTES = (1 << 63) - MIB


class Geometry(NamedTuple):
    """Cylinders, heads and sectors per track, as a VHD footer claims them."""

    cylinders: int
    heads: int
    sectors_per_track: int

    @property
    def size_bytes(self) -> int:
        """Bytes that the geometry can address."""
        return self.cylinders * self.heads * self.sectors_per_track * SECTOR


@dataclass(frozen=True, slots=True)
class SizePlan:
    """The size a disk will have.

    Attributes:
        wanted_bytes: what was asked for.
        size_bytes: what the disk gets, never less.
        reason: why they differ, or why nothing had to change.
    """

    wanted_bytes: int
    size_bytes: int
    reason: str


def plan_size(fmt: DiskFormat, wanted_bytes: int) -> SizePlan:
    """Return the size that Hyper-V accepts for a disk that must hold `wanted_bytes`.

    VHD and VHDX are rounded up to whole MiB: that keeps the size a multiple of every sector size, lets
    the last block and 1 MiB aligned partitions end inside the disk, and is what Hyper-V's own tools and
    Azure make. The VHD geometry (CHS) is an approximation in the footer and does not change the size.
    Raw and qcow2 disks are rounded up to the sector of 512 bytes.

    Raises:
        RuleError: the size is not positive or larger than the format allows.
    """
    fmt = DiskFormat(fmt)
    if wanted_bytes <= 0:
        raise RuleError(
            field="size_bytes", reason="A disk must be larger than zero bytes.", remedy="Choose a size."
        )
    hyperv = fmt in (DiskFormat.VHD, DiskFormat.VHDX)
    unit = MIB if hyperv else SECTOR
    size = -(-wanted_bytes // unit) * unit
    reason = f"{wanted_bytes} bytes is accepted as it is."
    if size != wanted_bytes:
        what = "whole MiB, so that every sector size divides it" if hyperv else "whole sectors of 512 bytes"
        reason = f"{wanted_bytes} bytes was rounded up to {what}."
    if hyperv and size < HYPERV_MIN_BYTES:
        size = HYPERV_MIN_BYTES
        reason = f"{wanted_bytes} bytes was raised to 3 MiB, the smallest disk that Hyper-V accepts."
    _refuse_too_large(fmt, size)
    return SizePlan(wanted_bytes, size, reason)


def _refuse_too_large(fmt: DiskFormat, size_bytes: int) -> None:
    limit, words = {
        DiskFormat.VHD: (VHD_MAX_BYTES, "2040 GiB"),
        DiskFormat.VHDX: (VHDX_MAX_BYTES, "64 TiB"),
    }.get(fmt, (_OTHER_MAX_BYTES, "8 EiB"))
    if size_bytes > limit:
        raise RuleError(
            field="size_bytes",
            reason=f"A {fmt.value.upper()} disk holds at most {words}; {size_bytes} bytes is more.",
            remedy="Choose a smaller disk"
            + (", or the VHDX format, which holds up to 64 TiB." if fmt is DiskFormat.VHD else "."),
        )


def vhd_geometry(size_bytes: int) -> Geometry:
    """Return the geometry that a VHD of this size claims.

    It addresses at most the size (rounding down) and stops at about 127 GiB; readers use the footer's
    current size instead.

    Source: "Virtual Hard Disk Image Format Specification" 1.0, appendix "CHS Calculation".
    """
    total = min(size_bytes // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        sectors, heads = 255, 16
        cylinders_times_heads = total // sectors
    else:
        sectors = 17
        cylinders_times_heads = total // sectors
        heads = max(4, (cylinders_times_heads + 1023) // 1024)
        if cylinders_times_heads >= heads * 1024 or heads > 16:
            sectors, heads = 31, 16
            cylinders_times_heads = total // sectors
        if cylinders_times_heads >= heads * 1024:
            sectors, heads = 63, 16
            cylinders_times_heads = total // sectors
    return Geometry(cylinders_times_heads // heads, heads, sectors)
