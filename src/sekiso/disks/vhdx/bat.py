"""The block allocation table of a VHDX file, read page by page.

Source: [MS-VHDX] 2.5 (BAT), 2.5.1.1 (payload block states), 2.5.1.2 (sector bitmap block states).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sekiso.disks.vhdx.layout import HEADER_AREA_BYTES, MIB, Metadata, ReadAt, Region
from sekiso.errors import DamagedInputError

NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL, PARTIAL = 0, 1, 2, 3, 6, 7
_STATES = (NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL)
_PAGE_ENTRIES = 8192
_CACHED_PAGES = 512
_SECTORS_PER_CHUNK = 1 << 23

Entries = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class BatShape:
    """How many entries a table has and which of them are what.

    After every `ratio` payload blocks stands one entry for the sector bitmap of these blocks.

    Attributes:
        blocks: payload blocks of the disk.
        ratio: payload blocks per sector bitmap.
        entries: entries in all.
    """

    blocks: int
    ratio: int
    entries: int

    @staticmethod
    def of(size_bytes: int, block_bytes: int, logical_sector_bytes: int, *, has_parent: bool) -> BatShape:
        """Return the shape of the table of such a disk."""
        ratio = _SECTORS_PER_CHUNK * logical_sector_bytes // block_bytes
        blocks = -(-size_bytes // block_bytes)
        if has_parent:
            return BatShape(blocks, ratio, -(-blocks // ratio) * (ratio + 1))
        return BatShape(blocks, ratio, blocks + (blocks - 1) // ratio)

    def payload_index(self, block: int) -> int:
        """Index of the entry of a payload block."""
        return block + block // self.ratio

    def bitmap_index(self, block: int) -> int:
        """Index of the entry of the sector bitmap of a payload block."""
        return (block // self.ratio) * (self.ratio + 1) + self.ratio


class Bat:
    """The table, with the pages used last kept in memory."""

    def __init__(self, read: ReadAt, path: str, region: Region, metadata: Metadata) -> None:
        self._read = read
        self._path = path
        self._region = region
        self._block_bytes = metadata.block_bytes
        self._has_parent = metadata.has_parent
        self._last_bytes = (metadata.size_bytes - 1) % metadata.block_bytes + 1
        self.shape = BatShape.of(
            metadata.size_bytes,
            metadata.block_bytes,
            metadata.logical_sector_bytes,
            has_parent=metadata.has_parent,
        )
        self._pages: OrderedDict[int, Entries] = OrderedDict()
        if self.shape.entries * 8 > region.length:
            raise self._damaged(0, "The block allocation table is too small for the disk.")

    def _damaged(self, index: int, reason: str) -> DamagedInputError:
        return DamagedInputError(path=self._path, offset=self._region.offset + 8 * index, reason=reason)

    def _load(self, page: int) -> Entries:
        first = page * _PAGE_ENTRIES
        count = min(_PAGE_ENTRIES, self.shape.entries - first)
        raw = self._read(self._region.offset + 8 * first, 8 * count)
        return np.frombuffer(raw, dtype="<u8").astype(np.uint64, copy=False)

    def _page(self, page: int) -> Entries:
        found = self._pages.get(page)
        if found is None:
            found = self._pages[page] = self._load(page)
            if len(self._pages) > _CACHED_PAGES:
                self._pages.popitem(last=False)
        return found

    def _entry(self, index: int) -> int:
        return int(self._page(index // _PAGE_ENTRIES)[index % _PAGE_ENTRIES])

    def payload(self, block: int) -> tuple[int, int]:
        """Return state and file offset of a payload block."""
        entry = self._entry(self.shape.payload_index(block))
        return entry & 7, (entry >> 20) * MIB

    def bitmap_offset(self, block: int) -> int | None:
        """Return the file offset of the sector bitmap that covers a payload block, None if it has none."""
        entry = self._entry(self.shape.bitmap_index(block))
        return (entry >> 20) * MIB if entry & 7 == FULL else None

    def _pages_of_entries(self) -> Iterator[tuple[Entries, Entries, Entries, npt.NDArray[np.bool_]]]:
        """Yield per page: entry numbers, states, offsets in MiB, and which are payload entries."""
        for page in range(-(-self.shape.entries // _PAGE_ENTRIES)):
            values = self._load(page)
            numbers = np.arange(len(values), dtype=np.uint64) + np.uint64(page * _PAGE_ENTRIES)
            is_payload = numbers % np.uint64(self.shape.ratio + 1) != np.uint64(self.shape.ratio)
            yield numbers, values & np.uint64(7), values >> np.uint64(20), is_payload

    def present_blocks(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the numbers of the payload blocks that the file holds, wholly or in part, in order."""
        for numbers, states, _offsets, is_payload in self._pages_of_entries():
            held = numbers[is_payload & (states >= FULL)]
            blocks = (held - held // np.uint64(self.shape.ratio + 1)).astype(np.int64)
            yield blocks[blocks < self.shape.blocks]

    def check(self, file_bytes: int, taken: list[Region]) -> int:
        """Check every entry; return how many payload blocks the file holds.

        Raises:
            DamagedInputError: a state is not allowed, a block lies outside of the file, or two overlap.
        """
        used = np.zeros((file_bytes + self._block_bytes) // MIB + 2, dtype=np.bool_)
        used[0] = True
        for region in taken:
            used[region.offset // MIB : region.end // MIB] = True
        held = 0
        for numbers, states, offsets, is_payload in self._pages_of_entries():
            self._check_states(numbers, states, is_payload)
            present = is_payload & (states >= FULL)
            held += int(present.sum())
            self._claim(used, numbers[present], offsets[present], self._block_bytes, file_bytes)
            if self._has_parent:
                bitmaps = ~is_payload & (states == FULL)
                self._claim(used, numbers[bitmaps], offsets[bitmaps], MIB, file_bytes)
        return held

    def _check_states(self, numbers: Entries, states: Entries, is_payload: npt.NDArray[np.bool_]) -> None:
        allowed = np.isin(states, (*_STATES, PARTIAL) if self._has_parent else _STATES)
        bad = is_payload & ~allowed
        if bad.any():
            where = int(np.argmax(bad))
            raise self._damaged(
                int(numbers[where]), f"A block has the impossible state {int(states[where])}."
            )

    def _claim(
        self, used: npt.NDArray[np.bool_], numbers: Entries, starts: Entries, length: int, file_bytes: int
    ) -> None:
        if not len(starts):
            return
        needed = np.full(len(starts), length, dtype=np.uint64)
        # QEMU ends a fixed file with the disk, not with the disk's last block.
        needed[numbers == np.uint64(self.shape.payload_index(self.shape.blocks - 1))] = self._last_bytes
        bad = starts < np.uint64(HEADER_AREA_BYTES // MIB)
        bad |= starts > np.uint64(file_bytes // MIB)
        bad |= np.where(bad, np.uint64(0), starts) * np.uint64(MIB) + needed > np.uint64(file_bytes)
        if bad.any():
            where = int(np.argmax(bad))
            raise self._damaged(int(numbers[where]), "A block lies outside of the file.")
        width = length // MIB
        order = np.sort(starts).astype(np.int64)
        if (np.diff(order) < width).any():
            raise self._damaged(int(numbers[0]), "Two blocks of the disk share the same place in the file.")
        for step in range(width):
            if used[order + step].any():
                raise self._damaged(
                    int(numbers[0]), "A block of the disk lies where something else of the file lies already."
                )
            used[order + step] = True
