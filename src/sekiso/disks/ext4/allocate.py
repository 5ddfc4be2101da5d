"""Free blocks of a fresh file system, handed out in the order of the disk, and the bitmaps that say so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.layout import BG_BLOCK_UNINIT, Incompat
from sekiso.disks.ext4.superblock import Groups, Superblock
from sekiso.errors import NoSpaceError

Piece = tuple[int, int]  # first block, number of blocks


class FreeSpace:
    """Hands out all free blocks from the first to the last: what was passed is in use."""

    def __init__(self, blocks: BlockReader, sb: Superblock, groups: Groups) -> None:
        self._blocks = blocks
        self._sb = sb
        self._groups = groups
        self._runs = self._free_runs()
        self._run: Piece = (0, 0)
        self.taken = 0

    def take(self, count: int) -> list[Piece]:
        """Return `count` blocks in as few pieces as there are; adjacent pieces are joined.

        Raises:
            NoSpaceError: there are not as many.
        """
        pieces: list[Piece] = []
        left = count
        while left > 0:
            start, length = self._run
            if length == 0:
                following = next(self._runs, None)
                if following is None:
                    raise self._full(left)
                self._run = following
                continue
            part = min(left, length)
            if pieces and sum(pieces[-1]) == start:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + part)
            else:
                pieces.append((start, part))
            self._run = (start + part, length - part)
            left -= part
        self.taken += count
        return pieces

    def take_one(self) -> int:
        """Return one block."""
        return self.take(1)[0][0]

    def read_block(self, number: int) -> bytes:
        """Return a block of the file system as it was before."""
        return self._blocks.read(number * self._sb.block_size, self._sb.block_size)

    def _full(self, missing: int) -> NoSpaceError:
        size = self._sb.block_size
        return NoSpaceError(
            path=self._blocks.name, needed_bytes=(self.taken + missing) * size, free_bytes=self.taken * size
        )

    def _free_runs(self) -> Iterator[Piece]:
        for group in range(self._sb.groups_count):
            start = self._start(group)
            used = self.bitmap(group)
            edges = np.flatnonzero(np.diff(np.concatenate([[True], used, [True]])))
            for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                yield start + first, end - first

    def _start(self, group: int) -> int:
        return self._sb.first_data_block + group * self._sb.blocks_per_group

    def length(self, group: int) -> int:
        """Return the number of blocks of a group."""
        return min(self._sb.blocks_per_group, self._sb.blocks_count - self._start(group))

    def bitmap(self, group: int) -> NDArray[np.bool_]:
        """Return which blocks of a group were in use before anything was taken, shape (blocks of group,)."""
        sb, groups = self._sb, self._groups
        length = self.length(group)
        if not groups.flags[group] & BG_BLOCK_UNINIT:
            raw = self.read_block(int(groups.block_bitmap[group]))
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
            return bits[:length].astype(np.bool_)
        used = np.zeros(length, np.bool_)
        start = self._start(group)
        if sb.has_backup(group):
            used[: 1 + self._descriptor_blocks()] = True
        table_blocks = -(-sb.inodes_per_group * sb.inode_size // sb.block_size)
        for column, count in (
            (groups.block_bitmap, 1),
            (groups.inode_bitmap, 1),
            (groups.inode_table, table_blocks),
        ):
            near = (column < start + length) & (column + np.uint64(count) > start)
            for number in column[near].tolist():
                used[max(0, number - start) : max(0, number - start + count)] = True
        return used

    def _descriptor_blocks(self) -> int:
        sb = self._sb
        if sb.incompat & Incompat.META_BG:
            return 0
        own = -(-sb.groups_count * sb.descriptor_size // sb.block_size)
        return own + sb.u16(0xCE)

    def final_bitmaps(self) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield (group, blocks in use) for every group from which blocks were taken."""
        if not self.taken:
            return
        end = self._run[0]
        for group in range(self._sb.groups_count):
            passed = end - self._start(group)
            if passed <= 0:
                return
            used = self.bitmap(group)
            if not used[:passed].all():
                used[:passed] = True
                yield group, used
