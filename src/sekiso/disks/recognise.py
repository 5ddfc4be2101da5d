"""Tell what kind of file system, or what else, a partition holds."""

from __future__ import annotations

import struct

from sekiso.disks.blocks import BlockReader

#: Offset, magic, name. Source: the superblock definitions of each file system (util-linux's libblkid
#: documents the same places).
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (3, b"NTFS    ", "ntfs"),
    (3, b"-FVE-FS-", "bitlocker"),
    (3, b"ReFS\0\0\0\0", "refs"),
    (3, b"EXFAT   ", "exfat"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"XFSB", "xfs"),
    (0, b"hsqs", "squashfs"),
    (65600, b"_BHRfS_M", "btrfs"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (32769, b"CD001", "iso9660"),
    (4096, b"\xfc\x4e\x2b\xa9", "mdraid"),
)
_SWAP_PAGES = (4096, 8192, 16384, 65536)
_EXT_MAGIC = b"\x53\xef"
_EXT_HAS_JOURNAL = 0x4
#: Features that ext3 does not know. Source: Linux, fs/ext4/ext4.h (EXT3_FEATURE_*_SUPP).
_EXT3_INCOMPAT = 0x0002 | 0x0004 | 0x0010
_EXT3_RO_COMPAT = 0x0001 | 0x0002 | 0x0004


def recognise_filesystem(blocks: BlockReader) -> str:
    """Return what a partition holds, by its magic numbers; the content is not checked.

    Returns:
        `ext2`, `ext3`, `ext4`, `ntfs`, `fat`, `exfat`, `swap`, `lvm`, `luks`, `bitlocker`, `refs`, `xfs`,
        `btrfs`, `f2fs`, `squashfs`, `iso9660`, `mdraid`, `empty` (its first 64 KiB are zeros) or `unknown`.
    """
    for offset, magic, name in _MAGICS:
        if blocks.read(offset, len(magic)) == magic:
            return name
    if any(blocks.read(512 * i, 8) == b"LABELONE" for i in range(4)):
        return "lvm"
    if any(
        blocks.read(page - 10, 10) in (b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0") for page in _SWAP_PAGES
    ):
        return "swap"
    ext = _ext_kind(blocks.read(1024, 1024))
    if ext:
        return ext
    head = blocks.read(0, 512)
    if is_fat_boot_sector(head):
        return "fat"
    first = blocks.read(0, 64 << 10)
    return "empty" if not any(first) else "unknown"


def _ext_kind(superblock: bytes) -> str:
    if len(superblock) < 1024 or superblock[56:58] != _EXT_MAGIC:
        return ""
    compat, incompat, ro_compat = struct.unpack_from("<III", superblock, 92)
    if incompat & ~_EXT3_INCOMPAT or ro_compat & ~_EXT3_RO_COMPAT:
        return "ext4"
    return "ext3" if compat & _EXT_HAS_JOURNAL else "ext2"


def is_fat_boot_sector(sector: bytes) -> bool:
    """Whether a sector is plausible as a FAT boot sector.

    Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03.
    """
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa" or sector[0] not in (0xEB, 0xE9):
        return False
    sector_bytes, per_cluster, reserved, fats, roots, total16, media, fat16 = struct.unpack_from(
        "<HBHBHHBH", sector, 11
    )
    total32, fat32 = struct.unpack_from("<I", sector, 32)[0], struct.unpack_from("<I", sector, 36)[0]
    return (
        sector_bytes in (512, 1024, 2048, 4096)
        and per_cluster in (1, 2, 4, 8, 16, 32, 64, 128)
        and reserved > 0
        and fats in (1, 2)
        and (media == 0xF0 or media >= 0xF8)
        and bool(total16 or total32)
        and bool(fat16 or fat32)
        and bool(roots or fat32)
    )
