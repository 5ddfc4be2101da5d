"""Inodes: the tables, read group by group, and the fields of one inode."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.crc import crc32c, crc32c_rows
from sekiso.disks.ext4.layout import S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, Flag
from sekiso.disks.ext4.superblock import Groups, Superblock
from sekiso.disks.ext4.times import to_filetime
from sekiso.errors import DamagedInputError

_CACHE_BYTES = 256 << 20
# mode uid size atime ctime mtime dtime gid links blocks flags version | i_block | generation acl size_high
# obsolete blocks_hi acl_hi uid_hi gid_hi checksum_lo reserved
_FIXED = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHH")
_EXTRA = struct.Struct("<HHIIIIIII")


class Inode(NamedTuple):
    """One inode, decoded.

    Attributes:
        number: its number.
        raw: the whole record.
        mode: `st_mode`.
        uid: owner.
        gid: group.
        size: length of the content in bytes (of a device: 0).
        links: number of names.
        sectors: space in use in units of 512 bytes.
        flags: inode flags.
        block: the 60 bytes that hold extents, block numbers, a short link target or inline data.
        generation: changes when the number is used anew.
        acl_block: block of extended attributes, 0 if none.
        extra_size: bytes of the record in use beyond the first 128.
    """

    number: int
    raw: bytes
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    sectors: int
    flags: int
    block: bytes
    generation: int
    acl_block: int
    extra_size: int

    @property
    def kind(self) -> int:
        """Type bits of the mode."""
        return self.mode & S_IFMT

    @property
    def access_time(self) -> int:
        """FILETIME of the last access."""
        return self._time(0x08, 0x8C)

    @property
    def change_time(self) -> int:
        """FILETIME of the last change of the inode."""
        return self._time(0x0C, 0x84)

    @property
    def write_time(self) -> int:
        """FILETIME of the last change of the content."""
        return self._time(0x10, 0x88)

    @property
    def creation_time(self) -> int:
        """FILETIME of creation; that of the last write where the inode has no room for it."""
        return self._time(0x90, 0x94) if self.extra_size >= 0x18 else self.write_time

    @property
    def project(self) -> int:
        """Project id for quotas."""
        return int.from_bytes(self.raw[0x9C:0xA0], "little") if self.extra_size >= 0x20 else 0

    @property
    def rdev(self) -> int:
        """Device number of a device, in the 32-bit encoding of `st_rdev`; else 0."""
        if self.kind not in (S_IFCHR, S_IFBLK):
            return 0
        old, new = struct.unpack_from("<II", self.block)
        return (old & 0xFFFF) or new

    def _time(self, low: int, high: int) -> int:
        extra = self.raw[high : high + 4] if self.extra_size >= high + 4 - 0x80 else b""
        return to_filetime(int.from_bytes(self.raw[low : low + 4], "little"), int.from_bytes(extra, "little"))


def decode_inode(number: int, raw: bytes, sb: Superblock) -> Inode:
    """Decode one inode record; see `Inode`."""
    f = _FIXED.unpack_from(raw)
    mode, flags = f[0], f[10]
    size = f[2] | (f[15] << 32 if mode & S_IFMT in (S_IFREG, S_IFDIR) else 0)
    sectors = f[9] | f[17] << 32
    if flags & Flag.HUGE_FILE:
        sectors *= sb.block_size // 512
    extra = int.from_bytes(raw[0x80:0x82], "little") if len(raw) > 0x80 else 0
    if extra & 3 or extra > len(raw) - 0x80:
        extra = 0
    return Inode(
        number=number,
        raw=raw,
        mode=mode,
        uid=f[1] | f[19] << 16,
        gid=f[7] | f[20] << 16,
        size=size,
        links=f[8],
        sectors=sectors,
        flags=flags,
        block=f[12],
        generation=f[13],
        acl_block=f[14] | f[18] << 32,
        extra_size=extra,
    )


def inode_seed(sb: Superblock, number: int, generation: int) -> int:
    """Return the start of the checksums of an inode and of the blocks that belong to it."""
    return crc32c(struct.pack("<II", number, generation), sb.checksum_seed)


def inode_checksums(
    table: NDArray[np.uint8], numbers: NDArray[np.uint32], checksum_seed: int
) -> NDArray[np.uint32]:
    """Return the checksum of every inode record.

    Args:
        table: records, shape (n, inode_size).
        numbers: inode numbers, shape (n,).
        checksum_seed: seed of the file system.
    """
    rows = np.concatenate(
        [numbers.astype("<u4").view(np.uint8).reshape(-1, 4), table[:, 0x64:0x68], table], axis=1
    )
    rows[:, 8 + 0x7C : 8 + 0x7E] = 0
    if table.shape[1] > 128:
        wide = has_wide_checksum(table)
        rows[wide, 8 + 0x82] = 0
        rows[wide, 8 + 0x83] = 0
    return crc32c_rows(rows, checksum_seed)


def has_wide_checksum(table: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which records have room for the upper half of their checksum."""
    if table.shape[1] <= 128:
        return np.zeros(len(table), np.bool_)
    return (table[:, 0x80].astype(np.uint16) | table[:, 0x81].astype(np.uint16) << 8) >= 4


