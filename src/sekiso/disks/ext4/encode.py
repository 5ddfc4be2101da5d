"""Writing the parts of an inode: the record, extent trees, extended attributes, folder blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sekiso.disks.ext4.allocate import Piece
from sekiso.disks.ext4.crc import crc32c, crc32c_rows
from sekiso.disks.ext4.layout import (
    DIRENT,
    DIRENT_TAIL_SIZE,
    DIRENT_TAIL_TYPE,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_INDEX,
    EXTENT_MAGIC,
    MAX_EXTENT_BLOCKS,
    XATTR_ACL_ACCESS,
    XATTR_ACL_DEFAULT,
    XATTR_ENTRY,
    XATTR_MAGIC,
    XATTR_PREFIXES,
)
from sekiso.disks.ext4.times import from_filetime
from sekiso.disks.ext4.xattrs import MalformedXattrError, RawXattr, acl_from_wire

EXTRA_ISIZE = 32
_RECORD = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII")
_ROOT_EXTENTS = 4
_CHECKSUM_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a file to be written: first block in the file, first block on the volume, length."""

    logical: int
    physical: int
    length: int


def extents_of(pieces: Iterable[Piece], first_logical: int = 0) -> list[Extent]:
    """Return the extents of consecutive file blocks that lie in `pieces`; none longer than ext4 allows."""
    found: list[Extent] = []
    logical = first_logical
    for piece_start, piece_length in pieces:
        start, left = piece_start, piece_length
        while left:
            part = min(left, MAX_EXTENT_BLOCKS)
            found.append(Extent(logical, start, part))
            logical, start, left = logical + part, start + part, left - part
    return found


def extent_tree(
    extents: Sequence[Extent], block_size: int, take_block: Callable[[], int], seed: Callable[[], int]
) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Build the extent tree of one inode.

    Args:
        extents: in the order of the file.
        block_size: bytes per block.
        take_block: gives a block for a node of the tree.
        seed: gives the start of the checksums of the inode, asked only if needed.

    Returns:
        The 60 bytes for the inode, and the other nodes as (block number, content).
    """
    per_block = (block_size - EXTENT_HEADER.size - 4) // EXTENT.size
    entries = [EXTENT.pack(e.logical, e.length, e.physical >> 32, e.physical & 0xFFFFFFFF) for e in extents]
    nodes: list[tuple[int, bytes]] = []
    depth = 0
    while len(entries) > _ROOT_EXTENTS:
        above: list[bytes] = []
        for first in range(0, len(entries), per_block):
            part = entries[first : first + per_block]
            number = take_block()
            nodes.append((number, _extent_block(part, depth, per_block, block_size, seed())))
            logical = int.from_bytes(part[0][:4], "little")
            above.append(EXTENT_INDEX.pack(logical, number & 0xFFFFFFFF, number >> 32, 0))
        entries, depth = above, depth + 1
    root = EXTENT_HEADER.pack(EXTENT_MAGIC, len(entries), _ROOT_EXTENTS, depth, 0) + b"".join(entries)
    return root.ljust(60, b"\0"), nodes


def _extent_block(part: list[bytes], depth: int, per_block: int, block_size: int, seed: int) -> bytes:
    head = EXTENT_HEADER.pack(EXTENT_MAGIC, len(part), per_block, depth, 0)
    body = (head + b"".join(part)).ljust(EXTENT_HEADER.size + EXTENT.size * per_block, b"\0")
    return (body + crc32c(body, seed).to_bytes(4, "little")).ljust(block_size, b"\0")


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of an inode to be written; times are FILETIMEs."""

    mode: int
    uid: int
    gid: int
    size: int
    links: int
    sectors: int
    flags: int
    block: bytes
    acl_block: int
    access_time: int
    write_time: int
    creation_time: int
    inline_xattrs: bytes


