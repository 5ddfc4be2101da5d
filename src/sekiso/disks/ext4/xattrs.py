"""Extended attributes: in the inode, in a block, with values in inodes of their own; access lists."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sekiso.disks.ext4.layout import (
    XATTR_ACL_ACCESS,
    XATTR_ACL_DEFAULT,
    XATTR_ENCRYPTION,
    XATTR_ENTRY,
    XATTR_MAGIC,
    XATTR_PREFIXES,
    XATTR_SYSTEM,
)

#: WIM keeps names up to 255 and values up to 65,535 bytes.
WIM_NAME_MAX = 255
WIM_VALUE_MAX = 65535
_NO_ID = 0xFFFFFFFF
# Source: struct posix_acl_entry: these tags name a user or a group by number.
_ACL_USER, _ACL_GROUP = 0x02, 0x08
_ACL_TAGS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20)


class MalformedXattrError(ValueError):
    """Extended attributes break the format; the reader adds where."""


class RawXattr(NamedTuple):
    """One extended attribute as stored.

    Attributes:
        prefix: number of the prefix of its name.
        name: rest of the name.
        value: value; of one kept in an inode of its own, that content.
    """

    prefix: int
    name: bytes
    value: bytes


ValueReader = Callable[[int, int], bytes]


def parse_inode_area(area: bytes, read_value: ValueReader) -> list[RawXattr]:
    """Return the attributes in the free part of an inode record.

    Args:
        area: the record from the end of its fields.
        read_value: returns the content of an inode (number, size) that holds a value.

    Raises:
        MalformedXattrError: the area is malformed.
    """
    if len(area) < 8 or int.from_bytes(area[:4], "little") != XATTR_MAGIC:
        return []
    return list(_entries(area[4:], 0, read_value))


def parse_block(block: bytes, read_value: ValueReader) -> list[RawXattr]:
    """Return the attributes in a block of attributes; see `parse_inode_area`."""
    magic, _, count = struct.unpack_from("<III", block)
    if magic != XATTR_MAGIC or count != 1:
        raise MalformedXattrError("A block of extended attributes has no header.")
    return list(_entries(block, 32, read_value))


def _entries(area: bytes, position: int, read_value: ValueReader) -> Iterator[RawXattr]:
    while position + 4 <= len(area) and area[position : position + 4] != bytes(4):
        if position + XATTR_ENTRY.size > len(area):
            raise MalformedXattrError("An extended attribute is cut off.")
        name_size, index, offset, value_inode, size, _ = XATTR_ENTRY.unpack_from(area, position)
        start = position + XATTR_ENTRY.size
        name = area[start : start + name_size]
        position = start + (name_size + 3 & ~3)
        if position > len(area):
            raise MalformedXattrError("The name of an extended attribute is cut off.")
        if value_inode:
            yield RawXattr(index, name, read_value(value_inode, size))
        elif size and offset + size > len(area):
            raise MalformedXattrError("The value of an extended attribute is cut off.")
        else:
            yield RawXattr(index, name, area[offset : offset + size] if size else b"")


def full_name(item: RawXattr) -> str | None:
    """Return the attribute's full name; None for what ext4 keeps for itself or nobody knows."""
    if item.prefix == XATTR_ENCRYPTION or (item.prefix == XATTR_SYSTEM and item.name == b"data"):
        return None
    prefix = XATTR_PREFIXES.get(item.prefix) if item.prefix else ""
    return None if prefix is None else prefix + item.name.decode("utf-8", "surrogateescape")


def wire_value(item: RawXattr) -> bytes:
    """Return the value as `getxattr` gives it.

    Raises:
        MalformedXattrError: an access list is malformed.
    """
    if item.prefix in (XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT):
        return acl_to_wire(item.value)
    return item.value


def acl_to_wire(stored: bytes) -> bytes:
    """Convert an access list from its form on the disk (version 1) to that of `getxattr` (version 2).

    Source: struct ext4_acl_header; struct posix_acl_xattr_header.
    """
    if len(stored) < 4 or stored[:4] != b"\1\0\0\0":
        raise MalformedXattrError("An access list has an unknown form.")
    out, position = [b"\2\0\0\0"], 4
    while position < len(stored):
        if position + 4 > len(stored):
            raise MalformedXattrError("An access list is cut off.")
        tag, rights = struct.unpack_from("<HH", stored, position)
        position += 4
        owner = _NO_ID
        if tag in (_ACL_USER, _ACL_GROUP):
            if position + 4 > len(stored):
                raise MalformedXattrError("An access list is cut off.")
            owner = int.from_bytes(stored[position : position + 4], "little")
            position += 4
        elif tag not in _ACL_TAGS:
            raise MalformedXattrError("An access list has an unknown entry.")
        out.append(struct.pack("<HHI", tag, rights, owner))
    return b"".join(out)


def acl_from_wire(value: bytes) -> bytes:
    """Convert an access list from the form of `getxattr` to that on the disk; see `acl_to_wire`."""
    if len(value) < 4 or value[:4] != b"\2\0\0\0" or len(value) % 8 != 4:
        raise MalformedXattrError("An access list has an unknown form.")
    out = [b"\1\0\0\0"]
    for tag, rights, owner in struct.iter_unpack("<HHI", value[4:]):
        if tag not in _ACL_TAGS:
            raise MalformedXattrError("An access list has an unknown entry.")
        out.append(struct.pack("<HH", tag, rights))
        if tag in (_ACL_USER, _ACL_GROUP):
            out.append(struct.pack("<I", owner))
    return b"".join(out)
