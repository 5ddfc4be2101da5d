"""The superblock and the group descriptors: where everything else lies."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.crc import crc32c, crc32c_rows
from sekiso.disks.ext4.layout import (
    BG_INODE_UNINIT,
    MAGIC,
    READABLE_INCOMPAT,
    STATE_ERROR,
    STATE_VALID,
    SUPERBLOCK_OFFSET,
    SUPERBLOCK_SIZE,
    Compat,
    Incompat,
    RoCompat,
)
from sekiso.errors import DamagedInputError, DirtyVolumeError, UnsupportedInputError

_MAX_GROUPS = 1 << 24
_REMEDY_DIRTY = (
    "Start the machine once and shut it down from inside; or run e2fsck on a copy of the disk and use that."
)


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the superblock says, checked against the size of the volume.

    Attributes:
        raw: its 1024 bytes.
        block_size: bytes per block.
        blocks_count: number of blocks.
        first_data_block: number of the first block of group 0 (1 when blocks are 1 KiB, else 0).
        blocks_per_group: blocks per group.
        inodes_per_group: inodes per group.
        inodes_count: number of inodes.
        inode_size: bytes per inode.
        descriptor_size: bytes per group descriptor.
        compat: features that may be ignored.
        incompat: features that a reader must know.
        ro_compat: features that a writer must know.
        checksum_seed: start of the metadata checksums.
    """

    raw: bytes
    block_size: int
    blocks_count: int
    first_data_block: int
    blocks_per_group: int
    inodes_per_group: int
    inodes_count: int
    inode_size: int
    descriptor_size: int
    compat: int
    incompat: int
    ro_compat: int
    checksum_seed: int

    def u16(self, offset: int) -> int:
        """Return the 16-bit field at `offset`."""
        return int.from_bytes(self.raw[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        """Return the 32-bit field at `offset`."""
        return int.from_bytes(self.raw[offset : offset + 4], "little")

    @property
    def groups_count(self) -> int:
        """Number of block groups."""
        return -(-(self.blocks_count - self.first_data_block) // self.blocks_per_group)

    @property
    def uuid(self) -> str:
        """UUID of the file system."""
        return str(uuid.UUID(bytes=self.raw[0x68:0x78]))

    @property
    def label(self) -> str:
        """Volume label."""
        return self.raw[0x78:0x88].split(b"\0", 1)[0].decode("utf-8", "replace")

    @property
    def free_blocks(self) -> int:
        """Free blocks (with bigalloc: the blocks of the free clusters)."""
        count = self.u32(0x0C)
        if self.incompat & Incompat.BITS64:
            count |= self.u32(0x158) << 32
        return count << (self.u32(0x1C) - self.u32(0x18)) if self.ro_compat & RoCompat.BIGALLOC else count

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal holds changes that are not in place yet."""
        return bool(self.incompat & Incompat.RECOVER)

    @property
    def has_metadata_checksums(self) -> bool:
        """Whether metadata carries CRC-32C checksums."""
        return bool(self.ro_compat & RoCompat.METADATA_CSUM)

    @property
    def first_ordinary_inode(self) -> int:
        """First inode number that is not reserved."""
        return self.u32(0x54) if self.u32(0x4C) else 11

    def has_backup(self, group: int) -> bool:
        """Whether a group holds a copy of the superblock and the descriptors."""
        if group == 0:
            return True
        if self.compat & Compat.SPARSE_SUPER2:
            return group in (self.u32(0x24C), self.u32(0x250))
        return not self.ro_compat & RoCompat.SPARSE_SUPER or is_backup_group(group)


def is_backup_group(group: int) -> bool:
    """Whether a group of a file system with sparse superblocks holds a copy (or the original)."""
    return group <= 1 or any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(value: int, base: int) -> bool:
    while value > 1 and value % base == 0:
        value //= base
    return value == 1


def read_superblock(blocks: BlockReader) -> Superblock:
    """Read and check the superblock.

    Raises:
        DamagedInputError: this is no ext2, ext3 or ext4 file system, or its superblock is broken.
        UnsupportedInputError: it uses a feature that is not known here.
    """
    raw = blocks.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    if len(raw) < SUPERBLOCK_SIZE or raw[0x38:0x3A] != MAGIC.to_bytes(2, "little"):
        raise _damaged(blocks, 0x38, "There is no ext4 superblock.")
    sb = parse_superblock(raw)
    if sb is None:
        raise _damaged(blocks, 0, "The superblock holds impossible sizes.")
    _check_features(sb, blocks)
    if sb.has_metadata_checksums and crc32c(raw[:0x3FC]) != sb.u32(0x3FC):
        raise _damaged(blocks, 0x3FC, "The checksum of the superblock is wrong.")
    if sb.blocks_count * sb.block_size > blocks.size_bytes:
        raise _damaged(blocks, 0x04, "The file system is larger than the partition or file that holds it.")
    return sb


def parse_superblock(raw: bytes) -> Superblock | None:
    """Return the superblock in these 1024 bytes, None if its sizes are impossible."""

    def u16(offset: int) -> int:
        return int.from_bytes(raw[offset : offset + 2], "little")

    def u32(offset: int) -> int:
        return int.from_bytes(raw[offset : offset + 4], "little")

    dynamic, incompat = u32(0x4C) > 0, u32(0x60) if u32(0x4C) else 0
    ro_compat = u32(0x64) if dynamic else 0
    if u32(0x18) > 6:
        return None
    sb = Superblock(
        raw=raw,
        block_size=1024 << u32(0x18),
        blocks_count=u32(0x04) | (u32(0x150) << 32 if incompat & Incompat.BITS64 else 0),
        first_data_block=u32(0x14),
        blocks_per_group=u32(0x20),
        inodes_per_group=u32(0x28),
        inodes_count=u32(0x00),
        inode_size=u16(0x58) if dynamic else 128,
        descriptor_size=(u16(0xFE) or 32) if incompat & Incompat.BITS64 else 32,
        compat=u32(0x5C) if dynamic else 0,
        incompat=incompat,
        ro_compat=ro_compat,
        checksum_seed=u32(0x270) if incompat & Incompat.CSUM_SEED else crc32c(raw[0x68:0x78]),
    )
    return sb if _plausible(sb) else None


def _plausible(sb: Superblock) -> bool:
    size, bits = sb.block_size, sb.block_size * 8
    cluster_bits = sb.u32(0x1C) - sb.u32(0x18) if sb.ro_compat & RoCompat.BIGALLOC else 0
    if not 0 <= cluster_bits <= 16 or sb.inode_size < 128 or sb.inode_size & (sb.inode_size - 1):
        return False
    return (
        sb.inode_size <= size
        and 32 <= sb.descriptor_size <= size
        and sb.descriptor_size & (sb.descriptor_size - 1) == 0
        and sb.first_data_block == (1 if size == 1024 and not cluster_bits else 0)
        and 0 < sb.blocks_per_group <= bits << cluster_bits
        and 0 < sb.inodes_per_group <= bits
        and sb.blocks_count > sb.first_data_block
        and sb.groups_count <= _MAX_GROUPS
        and 0 < sb.inodes_count <= sb.groups_count * sb.inodes_per_group
        and sb.inodes_count < 1 << 32
    )


def _check_features(sb: Superblock, blocks: BlockReader) -> None:
    unknown = sb.incompat & ~READABLE_INCOMPAT
    if unknown & Incompat.JOURNAL_DEV:
        raise _unsupported(blocks, "This is the external journal of an ext4 file system.")
    if unknown:
        raise _unsupported(blocks, f"The ext4 file system uses features unknown here (0x{unknown:x}).")
    if sb.needs_recovery and not sb.compat & Compat.HAS_JOURNAL:
        raise _damaged(blocks, 0x60, "The superblock asks for a recovery without a journal.")


def check_clean(sb: Superblock, blocks: BlockReader) -> None:
    """Refuse a volume that carries errors or was not unmounted.

    Raises:
        DirtyVolumeError: with what to do.
    """
    state = sb.u16(0x3A)
    if state & STATE_ERROR or (sb.u32(0x194) and not state & STATE_VALID):
        raise DirtyVolumeError(
            path=blocks.name,
            reason="The ext4 file system has recorded errors.",
            remedy="Repair it on a copy with e2fsck -f, look at what was repaired, and use the copy.",
        )
    if not state & STATE_VALID and not sb.compat & Compat.HAS_JOURNAL:
        raise DirtyVolumeError(
            path=blocks.name, reason="It has no journal and was not unmounted.", remedy=_REMEDY_DIRTY
        )


def dirty_journal(blocks: BlockReader, reason: str) -> DirtyVolumeError:
    """Return the error for a journal that cannot be replayed."""
    return DirtyVolumeError(path=blocks.name, reason=reason, remedy=_REMEDY_DIRTY)


@dataclass(frozen=True, slots=True)
class Groups:
    """Group descriptors as columns, one element per group.

    Attributes:
        raw: the descriptors, shape (groups, descriptor_size).
        block_bitmap: block number of the block bitmap.
        inode_bitmap: block number of the inode bitmap.
        inode_table: block number of the inode table.
        used_inodes: length of the part of the inode table that was ever used.
        flags: state of bitmaps and table.
    """

    raw: NDArray[np.uint8]
    block_bitmap: NDArray[np.uint64]
    inode_bitmap: NDArray[np.uint64]
    inode_table: NDArray[np.uint64]
    used_inodes: NDArray[np.int64]
    flags: NDArray[np.uint16]


def descriptor_blocks(sb: Superblock) -> list[int]:
    """Return the numbers of the blocks that hold the (primary) group descriptors, in order."""
    per_block = sb.block_size // sb.descriptor_size
    count = -(-sb.groups_count // per_block)
    first_meta = sb.u32(0x104) if sb.incompat & Incompat.META_BG else count
    found: list[int] = []
    for index in range(count):
        if index < first_meta:
            found.append(sb.first_data_block + 1 + index)
        else:
            group = index * per_block
            start = sb.first_data_block + group * sb.blocks_per_group
            found.append(start + (1 if sb.has_backup(group) else 0))
    # With blocks of 1 KiB and clusters, block 0 is the boot block and block 1 the superblock.
    shift = 1 if sb.block_size == 1024 and sb.first_data_block == 0 else 0
    return [number + shift if position < first_meta else number for position, number in enumerate(found)]


def read_groups(blocks: BlockReader, sb: Superblock) -> Groups:
    """Read and check all group descriptors.

    Raises:
        DamagedInputError: a descriptor points outside the volume or has a wrong checksum.
    """
    size = sb.block_size
    raw = b"".join(blocks.read(number * size, size) for number in descriptor_blocks(sb))
    need = sb.groups_count * sb.descriptor_size
    if len(raw) < need:
        raise _damaged(blocks, SUPERBLOCK_OFFSET, "The group descriptors lie outside the volume.")
    table = np.frombuffer(raw[:need], np.uint8).reshape(sb.groups_count, sb.descriptor_size)
    groups = _columns(table, sb)
    _check_groups(groups, sb, blocks)
    return groups


def _columns(table: NDArray[np.uint8], sb: Superblock) -> Groups:
    def u16(offset: int) -> NDArray[np.uint16]:
        return np.ascontiguousarray(table[:, offset : offset + 2]).view("<u2")[:, 0]

    def u32(offset: int) -> NDArray[np.uint64]:
        return np.ascontiguousarray(table[:, offset : offset + 4]).view("<u4")[:, 0].astype(np.uint64)

    def wide(low: int, high: int) -> NDArray[np.uint64]:
        return u32(low) | (u32(high) << np.uint64(32)) if sb.descriptor_size >= 64 else u32(low)

    flags = u16(0x12)
    unused = u16(0x1C).astype(np.int64)
    if sb.descriptor_size >= 64:
        unused |= u16(0x32).astype(np.int64) << 16
    counted = sb.ro_compat & (RoCompat.METADATA_CSUM | RoCompat.GDT_CSUM)
    used = np.full(len(table), sb.inodes_per_group, np.int64)
    if counted:
        used = np.where(flags & BG_INODE_UNINIT, 0, np.clip(used - unused, 0, None))
    return Groups(table, wide(0x00, 0x20), wide(0x04, 0x24), wide(0x08, 0x28), used, flags)


def _check_groups(groups: Groups, sb: Superblock, blocks: BlockReader) -> None:
    table_blocks = -(-sb.inodes_per_group * sb.inode_size // sb.block_size)
    if int(groups.inode_table.max()) + table_blocks > sb.blocks_count or int(groups.inode_table.min()) == 0:
        raise _damaged(blocks, SUPERBLOCK_OFFSET, "An inode table lies outside the volume.")
    if sb.has_metadata_checksums:
        stored = np.ascontiguousarray(groups.raw[:, 0x1E:0x20]).view("<u2")[:, 0]
        bad = np.flatnonzero(descriptor_checksums(groups.raw, sb.checksum_seed) != stored)
        if len(bad):
            raise _damaged(blocks, SUPERBLOCK_OFFSET, f"The descriptor of block group {bad[0]} is damaged.")


def descriptor_checksums(table: NDArray[np.uint8], seed: int) -> NDArray[np.uint16]:
    """Return the checksum of every group descriptor, shape (groups,)."""
    numbers = np.arange(len(table), dtype="<u4").view(np.uint8).reshape(-1, 4)
    rows = np.concatenate([numbers, table], axis=1)
    rows[:, 4 + 0x1E : 4 + 0x20] = 0
    return (crc32c_rows(rows, seed) & 0xFFFF).astype(np.uint16)


def _damaged(blocks: BlockReader, offset: int, reason: str) -> DamagedInputError:
    return DamagedInputError(path=blocks.name, offset=SUPERBLOCK_OFFSET + offset, reason=reason)


def _unsupported(blocks: BlockReader, reason: str) -> UnsupportedInputError:
    return UnsupportedInputError(
        path=blocks.name, reason=reason, remedy="Use a disk whose root file system is a plain ext4."
    )
