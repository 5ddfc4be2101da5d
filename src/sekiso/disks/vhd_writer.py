"""Write a new VHD file, fixed or dynamic."""

from __future__ import annotations

import os

import numpy as np

from sekiso.disks.fileio import write_all
from sekiso.disks.identity import DiskIds
from sekiso.disks.sizes import SECTOR
from sekiso.disks.vhd import (
    DEFAULT_BLOCK_BYTES,
    FOOTER_BYTES,
    HEADER_BYTES,
    UNUSED,
    VhdType,
    pack_dynamic_header,
    pack_footer,
)

_PAGE = 4096


class FixedVhdWriter:
    """The disk's bytes, then the footer."""

    def __init__(self, fd: int, size_bytes: int, *, ids: DiskIds) -> None:
        self._fd = fd
        self._size = size_bytes
        self._ids = ids

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write content of the disk."""
        write_all(self._fd, data, offset)

    def finish(self) -> None:
        """Write the footer."""
        os.ftruncate(self._fd, self._size + FOOTER_BYTES)
        write_all(self._fd, pack_footer(VhdType.FIXED, self._size, self._ids), self._size)


class DynamicVhdWriter:
    """Copy of the footer, dynamic header, block table, blocks as they come, footer."""

    def __init__(
        self, fd: int, size_bytes: int, *, ids: DiskIds, block_bytes: int = DEFAULT_BLOCK_BYTES
    ) -> None:
        self._fd = fd
        self._size = size_bytes
        self._ids = ids
        self._block_bytes = block_bytes
        self._bitmap_bytes = max(SECTOR, -(-block_bytes // SECTOR // 8 // SECTOR) * SECTOR)
        self._table = np.full(-(-size_bytes // block_bytes), UNUSED, dtype=np.uint32)
        self._table_offset = FOOTER_BYTES + HEADER_BYTES
        self._end = self._table_offset + -(-4 * len(self._table) // SECTOR) * SECTOR

    def _place(self, block: int) -> int:
        """Return where a block's content lies; a new one gets a place at the end, on a 4 KiB border."""
        if self._table[block] == UNUSED:
            content = -(-(self._end + self._bitmap_bytes) // _PAGE) * _PAGE
            start = content - self._bitmap_bytes
            self._table[block] = start // SECTOR
            bits = self._block_bytes // SECTOR // 8
            write_all(self._fd, b"\xff" * bits, start)
            self._end = content + self._block_bytes
        return int(self._table[block]) * SECTOR + self._bitmap_bytes

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
        """Write the structures; the footer last."""
        footer = pack_footer(VhdType.DYNAMIC, self._size, self._ids)
        header = pack_dynamic_header(self._table_offset, len(self._table), self._block_bytes)
        table = self._table.astype(">u4").tobytes()
        table += b"\xff" * (-len(table) % SECTOR)
        write_all(self._fd, footer + header + table, 0)
        os.ftruncate(self._fd, self._end + FOOTER_BYTES)
        write_all(self._fd, footer, self._end)
