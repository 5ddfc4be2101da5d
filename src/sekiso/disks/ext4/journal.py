"""Replay of the journal in memory: a volume that was not unmounted is read as a mount would leave it.

Source: "Journal (jbd2)", docs.kernel.org/filesystems/ext4/; all numbers of the journal are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.crc import crc32c, crc32c_rows
from sekiso.disks.ext4.extents import BlockMap, Run
from sekiso.disks.ext4.files import Files
from sekiso.disks.ext4.layout import JOURNAL_INODE, Flag
from sekiso.disks.ext4.superblock import Superblock, dirty_journal, read_groups

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _SUPER_V1, _SUPER_V2, _REVOKE = 1, 2, 3, 4, 5
_FEATURE_REVOKE, _FEATURE_64BIT, _FEATURE_ASYNC = 0x1, 0x2, 0x4
_FEATURE_CSUM_V2, _FEATURE_CSUM_V3, _FEATURE_FAST_COMMIT = 0x8, 0x10, 0x20
_KNOWN_FEATURES = 0x3F
_TAG_ESCAPED, _TAG_SAME_UUID, _TAG_LAST = 0x1, 0x2, 0x8
_HEADER = struct.Struct(">III")
_MAX_REPLAYED_BYTES = 1 << 30
_CHECKSUM_BATCH = 1024


@dataclass(frozen=True, slots=True)
class _Log:
    """The journal's own superblock, and where its blocks lie.

    Attributes:
        places: block of the volume for every block of the journal.
        first: first block of the log proper.
        length: end of the log (without the fast-commit area).
        start: block where replay begins, 0 for an empty journal.
        sequence: number of the first transaction.
        features: incompatible features of the journal.
        seed: start of its checksums.
    """

    places: list[int]
    first: int
    length: int
    start: int
    sequence: int
    features: int
    seed: int

    @property
    def has_checksums(self) -> bool:
        return bool(self.features & (_FEATURE_CSUM_V2 | _FEATURE_CSUM_V3))


class OverlayBlocks:
    """A volume with some of its blocks replaced in memory."""

    def __init__(self, under: BlockReader, block_size: int, changed: dict[int, bytes]) -> None:
        self._under = under
        self._block_size = block_size
        self._changed = changed

    @property
    def changed_blocks(self) -> Collection[int]:
        """Numbers of the blocks that are replaced."""
        return self._changed.keys()

    @property
    def name(self) -> str:
        """Name of the volume under it."""
        return self._under.name

    @property
    def size_bytes(self) -> int:
        """Length of the volume."""
        return self._under.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the volume; see `BlockReader.read`."""
        data = self._under.read(offset, length)
        size = self._block_size
        first, last = offset // size, (offset + len(data) - 1) // size
        if last - first < len(self._changed):
            hits = [n for n in range(first, last + 1) if n in self._changed]
        else:
            hits = [n for n in self._changed if first <= n <= last]
        if not hits or not data:
            return data
        patched = bytearray(data)
        for number in hits:
            start = number * size - offset
            low, high = max(0, start), min(len(data), start + size)
            patched[low:high] = self._changed[number][low - start : high - start]
        return bytes(patched)


def replayed(blocks: BlockReader, sb: Superblock) -> OverlayBlocks:
    """Return the volume as it is after a replay of its journal.

    Raises:
        DirtyVolumeError: the journal lies elsewhere, is damaged or uses unknown features.
        DamagedInputError: the volume is damaged.
    """
    if sb.u32(0xE0) != JOURNAL_INODE:
        _refuse(blocks, "Its journal lies on another disk.")
    log = _open_log(blocks, sb)
    changed = _Replay(blocks, sb, log).run() if log.start else {}
    return _settled(blocks, sb, changed)


def _settled(blocks: BlockReader, sb: Superblock, changed: dict[int, bytes]) -> OverlayBlocks:
    """Return the volume with the changes in place and the superblock still asking for recovery.

    The superblock is a block like others; a transaction may hold a newer copy of it. Inodes without a
    name (orphans) stay where they are: nothing refers to them.
    """
    for number in changed:
        if number >= sb.blocks_count:
            _refuse(blocks, "Its journal refers to a block outside the volume.")
    return OverlayBlocks(blocks, sb.block_size, changed)


