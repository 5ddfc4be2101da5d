"""Tagged items: the variable part of a WIM directory entry (Linux inode data, attributes, object id)."""

from __future__ import annotations

import struct

from sekiso.errors import UnsupportedInputError
from sekiso.wim.tree import Node, UnixData

# Source: WIM files written by libwim 1.13 and by DISM of Windows 10 1607 and later (xattrs, object id).
TAG_OBJECT_ID = 0x1
TAG_XATTRS = 0x2
TAG_UNIX_DATA = 0x337DD873
TAG_OLD_LINUX_XATTRS = 0x337DD874

_HEADER = struct.Struct("<II")  # tag, length of the data that follows; padded to 8 bytes
_UNIX = struct.Struct("<IIII")  # uid, gid, mode, rdev
_XATTR = struct.Struct("<HBB")  # value length, name length, flags; then name, NUL, value
_OLD_XATTR = struct.Struct("<HHI")  # name length, reserved, value length; then name, value; padded to 4

Xattrs = tuple[tuple[str, bytes], ...]
#: Unix data, extended attributes, object id, everything else.
Items = tuple[UnixData | None, Xattrs, bytes | None, bytes]
NO_ITEMS: Items = (None, (), None, b"")


def parse_items(raw: bytes) -> Items:
    """Take the items of one directory entry apart.

    What is unknown, malformed or given twice is kept as it is in the last part, so nothing is lost and
    nothing is guessed.
    """
    unix: UnixData | None = None
    xattrs: Xattrs = ()
    object_id: bytes | None = None
    rest: list[bytes] = []
    at = 0
    raw += bytes(-len(raw) % 8)  # as it will be written again
    while len(raw) - at >= _HEADER.size:
        tag, length = _HEADER.unpack_from(raw, at)
        start, end = at + 8, at + 8 + length
        if end > len(raw):
            break
        body = raw[start:end]
        after = (end + 7) & ~7
        if tag == TAG_UNIX_DATA and length == _UNIX.size and unix is None:
            unix = UnixData(*_UNIX.unpack(body))
        elif tag in (TAG_XATTRS, TAG_OLD_LINUX_XATTRS) and not xattrs and (found := _parse_xattrs(tag, body)):
            xattrs = found
        elif tag == TAG_OBJECT_ID and length >= 16 and object_id is None:
            # NTFS keeps three birth identifiers behind it, all zero unless the file came from elsewhere.
            object_id = body[:16] if not any(body[16:]) else body
        else:
            rest.append(raw[at:after])
        at = after
    left = b"".join([*rest, raw[at:]])
    return unix, xattrs, object_id, left if left.strip(b"\0") else b""


def _parse_xattrs(tag: int, body: bytes) -> Xattrs:
    """Return the attributes sorted by name; empty if they cannot be told apart or carry flags."""
    found = _parse_new_xattrs(body) if tag == TAG_XATTRS else _parse_old_xattrs(body)
    if found is None or len({name for name, _ in found}) != len(found):
        return ()
    return tuple(sorted(found))


def _parse_new_xattrs(body: bytes) -> list[tuple[str, bytes]] | None:
    found: list[tuple[str, bytes]] = []
    at = 0
    while at < len(body):
        if len(body) - at < _XATTR.size:
            return None
        value_length, name_length, flags = _XATTR.unpack_from(body, at)
        start = at + _XATTR.size
        value = start + name_length + 1
        at = value + value_length
        name = body[start : start + name_length]
        if flags or not name or at > len(body) or b"\0" in name or body[value - 1]:
            return None
        found.append((name.decode("utf-8", "surrogateescape"), body[value:at]))
    return found


def _parse_old_xattrs(body: bytes) -> list[tuple[str, bytes]] | None:
    found: list[tuple[str, bytes]] = []
    at = 0
    while at < len(body):
        if len(body) - at < _OLD_XATTR.size:
            return None
        name_length, reserved, value_length = _OLD_XATTR.unpack_from(body, at)
        start = at + _OLD_XATTR.size
        end = start + name_length + value_length
        name = body[start : start + name_length]
        if reserved or not name or end > len(body) or b"\0" in name:
            return None
        found.append((name.decode("utf-8", "surrogateescape"), body[start + name_length : end]))
        at = (end + 3) & ~3
    return found


def format_items(node: Node) -> bytes:
    """Return the items of one entry, padded to 8 bytes; the reverse of `parse_items`.

    Raises:
        UnsupportedInputError: an extended attribute is too long for WIM.
    """
    parts: list[bytes] = []
    if node.object_id is not None:
        parts.append(_item(TAG_OBJECT_ID, node.object_id))
    if node.unix is not None:
        unix = node.unix
        parts.append(_item(TAG_UNIX_DATA, _UNIX.pack(unix.uid, unix.gid, unix.mode, unix.rdev)))
    if node.xattrs:
        parts.append(_item(TAG_XATTRS, b"".join(_xattr(node, n, v) for n, v in sorted(node.xattrs))))
    parts.append(node.extra)
    raw = b"".join(parts)
    return raw + bytes(-len(raw) % 8)


def _item(tag: int, body: bytes) -> bytes:
    return _HEADER.pack(tag, len(body)) + body + bytes(-len(body) % 8)


def _xattr(node: Node, name: str, value: bytes) -> bytes:
    raw = name.encode("utf-8", "surrogateescape")
    if not 0 < len(raw) <= 255 or len(value) > 0xFFFF or b"\0" in raw:
        raise UnsupportedInputError(
            path=node.name,
            reason=f"Its extended attribute {name} is longer than a WIM file can keep.",
            remedy="Names may have up to 255 bytes and values up to 65535; remove or shorten the attribute.",
        )
    return _XATTR.pack(len(value), len(raw), 0) + raw + b"\0" + value