class InodeTables:
    """All inode tables of a volume, read when needed and kept up to a bound of memory."""

    def __init__(self, blocks: BlockReader, sb: Superblock, groups: Groups) -> None:
        self._blocks = blocks
        self._sb = sb
        self._groups = groups
        self._cache: OrderedDict[int, tuple[bytes, NDArray[np.bool_] | None]] = OrderedDict()
        self._cached_bytes = 0

    def get(self, number: int) -> Inode:
        """Return one inode.

        Raises:
            DamagedInputError: there is no such inode, or its checksum is wrong.
        """
        return decode_inode(number, self._raw(number), self._sb)

    def is_folder(self, number: int) -> bool:
        """Whether an inode is a folder; much quicker than `get`.

        Raises:
            DamagedInputError: there is no such inode, or its checksum is wrong.
        """
        return self._raw(number)[1] << 8 & S_IFMT == S_IFDIR

    def _raw(self, number: int) -> bytes:
        if not 0 < number <= self._sb.inodes_count:
            raise self._damaged(0, f"A name refers to inode {number}, which does not exist.")
        group, index = divmod(number - 1, self._sb.inodes_per_group)
        table, bad = self._load(group)
        size = self._sb.inode_size
        raw = table[index * size : (index + 1) * size]
        if len(raw) < size:
            raise self._damaged(number, "A name refers to an inode that was never used.")
        if bad is not None and bad[index]:
            raise self._damaged(number, "The checksum of an inode is wrong.")
        return raw

    def records(self, group: int) -> NDArray[np.uint8]:
        """Return the used part of the inode table of a group as read, shape (n, inode_size)."""
        return np.frombuffer(self._read(group), np.uint8).reshape(-1, self._sb.inode_size)

    def offset(self, number: int) -> int:
        """Return where an inode lies, in bytes from the start of the volume."""
        group, index = divmod(number - 1, self._sb.inodes_per_group)
        return int(self._groups.inode_table[group]) * self._sb.block_size + index * self._sb.inode_size

    def _load(self, group: int) -> tuple[bytes, NDArray[np.bool_] | None]:
        entry = self._cache.get(group)
        if entry is not None:
            self._cache.move_to_end(group)
            return entry
        raw = self._read(group)
        bad = self._check(group, raw) if self._sb.has_metadata_checksums and raw else None
        self._cache[group] = (raw, bad)
        self._cached_bytes += len(raw)
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1][0])
        return raw, bad

    def _read(self, group: int) -> bytes:
        sb, groups = self._sb, self._groups
        start = int(groups.inode_table[group]) * sb.block_size
        raw = self._blocks.read(start, int(groups.used_inodes[group]) * sb.inode_size)
        return raw[: len(raw) // sb.inode_size * sb.inode_size]

    def _check(self, group: int, raw: bytes) -> NDArray[np.bool_]:
        """Return which inodes in use have a wrong checksum."""
        sb = self._sb
        table = np.frombuffer(raw, np.uint8).reshape(-1, sb.inode_size)
        bad = np.zeros(len(table), np.bool_)
        used = np.flatnonzero((table[:, 0] | table[:, 1]) != 0)
        rows = table[used]
        numbers = (used + group * sb.inodes_per_group + 1).astype(np.uint32)
        sums = inode_checksums(rows, numbers, sb.checksum_seed)
        wrong = (sums & 0xFFFF) != _u16(rows, 0x7C)
        wide = has_wide_checksum(rows)
        if wide.any():
            wrong |= wide & (sums >> np.uint32(16) != _u16(rows, 0x82))
        bad[used] = wrong
        return bad

    def _damaged(self, number: int, reason: str) -> DamagedInputError:
        offset = self.offset(number) if number else 0
        return DamagedInputError(path=self._blocks.name, offset=offset, reason=reason)


def _u16(rows: NDArray[np.uint8], offset: int) -> NDArray[np.uint32]:
    return rows[:, offset].astype(np.uint32) | rows[:, offset + 1].astype(np.uint32) << np.uint32(8)
