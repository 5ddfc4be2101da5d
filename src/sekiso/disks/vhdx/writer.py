"""Write a new VHDX file, block by block, and give an existing one new identifiers or more room."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace

import numpy as np

from sekiso.disks.fileio import write_all
from sekiso.disks.identity import DiskIds
from sekiso.disks.vhdx.bat import FULL, BatShape
from sekiso.disks.vhdx.layout import (
    HEADER_OFFSETS,
    MIB,
    NIL,
    REGION_OFFSETS,
    SIGNATURE,
    Header,
    Region,
    pack_header,
    pack_metadata,
    pack_regions,
)

_LOG = Region(1 * MIB, 1 * MIB)
_METADATA = Region(2 * MIB, 1 * MIB)
_BAT_OFFSET = 3 * MIB
_CREATOR = "Sekiso"
_BAT_PAGE = 8192
DEFAULT_BLOCK_BYTES = 2 * MIB


class VhdxWriter:
    """A new VHDX file. Content is written in any order, then `finish` makes it a valid disk."""

    def __init__(
        self,
        fd: int,
        size_bytes: int,
        *,
        fixed: bool,
        ids: DiskIds,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
        logical_sector_bytes: int = 512,
        physical_sector_bytes: int = 4096,
        locator: dict[str, str] | None = None,
    ) -> None:
        """Begin a disk.

        Args:
            fd: an empty file, open for writing.
            size_bytes: virtual size.
            fixed: every block has its place from the start, one after the other.
            ids: identifiers.
            block_bytes: payload block size, a power of two from 1 to 256 MiB.
            logical_sector_bytes: 512 or 4096.
            physical_sector_bytes: 512 or 4096.
            locator: keys and values of a parent locator: makes a differencing disk.
        """
        self._fd = fd
        self._ids = ids
        self._block_bytes = block_bytes
        self.shape = BatShape.of(size_bytes, block_bytes, logical_sector_bytes, has_parent=bool(locator))
        bat_bytes = -(-self.shape.entries * 8 // MIB) * MIB
        self._bat_region = Region(_BAT_OFFSET, bat_bytes)
        self._next = self._bat_region.end
        self._places = np.zeros(self.shape.entries, dtype=np.uint64)
        self._metadata = pack_metadata(
            size_bytes=size_bytes,
            block_bytes=block_bytes,
            fixed=fixed,
            disk_id=ids.disk_id,
            logical_sector_bytes=logical_sector_bytes,
            physical_sector_bytes=physical_sector_bytes,
            locator=locator,
        )
        if fixed:
            self._place_all()

    def _place_all(self) -> None:
        blocks = np.arange(self.shape.blocks, dtype=np.int64)
        places = self._next + blocks * self._block_bytes
        self._places[blocks + blocks // self.shape.ratio] = places.astype(np.uint64) | np.uint64(FULL)
        self._next += self.shape.blocks * self._block_bytes

    @property
    def structures_bytes(self) -> int:
        """Length of what lies before the first block."""
        return self._bat_region.end

    def adopt(self, block: int) -> None:
        """Count a block that lies in the file already, next after those adopted or written before."""
        self._place(block)

    def _place(self, block: int) -> int:
        """Return where a payload block lies, giving it a place at the end of the file if it has none."""
        index = self.shape.payload_index(block)
        entry = int(self._places[index])
        if not entry:
            entry = self._next | FULL
            self._places[index] = entry
            self._next += self._block_bytes
        return entry & ~(MIB - 1)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write content of the disk."""
        view = memoryview(data)
        while view:
            block, inside = divmod(offset, self._block_bytes)
            part = view[: self._block_bytes - inside]
            write_all(self._fd, part, self._place(block) + inside)
            offset += len(part)
            view = view[len(part) :]

    def finish(self) -> None:
        """Write the structures, the identifying first bytes last of all."""
        os.ftruncate(self._fd, self._next)
        self._write_bat()
        write_all(self._fd, self._metadata, _METADATA.offset)
        for offset in REGION_OFFSETS:
            write_all(self._fd, pack_regions(self._bat_region, _METADATA), offset)
        for sequence, offset in enumerate(HEADER_OFFSETS, 1):
            header = Header(
                sequence, self._ids.file_write_id, self._ids.data_write_id, NIL, _LOG.offset, _LOG.length
            )
            write_all(self._fd, pack_header(header), offset)
        write_all(self._fd, SIGNATURE + _CREATOR.encode("utf-16-le"), 0)

    def _write_bat(self) -> None:
        """Write the table; what of it is zero stays a hole, a table can have 512 MiB."""
        for first in range(0, len(self._places), _BAT_PAGE):
            page = self._places[first : first + _BAT_PAGE]
            if page.any():
                write_all(self._fd, page.astype("<u8").tobytes(), self._bat_region.offset + 8 * first)


def write_headers(fd: int, header: Header, *, first: int) -> None:
    """Replace both headers by newer ones, each safely on the disk before the next.

    Args:
        fd: the file.
        header: what they say; its sequence number is that of the header in force.
        first: index of the copy that is not in force, which is written first.

    Source: [MS-VHDX] 2.2.2 (updating the headers).
    """
    for step, index in enumerate((first, 1 - first), 1):
        write_all(fd, pack_header(replace(header, sequence=header.sequence + step)), HEADER_OFFSETS[index])
        os.fsync(fd)


def set_disk_id(fd: int, offset: int, disk_id: uuid.UUID) -> None:
    """Replace the virtual disk id that lies at `offset`."""
    write_all(fd, disk_id.bytes_le, offset)
