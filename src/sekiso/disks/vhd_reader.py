"""Read the content of a VHD or AVHD file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sekiso.disks.bitmap import SectorBits
from sekiso.disks.blocks import ByteRange
from sekiso.disks.mapped import DiskBlocks, Run, SourceFile, Where
from sekiso.disks.sizes import SECTOR
from sekiso.disks.vhd import (
    FOOTER_BYTES,
    UNUSED,
    VhdHeader,
    VhdType,
    read_dynamic_header,
    read_footer,
    read_table,
)
from sekiso.errors import DamagedInputError

_CACHED_BITMAPS = 16


class VhdBlocks(DiskBlocks):
    """The content of a VHD file; a parent is attached by `open_disk`.

    In a block that the file holds, the sector bitmap says which sectors were written. The others are
    zeros, or the parent's in a differencing disk.
    """

    header: VhdHeader | None = None

    def __init__(self, path: Path) -> None:
        """Open and check the file.

        Raises:
            DamagedInputError: a structure is broken.
            UnsupportedInputError: the version or kind is unknown.
        """
        self.path = path
        self.file = SourceFile(path)
        try:
            self.footer, self.notes = read_footer(self.file)
            if self.footer.kind is VhdType.FIXED:
                self._check_fixed()
            else:
                self.header = read_dynamic_header(self.file, self.footer)
                self._table = read_table(self.file, self.header)
        except BaseException:
            self.file.close()
            raise
        self._bitmaps: OrderedDict[int, SectorBits | None] = OrderedDict()

    def _check_fixed(self) -> None:
        if self.footer.size_bytes > self.file.size_bytes - FOOTER_BYTES:
            raise DamagedInputError(
                path=str(self.path),
                offset=self.file.size_bytes,
                reason="The fixed VHD is shorter than its disk.",
            )

    @property
    def size_bytes(self) -> int:
        """Virtual size."""
        return self.footer.size_bytes

    @property
    def logical_sector_bytes(self) -> int:
        """A VHD always has sectors of 512 bytes."""
        return SECTOR

    @property
    def _hole(self) -> Where:
        return Where.PARENT if self.footer.kind is VhdType.DIFFERENCING else Where.ZERO

    def locate(self, offset: int, limit: int) -> Run:
        """Return the run that begins at `offset`, inside one block."""
        if self.header is None:
            return Run(Where.FILE, offset, limit)
        block, inside = divmod(offset, self.header.block_bytes)
        length = min(limit, self.header.block_bytes - inside)
        sector = int(self._table[block])
        if sector == UNUSED:
            return Run(self._hole, 0, length)
        at = sector * SECTOR + self.header.bitmap_bytes + inside
        bitmap = self._bitmap(block, sector)
        return Run(Where.FILE, at, length) if bitmap is None else self._by_bitmap(bitmap, at, inside, length)

    def _by_bitmap(self, bits: SectorBits, at: int, inside: int, length: int) -> Run:
        here, end = bits.run(inside // SECTOR)
        length = min(length, end * SECTOR - inside)
        return Run(Where.FILE, at, length) if here else Run(self._hole, 0, length)

    def _bitmap(self, block: int, sector: int) -> SectorBits | None:
        """Return the sector bitmap of a block, None when every bit is set.

        Source: VHD specification, "Data Blocks" (the highest bit of a byte is the first sector).
        """
        if block in self._bitmaps:
            return self._bitmaps[block]
        assert self.header is not None
        size = self.header.block_bytes // SECTOR // 8
        raw = self.file.read(sector * SECTOR, size)
        found = None if raw == b"\xff" * size else SectorBits(raw, bitorder="big")
        self._bitmaps[block] = found
        if len(self._bitmaps) > _CACHED_BITMAPS:
            self._bitmaps.popitem(last=False)
        return found

    def _fetch(self, offset: int, length: int) -> bytes:
        return self.file.read(offset, length)

    def top_ranges(self) -> Iterator[ByteRange]:
        """Yield what this file holds."""
        if self.header is None:
            yield ByteRange(0, self.size_bytes)
            return
        size = self.header.block_bytes
        for block in np.flatnonzero(self._table != UNUSED).tolist():
            at = int(block) * size
            length = min(size, self.size_bytes - at)
            bits = self._bitmap(int(block), int(self._table[block]))
            for start, end in ((0, length // SECTOR),) if bits is None else bits.held(length // SECTOR):
                yield ByteRange(at + start * SECTOR, (end - start) * SECTOR)

    def close(self) -> None:
        """Close the file and its parents."""
        self.file.close()
        if self.parent is not None:
            self.parent.close()
