"""Sector bitmaps of differencing disks: which sectors of a block lie in this file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal

import numpy as np

#: A block in more pieces than this counts as held whole where only a superset is wanted.
_MAX_PIECES = 256


class SectorBits:
    """The bits of one block, kept as the places where they change: a lookup is one bisection."""

    def __init__(self, raw: bytes, *, bitorder: Literal["big", "little"]) -> None:
        """Read the bits.

        Args:
            raw: the bitmap, one bit per sector.
            bitorder: `big` where the highest bit of a byte is the first sector (VHD), else `little` (VHDX).
        """
        bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), bitorder=bitorder)
        self._first = bool(bits[0])
        self._count = len(bits)
        self._changes: list[int] = (np.flatnonzero(np.diff(bits)) + 1).tolist()

    def run(self, sector: int) -> tuple[bool, int]:
        """Return the bit of a sector, and the first sector after it whose bit differs (or the end)."""
        index = bisect_right(self._changes, sector)
        end = self._changes[index] if index < len(self._changes) else self._count
        return self._first ^ bool(index & 1), end

    def held(self, sectors: int) -> Iterator[tuple[int, int]]:
        """Yield start and end of the runs of set bits in the first `sectors` sectors.

        A block in very many pieces is yielded whole, so that a hostile disk cannot make endless lists.
        """
        if len(self._changes) > _MAX_PIECES:
            yield 0, sectors
            return
        edges = [0, *self._changes, self._count]
        for index in range(0 if self._first else 1, len(edges) - 1, 2):
            start, end = edges[index], min(edges[index + 1], sectors)
            if start < end:
                yield start, end
