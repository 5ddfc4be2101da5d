"""The tables of a filled file system: inodes, bitmaps, group descriptors, superblock, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.ext4.allocate import FreeSpace
from sekiso.disks.ext4.copying import pwrite_all
from sekiso.disks.ext4.crc import crc32c
from sekiso.disks.ext4.inodes import inode_checksums
from sekiso.disks.ext4.layout import (
    BG_BLOCK_UNINIT,
    BG_INODE_UNINIT,
    SUPERBLOCK_OFFSET,
    Incompat,
)
from sekiso.disks.ext4.superblock import (
    Groups,
    Superblock,
    descriptor_blocks,
    descriptor_checksums,
    parse_superblock,
)


def write_tables(
    fd: int,
    base: int,
    sb: Superblock,
    groups: Groups,
    free: FreeSpace,
    records: Mapping[int, bytes],
    folders: NDArray[np.int64],
) -> Superblock:
    """Write everything that makes the content visible.

    Args:
        fd: the raw file.
        base: where the file system starts in it.
        sb: its superblock as it was made.
        groups: its group descriptors as they were made.
        free: the blocks taken.
        records: inode records by number, checksum fields zero.
        folders: inode numbers of the folders among them.

    Returns:
        The superblock as it was written.
    """
    return _Tables(fd, base, sb, groups, free).write(records, folders)


class _Tables:
    def __init__(self, fd: int, base: int, sb: Superblock, groups: Groups, free: FreeSpace) -> None:
        self._fd = fd
        self._base = base
        self._sb = sb
        self._groups = groups
        self._free = free
        self._raw = groups.raw.copy()
        self._flags = groups.flags.copy()

    def write(self, records: Mapping[int, bytes], folders: NDArray[np.int64]) -> Superblock:
        numbers = np.array(sorted(records), np.int64)
        self._write_records(numbers, records)
        new = numbers[numbers > self._sb.first_ordinary_inode]
        touched = self._inode_bitmaps(new, folders[folders > self._sb.first_ordinary_inode])
        self._block_bitmaps(touched)
        self._write_descriptors()
        return self._write_superblock(len(new))

    def _write_records(self, numbers: NDArray[np.int64], records: Mapping[int, bytes]) -> None:
        """Write runs of consecutive inodes of one group at a time."""
        sb = self._sb
        table = np.frombuffer(b"".join(records[n] for n in numbers.tolist()), np.uint8)
        table = table.reshape(-1, sb.inode_size).copy()
        sums = inode_checksums(table, numbers.astype(np.uint32), sb.checksum_seed)
        table[:, 0x7C:0x7E] = (sums & 0xFFFF).astype("<u2").view(np.uint8).reshape(-1, 2)
        table[:, 0x82:0x84] = (sums >> np.uint32(16)).astype("<u2").view(np.uint8).reshape(-1, 2)
        group = (numbers - 1) // sb.inodes_per_group
        breaks = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(group) != 0)) + 1
        for part in np.split(np.arange(len(numbers)), breaks):
            number = int(numbers[part[0]])
            index, slot = divmod(number - 1, sb.inodes_per_group)
            place = int(self._groups.inode_table[index]) * sb.block_size + slot * sb.inode_size
            self._pwrite(table[part].tobytes(), place)

    def _inode_bitmaps(self, new: NDArray[np.int64], folders: NDArray[np.int64]) -> set[int]:
        """Mark the new inodes; returns the groups that have one."""
        sb = self._sb
        per_group = sb.inodes_per_group
        folder_groups = np.bincount((folders - 1) // per_group, minlength=sb.groups_count)
        owners = (new - 1) // per_group
        touched: set[int] = set(np.unique(owners).tolist())
        for group in sorted(touched):
            slots = (new[owners == group] - 1) % per_group
            bits = self._inode_bits(group)
            bits[slots] = True
            bits[per_group:] = True
            packed = np.packbits(bits, bitorder="little").tobytes()
            self._pwrite(packed, int(self._groups.inode_bitmap[group]) * sb.block_size)
            self._set(group, 0x1A, 0x3A, crc32c(packed[: per_group // 8], sb.checksum_seed))
            self._flags[group] &= ~np.uint16(BG_INODE_UNINIT)
            self._set(group, 0x0E, 0x2E, self._get(group, 0x0E, 0x2E) - len(slots))
            self._set(group, 0x10, 0x30, self._get(group, 0x10, 0x30) + int(folder_groups[group]))
            self._set(group, 0x1C, 0x32, per_group - 1 - int(np.flatnonzero(bits[:per_group]).max()))
        return touched

    def _inode_bits(self, group: int) -> NDArray[np.bool_]:
        sb = self._sb
        if self._groups.flags[group] & BG_INODE_UNINIT:
            return np.zeros(sb.block_size * 8, np.bool_)
        raw = self._free.read_block(int(self._groups.inode_bitmap[group]))
        return np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little").astype(np.bool_)

    def _block_bitmaps(self, touched: set[int]) -> None:
        left = set(touched)
        for group, used in self._free.final_bitmaps():
            self._block_bitmap(group, used)
            left.discard(group)
        for group in sorted(left):
            # A group with inodes has a written block bitmap too, as the kernel makes it.
            if self._flags[group] & BG_BLOCK_UNINIT:
                self._block_bitmap(group, self._free.bitmap(group))

    def _block_bitmap(self, group: int, used: NDArray[np.bool_]) -> None:
        sb = self._sb
        bits = np.ones(sb.block_size * 8, np.bool_)
        bits[: len(used)] = used
        packed = np.packbits(bits, bitorder="little").tobytes()
        self._pwrite(packed, int(self._groups.block_bitmap[group]) * sb.block_size)
        self._set(group, 0x18, 0x38, crc32c(packed[: sb.blocks_per_group // 8], sb.checksum_seed))
        self._set(group, 0x0C, 0x2C, int(len(used) - np.count_nonzero(used)))
        self._flags[group] &= ~np.uint16(BG_BLOCK_UNINIT)

    def _get(self, group: int, low: int, high: int) -> int:
        row = self._raw[group]
        value = int(row[low]) | int(row[low + 1]) << 8
        if len(row) >= 64:
            value |= int(row[high]) << 16 | int(row[high + 1]) << 24
        return value

    def _set(self, group: int, low: int, high: int, value: int) -> None:
        row = self._raw[group]
        row[low : low + 2] = np.frombuffer((value & 0xFFFF).to_bytes(2, "little"), np.uint8)
        if len(row) >= 64:
            row[high : high + 2] = np.frombuffer((value >> 16 & 0xFFFF).to_bytes(2, "little"), np.uint8)

    def _write_descriptors(self) -> None:
        sb = self._sb
        raw = self._raw
        raw[:, 0x12:0x14] = self._flags.astype("<u2").view(np.uint8).reshape(-1, 2)
        sums = descriptor_checksums(raw, sb.checksum_seed)
        raw[:, 0x1E:0x20] = sums.astype("<u2").view(np.uint8).reshape(-1, 2)
        data = raw.tobytes()
        for index, number in enumerate(descriptor_blocks(sb)):
            part = data[index * sb.block_size : (index + 1) * sb.block_size]
            self._pwrite(part, number * sb.block_size)

    def _write_superblock(self, new_inodes: int) -> Superblock:
        sb = self._sb
        raw = bytearray(sb.raw)
        blocks = sb.free_blocks - self._free.taken
        raw[0x0C:0x10] = (blocks & 0xFFFFFFFF).to_bytes(4, "little")
        if sb.incompat & Incompat.BITS64:
            raw[0x158:0x15C] = (blocks >> 32).to_bytes(4, "little")
        raw[0x10:0x14] = (sb.u32(0x10) - new_inodes).to_bytes(4, "little")
        raw[0x3FC:0x400] = crc32c(raw[:0x3FC]).to_bytes(4, "little")
        self._pwrite(bytes(raw), SUPERBLOCK_OFFSET)
        written = parse_superblock(bytes(raw))
        if written is None:
            raise AssertionError("the superblock was read before and only counts changed")
        return written

    def _pwrite(self, data: bytes, offset: int) -> None:
        pwrite_all(self._fd, data, self._base + offset)
