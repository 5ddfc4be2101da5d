"""Where the content of an inode lies: extent trees, block maps of ext2/ext3, inline data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.crc import crc32c
from sekiso.disks.ext4.inodes import Inode, inode_seed
from sekiso.disks.ext4.layout import (
    EXTENT,
    EXTENT_HEADER,
    EXTENT_INDEX,
    EXTENT_MAGIC,
    MAX_EXTENT_BLOCKS,
    MAX_EXTENT_DEPTH,
    Flag,
)
from sekiso.disks.ext4.superblock import Superblock
from sekiso.errors import DamagedInputError

_MAX_FILE_BLOCKS = 1 << 32
_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_CHUNK_BYTES)


class Run(NamedTuple):
    """Consecutive blocks of a file that lie consecutively on the volume.

    Attributes:
        logical: first block within the file.
        physical: first block on the volume.
        length: number of blocks.
        written: False for allocated blocks that read as zeros.
    """

    logical: int
    physical: int
    length: int
    written: bool = True


class _Walk(NamedTuple):
    """State of the walk through a block map: blocks needed, blocks seen, blocks that describe it."""

    need: int
    visited: set[int]
    meta: list[int]


class BlockMap:
    """Finds the blocks of inodes of one volume."""

    def __init__(self, blocks: BlockReader, sb: Superblock) -> None:
        self._blocks = blocks
        self._sb = sb

    def runs(self, inode: Inode, *, meta: list[int] | None = None) -> list[Run]:
        """Return the runs of an inode in the order of the file, holes left out.

        Args:
            inode: an inode without inline data.
            meta: takes the numbers of the blocks that describe the runs, if given.

        Raises:
            DamagedInputError: the description leaves the volume, overlaps itself or is malformed.
        """
        seen: list[int] = [] if meta is None else meta
        if inode.flags & Flag.EXTENTS:
            runs = list(self._extents(inode, seen))
        else:
            runs = list(_merge(self._mapped(inode, seen)))
        self._check(inode, runs)
        return runs

    def _check(self, inode: Inode, runs: list[Run]) -> None:
        next_logical = 0
        end = self._sb.blocks_count
        for run in runs:
            if run.logical < next_logical or run.length <= 0:
                self._fail(inode, "The extents of a file overlap.")
            if run.physical <= self._sb.first_data_block or run.physical + run.length > end:
                self._fail(inode, "An extent lies outside the volume.")
            next_logical = run.logical + run.length
        if next_logical > _MAX_FILE_BLOCKS:
            self._fail(inode, "A file is longer than ext4 allows.")

    def _extents(self, inode: Inode, meta: list[int]) -> Iterator[Run]:
        seed: int | None = None
        magic, count, _, depth, _ = EXTENT_HEADER.unpack_from(inode.block)
        if magic != EXTENT_MAGIC or count > 4 or depth > MAX_EXTENT_DEPTH:
            self._fail(inode, "The extent tree of a file is damaged.")
        stack: list[tuple[bytes, int, int, int]] = [(inode.block, depth, count, 0)]
        visited: set[int] = set()
        while stack:
            node, depth, count, position = stack.pop()
            if depth == 0:
                yield from _leaf(node, count)
                continue
            if position + 1 < count:
                stack.append((node, depth, count, position + 1))
            _, low, high, _ = EXTENT_INDEX.unpack_from(node, 12 + 12 * position)
            number = low | high << 32
            if count == 0 or number in visited or not 0 < number < self._sb.blocks_count:
                self._fail(inode, "The extent tree of a file is damaged.")
            visited.add(number)
            meta.append(number)
            child = self._block(number)
            magic, child_count, limit, child_depth, _ = EXTENT_HEADER.unpack_from(child)
            fits = 12 + 12 * limit <= len(child) and child_count <= limit
            if magic != EXTENT_MAGIC or child_depth != depth - 1 or not fits:
                self._fail(inode, "The extent tree of a file is damaged.")
            if self._sb.has_metadata_checksums:
                seed = inode_seed(self._sb, inode.number, inode.generation) if seed is None else seed
                end = 12 + 12 * limit
                if crc32c(child[:end], seed) != int.from_bytes(child[end : end + 4], "little"):
                    self._fail(inode, "The checksum of an extent block is wrong.")
            if child_count:
                stack.append((child, child_depth, child_count, 0))

    def _mapped(self, inode: Inode, meta: list[int]) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """Yield pieces of a block map: first logical block, and the physical block of each (0 = hole)."""
        pointers = np.frombuffer(inode.block, "<u4")
        need = -(-inode.size // self._sb.block_size)
        yield 0, pointers[: min(12, need)]
        per_block = self._sb.block_size // 4
        logical, walk = 12, _Walk(need, set(), meta)
        for level in (1, 2, 3):
            yield from self._indirect(inode, int(pointers[11 + level]), level, logical, walk)
            logical += per_block**level

    def _indirect(
        self, inode: Inode, top: int, level: int, first: int, walk: _Walk
    ) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """Yield the pieces below one (single, double or triple) indirect block; see `_mapped`."""
        stack = [(top, level, first)]
        while stack:
            number, level, logical = stack.pop()
            if number == 0 or logical >= walk.need:
                continue
            if number in walk.visited or number >= self._sb.blocks_count:
                self._fail(inode, "The block map of a file is damaged.")
            walk.visited.add(number)
            walk.meta.append(number)
            pointers = np.frombuffer(self._block(number), "<u4")
            if level == 1:
                yield logical, pointers[: walk.need - logical]
                continue
            span = len(pointers) ** (level - 1)
            used = reversed(np.flatnonzero(pointers).tolist())
            stack += [(int(pointers[i]), level - 1, logical + i * span) for i in used]

    def _block(self, number: int) -> bytes:
        data = self._blocks.read(number * self._sb.block_size, self._sb.block_size)
        return data + bytes(self._sb.block_size - len(data))

    def content(self, inode: Inode, runs: list[Run]) -> Iterator[bytes]:
        """Yield the content of a file in pieces of at most 1 MiB; holes are zeros."""
        size, position = self._sb.block_size, 0
        for run in runs:
            start = run.logical * size
            if start >= inode.size:
                break
            yield from zeros(start - position)
            position = min(inode.size, start + run.length * size)
            if run.written:
                yield from self._stored(run.physical * size, position - start)
            else:
                yield from zeros(position - start)
        yield from zeros(inode.size - position)

    def _stored(self, offset: int, length: int) -> Iterator[bytes]:
        while length > 0:
            data = self._blocks.read(offset, min(length, _CHUNK_BYTES))
            if not data:
                raise DamagedInputError(
                    path=self._blocks.name, offset=offset, reason="The file ends within the volume."
                )
            yield data
            offset += len(data)
            length -= len(data)

    def _fail(self, inode: Inode, reason: str) -> NoReturn:
        raise DamagedInputError(
            path=self._blocks.name, offset=0, reason=f"{reason} The inode is number {inode.number}."
        )


def zeros(length: int) -> Iterator[bytes]:
    """Yield `length` zero bytes in pieces of at most 1 MiB."""
    while length > 0:
        piece = min(length, _CHUNK_BYTES)
        yield _ZEROS if piece == _CHUNK_BYTES else bytes(piece)
        length -= piece


def _leaf(node: bytes, count: int) -> Iterator[Run]:
    for position in range(count):
        logical, length, high, low = EXTENT.unpack_from(node, 12 + 12 * position)
        if length > MAX_EXTENT_BLOCKS:
            yield Run(logical, low | high << 32, length - MAX_EXTENT_BLOCKS, written=False)
        else:
            yield Run(logical, low | high << 32, length)


def _merge(pieces: Iterator[tuple[int, NDArray[np.uint32]]]) -> Iterator[Run]:
    """Join the pointers of a block map to runs."""
    current: Run | None = None
    for first, pointers in pieces:
        values = pointers.astype(np.int64)
        breaks = np.flatnonzero(np.diff(values) != 1) + 1
        starts, ends = np.array([0, *breaks]), [*breaks.tolist(), len(values)]
        if len(values):  # a hole may be followed by block 1, which follows it by number only
            starts += values[starts] == 0
        for start, end in zip(starts.tolist(), ends, strict=True):
            if start >= end:
                continue
            run = Run(first + start, int(values[start]), end - start)
            follows = current is not None and (
                current.logical + current.length == run.logical
                and current.physical + current.length == run.physical
            )
            if current is not None and follows:
                current = Run(current.logical, current.physical, current.length + run.length)
                continue
            if current is not None:
                yield current
            current = run
    if current is not None:
        yield current