def _open_log(blocks: BlockReader, sb: Superblock) -> _Log:
    files = Files(blocks, sb, read_groups(blocks, sb))
    inode = files.inode(JOURNAL_INODE)
    if inode.flags & Flag.INLINE_DATA:
        _refuse(blocks, "Its journal is damaged.")
    places = _expand(BlockMap(blocks, sb).runs(inode))
    raw = blocks.read(places[0] * sb.block_size, 1024) if places else b""
    if len(raw) < 1024:
        _refuse(blocks, "Its journal is damaged.")
    magic, kind, _ = _HEADER.unpack_from(raw)
    block_size, length, first, sequence, start, error = struct.unpack_from(">IIIIII", raw, 12)
    features = int.from_bytes(raw[0x28:0x2C], "big") if kind == _SUPER_V2 else 0
    if magic != _MAGIC or kind not in (_SUPER_V1, _SUPER_V2) or block_size != sb.block_size:
        _refuse(blocks, "Its journal is damaged.")
    if features & ~_KNOWN_FEATURES or error:
        _refuse(blocks, "Its journal uses unknown features or has recorded an error.")
    if features & _FEATURE_FAST_COMMIT:
        _refuse(blocks, "Its journal may hold fast commits, which are not replayed here.")
    checksummed = features & (_FEATURE_CSUM_V2 | _FEATURE_CSUM_V3)
    if checksummed and crc32c(raw[:0xFC] + bytes(4) + raw[0x100:]) != int.from_bytes(raw[0xFC:0x100], "big"):
        _refuse(blocks, "The checksum of its journal is wrong.")
    if not 0 < first < length <= len(places) or (start and not first <= start < length):
        _refuse(blocks, "Its journal is damaged.")
    return _Log(places, first, length, start, sequence, features, crc32c(raw[0x30:0x40]))


def _expand(runs: list[Run]) -> list[int]:
    """Return the block of the volume for every block of the journal; a journal has no holes."""
    places: list[int] = []
    for run in runs:
        if run.logical != len(places) or not run.written or len(places) + run.length > 1 << 24:
            return []
        places += range(run.physical, run.physical + run.length)
    return places


@dataclass(slots=True)
class _Transaction:
    """One committed transaction.

    Attributes:
        sequence: its number.
        blocks: (block of the volume, block of the journal, escaped) in order.
        checksums: of each block, 0 in a journal without checksums.
        revoked: blocks of the volume whose earlier copies must not be replayed.
    """

    sequence: int
    blocks: list[tuple[int, int, bool]] = field(default_factory=list[tuple[int, int, bool]])
    checksums: list[int] = field(default_factory=list[int])
    revoked: list[int] = field(default_factory=list[int])