def encode_record(record: Record, inode_size: int) -> bytes:
    """Return an inode record of `inode_size` bytes, checksum fields zero.

    A WIM keeps no time of the last inode change; it becomes the later of creation and last write.
    """
    r = record
    access, access_extra = from_filetime(r.access_time)
    write, write_extra = from_filetime(r.write_time)
    create, create_extra = from_filetime(r.creation_time)
    change, change_extra = from_filetime(max(r.write_time, r.creation_time))
    fixed = _RECORD.pack(
        *(r.mode, r.uid & 0xFFFF, r.size & 0xFFFFFFFF, access, change, write, 0, r.gid & 0xFFFF, r.links),
        *(r.sectors & 0xFFFFFFFF, r.flags, 0, r.block, 0, r.acl_block & 0xFFFFFFFF, r.size >> 32, 0),
        *(r.sectors >> 32, r.acl_block >> 32, r.uid >> 16, r.gid >> 16, 0, 0),
        *(EXTRA_ISIZE, 0, change_extra, write_extra, access_extra, create, create_extra, 0, 0),
    )
    return (fixed + r.inline_xattrs).ljust(inode_size, b"\0")


def device_block(rdev: int) -> bytes:
    """Return the block field of a device with this `st_rdev` (32-bit encoding)."""
    major, minor = rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00
    old = major < 256 and minor < 256
    return struct.pack("<II", major << 8 | minor if old else 0, 0 if old else rdev).ljust(60, b"\0")


def raw_xattr(name: str, value: bytes) -> RawXattr:
    """Return an attribute as ext4 stores it.

    Raises:
        MalformedXattrError: ext4 has no such name, or the access list is malformed.
    """
    for prefix in (XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT):
        if name == XATTR_PREFIXES[prefix]:
            return RawXattr(prefix, b"", acl_from_wire(value))
    for prefix, text in XATTR_PREFIXES.items():
        if text.endswith(".") and name.startswith(text) and len(name) > len(text):
            rest = name[len(text) :].encode("utf-8", "surrogateescape")
            if len(rest) <= 255:
                return RawXattr(prefix, rest, value)
    raise MalformedXattrError("The extended attribute has a name that ext4 does not know.")


def split_xattrs(items: Sequence[RawXattr], inline_bytes: int) -> tuple[bytes, list[RawXattr]]:
    """Put as many attributes as fit into the inode.

    Args:
        items: the attributes.
        inline_bytes: free bytes at the end of the inode record.

    Returns:
        The bytes for the inode (empty if nothing fits), and the attributes for a block.
    """
    inside: list[RawXattr] = []
    outside: list[RawXattr] = []
    left = inline_bytes - 8  # magic number, and the four zero bytes that end the list
    for item in items:
        need = _entry_size(item) + _padded(len(item.value))
        if need <= left:
            left -= need
            inside.append(item)
        else:
            outside.append(item)
    if not inside:
        return b"", outside
    area = _xattr_area(inside, inline_bytes - 4, 0, hashed=False)[0]
    return XATTR_MAGIC.to_bytes(4, "little") + area, outside


def xattr_block(items: Sequence[RawXattr], block_size: int, number: int, seed: int) -> bytes | None:
    """Return a block of extended attributes with its checksum, None if they do not fit.

    Source: ext4 "Extended Attributes"; the hashes as the kernel computes them (fs/ext4/xattr.c).
    """
    need = 32 + 4 + sum(_entry_size(i) + _padded(len(i.value)) for i in items)
    if need > block_size:
        return None
    ordered = sorted(items, key=lambda i: (i.prefix, len(i.name), i.name))
    area, hashes = _xattr_area(ordered, block_size - 32, 32, hashed=True)
    total = 0
    for value in hashes:
        total = (total << 16 & 0xFFFFFFFF) ^ (total >> 16) ^ value
    if 0 in hashes:
        total = 0
    head = struct.pack("<IIIII12x", XATTR_MAGIC, 1, 1, total, 0)
    checksum = crc32c(head + area, crc32c(number.to_bytes(8, "little"), seed))
    return struct.pack("<IIIII12x", XATTR_MAGIC, 1, 1, total, checksum) + area


