"""Folders: the entries of linear blocks, of hash-indexed folders (read linearly) and of inline data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sekiso.disks.ext4.layout import DIRENT


class Entry(NamedTuple):
    """One entry of a folder.

    Attributes:
        name: the name as bytes.
        inode: number of the inode.
        file_type: what the folder says the type is, 0 if it does not.
    """

    name: bytes
    inode: int
    file_type: int


class MalformedFolderError(ValueError):
    """A folder block breaks the format; the reader adds where."""


def parse_entries(data: bytes, block_size: int, *, filetype: bool) -> Iterator[Entry]:
    """Yield the entries of folder blocks, without `.`, `..`, unused entries, checksums and index nodes.

    An index block of a hash-indexed folder looks like an unused entry that fills its block (the root:
    like a `..` that fills it), so reading linearly finds every name.

    Args:
        data: the blocks one after the other.
        block_size: bytes per block.
        filetype: whether entries carry a type; if not, the byte is the upper half of the name's length.

    Raises:
        MalformedFolderError: an entry leaves its block.
    """
    unpack = DIRENT.unpack_from
    length = len(data)
    position = 0
    while position < length:
        end = min(length, position + block_size)
        while position < end:
            if end - position < DIRENT.size:
                raise MalformedFolderError("An entry of a folder is cut off.")
            inode, step, name_size, kind = unpack(data, position)
            # A block of 64 KiB cannot be said in 16 bits: 65535 and 0 stand for it.
            if block_size == 65536 and step in (65535, 0):
                step = end - position
            if step < 8 or step & 3 or position + step > end:
                raise MalformedFolderError("An entry of a folder has an impossible length.")
            if inode:
                if not filetype:
                    name_size, kind = name_size | kind << 8, 0
                if name_size == 0 or 8 + name_size > step:
                    raise MalformedFolderError("A name in a folder has an impossible length.")
                name = data[position + 8 : position + 8 + name_size]
                if name not in (b".", b".."):
                    yield Entry(name, inode, kind)
            position += step


def parent_of(data: bytes) -> int:
    """Return the inode number that `..` of a (not inline) folder names, 0 if it is not there."""
    if len(data) < 24:
        return 0
    _, step, _, _ = DIRENT.unpack_from(data)
    if step + DIRENT.size > len(data):
        return 0
    inode, _, size, _ = DIRENT.unpack_from(data, step)
    return inode if size & 0xFF == 2 and data[step + 8 : step + 10] == b".." else 0