class _Replay:
    """Reads the committed transactions and collects the newest copy of every block."""

    def __init__(self, blocks: BlockReader, sb: Superblock, log: _Log) -> None:
        self._blocks = blocks
        self._sb = sb
        self._log = log

    def run(self) -> dict[int, bytes]:
        """Return the content of every block of the volume that the journal changes."""
        transactions = list(self._transactions())
        revoked: dict[int, int] = {}
        for item in transactions:
            for number in item.revoked:
                revoked[number] = item.sequence
        newest: dict[int, tuple[int, bool]] = {}
        for item in transactions:
            for number, place, escaped in item.blocks:
                # A revoke counts for its own transaction and all before it.
                if number not in revoked or _later(item.sequence, revoked[number]):
                    newest[number] = (place, escaped)
        if len(newest) * self._sb.block_size > _MAX_REPLAYED_BYTES:
            _refuse(self._blocks, "Its journal holds too many changes to replay them in memory.")
        return {number: self._content(place, escaped) for number, (place, escaped) in newest.items()}

    def _content(self, place: int, escaped: bool) -> bytes:  # noqa: FBT001 (a field of the tag)
        data = self._read(place)
        return _MAGIC.to_bytes(4, "big") + data[4:] if escaped else data

    def _transactions(self) -> Iterator[_Transaction]:
        log = self._log
        position, used = log.start, 0
        current = _Transaction(log.sequence)
        while used < log.length:
            data = self._read(position)
            magic, kind, sequence = _HEADER.unpack_from(data)
            if magic != _MAGIC or sequence != current.sequence:
                return
            position, used = self._next(position), used + 1
            if kind == _COMMIT:
                if log.has_checksums and not self._commit_is_whole(data):
                    return
                if not self._data_is_right(current):
                    _refuse(self._blocks, "A block of its journal has a wrong checksum.")
                yield current
                current = _Transaction((current.sequence + 1) & 0xFFFFFFFF)
            elif kind == _REVOKE:
                if not self._tail_is_right(data):
                    return
                current.revoked += self._revoked(data)
            elif kind == _DESCRIPTOR:
                if not self._tail_is_right(data):
                    return
                for number, checksum, escaped in self._tags(data):
                    current.blocks.append((number, position, escaped))
                    current.checksums.append(checksum)
                    position, used = self._next(position), used + 1
                    if used > log.length:
                        return
            else:
                return

    def _tags(self, data: bytes) -> Iterator[tuple[int, int, bool]]:
        """Yield (block of the volume, checksum, escaped) of a descriptor block."""
        features = self._log.features
        wide, v3 = features & _FEATURE_64BIT, features & _FEATURE_CSUM_V3
        size = 16 if v3 else (12 if wide else 8) + (2 if features & _FEATURE_CSUM_V2 else 0)
        end = len(data) - (4 if self._log.has_checksums else 0)
        position = 12
        while position + size <= end:
            if v3:
                low, flags, high, checksum = struct.unpack_from(">IIII", data, position)
            else:
                low, checksum, flags = struct.unpack_from(">IHH", data, position)
                high = int.from_bytes(data[position + 8 : position + 12], "big") if wide else 0
            yield low | (high << 32 if wide else 0), checksum, bool(flags & _TAG_ESCAPED)
            position += size + (0 if flags & _TAG_SAME_UUID else 16)
            if flags & _TAG_LAST:
                return

    def _revoked(self, data: bytes) -> list[int]:
        end = min(int.from_bytes(data[12:16], "big"), len(data))
        wide = self._log.features & _FEATURE_64BIT
        body = data[16:end]
        step, form = (8, ">Q") if wide else (4, ">I")
        return [n for (n,) in struct.iter_unpack(form, body[: len(body) // step * step])]

    def _tail_is_right(self, data: bytes) -> bool:
        if not self._log.has_checksums:
            return True
        return crc32c(data[:-4] + bytes(4), self._log.seed) == int.from_bytes(data[-4:], "big")

    def _commit_is_whole(self, data: bytes) -> bool:
        stored = int.from_bytes(data[0x10:0x14], "big")
        return crc32c(data[:0x10] + bytes(4) + data[0x14:], self._log.seed) == stored

    def _data_is_right(self, transaction: _Transaction) -> bool:
        """Check the blocks of a committed transaction, many at once."""
        if not self._log.has_checksums:
            return True
        seed = crc32c(transaction.sequence.to_bytes(4, "big"), self._log.seed)
        mask = 0xFFFFFFFF if self._log.features & _FEATURE_CSUM_V3 else 0xFFFF
        for first in range(0, len(transaction.blocks), _CHECKSUM_BATCH):
            places = [place for _, place, _ in transaction.blocks[first : first + _CHECKSUM_BATCH]]
            rows = np.frombuffer(b"".join(map(self._read, places)), np.uint8).reshape(len(places), -1)
            stored = transaction.checksums[first : first + _CHECKSUM_BATCH]
            if [value & mask for value in crc32c_rows(rows, seed).tolist()] != stored:
                return False
        return True

    def _read(self, position: int) -> bytes:
        size = self._sb.block_size
        data = self._blocks.read(self._log.places[position] * size, size)
        return data + bytes(size - len(data))

    def _next(self, position: int) -> int:
        return position + 1 if position + 1 < self._log.length else self._log.first


def _later(one: int, other: int) -> bool:
    """Whether transaction `one` comes after `other`; numbers wrap around."""
    return 0 < (one - other) & 0xFFFFFFFF < 0x80000000


def _refuse(blocks: BlockReader, reason: str) -> NoReturn:
    raise dirty_journal(blocks, reason)