def _xattr_area(items: Sequence[RawXattr], size: int, base: int, *, hashed: bool) -> tuple[bytes, list[int]]:
    """Return entries from the front and values from the back; offsets of values count from -`base`."""
    entries, values, hashes = b"", b"", list[int]()
    for item in items:
        stored = item.value.ljust(_padded(len(item.value)), b"\0")
        values = stored + values
        digest = _xattr_hash(item) if hashed else 0
        hashes.append(digest)
        offset = base + size - len(values) if item.value else 0
        entry = XATTR_ENTRY.pack(len(item.name), item.prefix, offset, 0, len(item.value), digest)
        entries += (entry + item.name).ljust(_entry_size(item), b"\0")
    return entries.ljust(size - len(values), b"\0") + values, hashes


def _entry_size(item: RawXattr) -> int:
    return XATTR_ENTRY.size + _padded(len(item.name))


def _padded(length: int) -> int:
    return length + 3 & ~3


def _xattr_hash(item: RawXattr) -> int:
    total = 0
    for char in item.name:
        signed = char - 256 if char & 0x80 else char
        total = ((total << 5) ^ (total >> 27) ^ signed) & 0xFFFFFFFF
    stored = item.value.ljust(_padded(len(item.value)), b"\0")
    for (word,) in struct.iter_unpack("<I", stored):
        total = (total << 16 & 0xFFFFFFFF) ^ (total >> 16) ^ word
    return total


def folder_blocks(entries: Sequence[tuple[bytes, int, int]], block_size: int) -> list[bytearray]:
    """Lay out the entries of a folder in linear blocks; `checksum_folders` completes them.

    Args:
        entries: (name, inode number, file type), `.` and `..` first.
        block_size: bytes per block.
    """
    room = block_size - DIRENT_TAIL_SIZE
    blocks: list[bytearray] = []
    block, last = bytearray(), 0
    for name, number, kind in entries:
        need = 8 + _padded(len(name))
        if len(block) + need > room:
            blocks.append(_end_block(block, last, room))
            block = bytearray()
        last = len(block)
        block += (DIRENT.pack(number, need, len(name), kind) + name).ljust(need, b"\0")
    blocks.append(_end_block(block, last, room))
    return blocks


def empty_folder_block(block_size: int) -> bytearray:
    """Return a folder block without entries."""
    room = block_size - DIRENT_TAIL_SIZE
    return _end_block(bytearray(DIRENT.pack(0, room, 0, 0)), 0, room)


def _end_block(block: bytearray, last: int, room: int) -> bytearray:
    """Stretch the last entry over the rest of a block and add the record for the checksum."""
    struct.pack_into("<H", block, last + 4, room - last)
    tail = DIRENT.pack(0, DIRENT_TAIL_SIZE, 0, DIRENT_TAIL_TYPE) + bytes(4)
    return block.ljust(room, b"\0") + tail


def checksum_folders(blocks: Sequence[tuple[bytearray, int]], block_size: int) -> None:
    """Write the checksums into folder blocks, many at once.

    Args:
        blocks: (block, start of the checksums of its inode).
        block_size: bytes per block.
    """
    for first in range(0, len(blocks), _CHECKSUM_BATCH):
        part = blocks[first : first + _CHECKSUM_BATCH]
        rows = np.frombuffer(b"".join(block for block, _ in part), np.uint8).reshape(-1, block_size)
        seeds = np.array([seed for _, seed in part], np.uint32)
        sums = crc32c_rows(rows[:, : block_size - DIRENT_TAIL_SIZE], seeds)
        for (block, _), value in zip(part, sums.tolist(), strict=True):
            block[-4:] = value.to_bytes(4, "little")
