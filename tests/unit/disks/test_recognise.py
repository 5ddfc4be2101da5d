from __future__ import annotations

import struct

import pytest

from sekiso.disks.recognise import recognise_filesystem
from tests.unit.disks.builders import MemoryBlocks


def at(offset: int, magic: bytes, size: int = 1 << 20) -> MemoryBlocks:
    data = bytearray(size)
    data[offset : offset + len(magic)] = magic
    return MemoryBlocks(bytes(data))


def ext(compat: int, incompat: int, ro_compat: int) -> MemoryBlocks:
    return at(1024 + 56, b"\x53\xef" + bytes(34) + struct.pack("<III", compat, incompat, ro_compat))


@pytest.mark.parametrize(
    ("blocks", "name"),
    [
        (at(3, b"NTFS    "), "ntfs"),
        (at(3, b"-FVE-FS-"), "bitlocker"),
        (at(3, b"ReFS\0\0\0\0"), "refs"),
        (at(0, b"XFSB"), "xfs"),
        (at(65600, b"_BHRfS_M"), "btrfs"),
        (at(0, b"LUKS\xba\xbe\x00\x02"), "luks"),
        (at(512, b"LABELONE"), "lvm"),
        (at(4086, b"SWAPSPACE2"), "swap"),
        (ext(0x3C, 0x2C2, 0x46B), "ext4"),
        (ext(0x3C, 0x6, 0x3), "ext3"),
        (ext(0x38, 0x2, 0x3), "ext2"),
        (at(0, b""), "empty"),
        (at(100, b"something"), "unknown"),
        (MemoryBlocks(b""), "empty"),
        (MemoryBlocks(b"abc"), "unknown"),
    ],
)
def test_by_magic(blocks: MemoryBlocks, name: str) -> None:
    assert recognise_filesystem(blocks) == name
