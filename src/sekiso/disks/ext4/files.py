"""Reading by inode: content, folders, attributes and link targets, whatever way they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ext4.extents import BlockMap, Run
from sekiso.disks.ext4.folders import Entry, MalformedFolderError, parse_entries
from sekiso.disks.ext4.inodes import Inode, InodeTables
from sekiso.disks.ext4.layout import S_IFDIR, S_IFLNK, XATTR_SYSTEM, Flag, Incompat
from sekiso.disks.ext4.superblock import Groups, Superblock
from sekiso.disks.ext4.xattrs import (
    WIM_NAME_MAX,
    WIM_VALUE_MAX,
    MalformedXattrError,
    RawXattr,
    full_name,
    parse_block,
    parse_inode_area,
    wire_value,
)
from sekiso.errors import DamagedInputError, UnsupportedInputError

_INLINE_SIZE = 60
_MAX_LINK_BYTES = 65536
_MAX_VALUE_BYTES = 1 << 24


class Files:
    """Content and metadata of the inodes of one volume."""

    def __init__(self, blocks: BlockReader, sb: Superblock, groups: Groups) -> None:
        self.blocks = blocks
        self.sb = sb
        self.groups = groups
        self.tables = InodeTables(blocks, sb, groups)
        self.map = BlockMap(blocks, sb)
        self._filetype = bool(sb.incompat & Incompat.FILETYPE)

    def inode(self, number: int) -> Inode:
        """Return an inode; see `InodeTables.get`."""
        return self.tables.get(number)

    def refuse_encrypted(self, inode: Inode, path: str) -> None:
        """Refuse content that cannot be read without a key.

        Raises:
            UnsupportedInputError: the inode is encrypted.
        """
        if inode.flags & Flag.ENCRYPT:
            raise UnsupportedInputError(
                path=f"{self.blocks.name}: {path or '/'}",
                reason="It is encrypted by the file system and cannot be read without its key.",
                remedy="Exclude it, or move its content to a folder that is not encrypted.",
            )

    def runs(self, inode: Inode) -> list[Run]:
        """Return where the content lies; nothing for inline data and short links."""
        if inode.flags & Flag.INLINE_DATA or is_short_link(inode):
            return []
        return self.map.runs(inode)

    def content(self, inode: Inode, runs: list[Run] | None = None) -> Iterator[bytes]:
        """Yield the content of a file or link in pieces of at most 1 MiB.

        Raises:
            DamagedInputError: the volume is damaged.
        """
        if inode.flags & Flag.INLINE_DATA:
            data = self.inline(inode)
            if inode.size > len(data):
                self.fail(inode, "The inline data of a file is shorter than the file.")
            yield data[: inode.size]
        elif is_short_link(inode):
            yield inode.block[: inode.size]
        else:
            yield from self.map.content(inode, self.map.runs(inode) if runs is None else runs)

    def inline(self, inode: Inode) -> bytes:
        """Return inline data: what lies in the inode's block field, then in its attribute `system.data`."""
        for item in self._inode_xattrs(inode):
            if item.prefix == XATTR_SYSTEM and item.name == b"data":
                return inode.block + item.value
        return inode.block

    def link_target(self, inode: Inode) -> bytes:
        """Return the target of a symbolic link.

        Raises:
            DamagedInputError: it is empty, too long or cannot be read.
        """
        if not 0 < inode.size <= _MAX_LINK_BYTES:
            self.fail(inode, "A symbolic link has an impossible length.")
        target = b"".join(self.content(inode))
        if b"\0" in target:
            self.fail(inode, "A symbolic link contains a zero byte.")
        return target

    def entries(self, inode: Inode) -> list[Entry]:
        """Return the entries of a folder without `.` and `..`.

        Raises:
            DamagedInputError: the folder is malformed or holds an impossible name.
        """
        found: list[Entry] = []
        try:
            if inode.flags & Flag.INLINE_DATA:
                data = self.inline(inode)
                # The first four bytes are the number of the parent folder; each part is a block of its own.
                for part in (data[4:_INLINE_SIZE], data[_INLINE_SIZE : inode.size]):
                    found += parse_entries(part, len(part) or 1, filetype=self._filetype)
            else:
                for data in self.folder_data(inode):
                    found += parse_entries(data, self.sb.block_size, filetype=self._filetype)
        except MalformedFolderError as exc:
            self.fail(inode, str(exc))
        for entry in found:
            if b"/" in entry.name or b"\0" in entry.name:
                self.fail(inode, "A name in a folder contains a slash or a zero byte.")
        return found

    def folder_data(self, inode: Inode) -> Iterator[bytes]:
        """Yield the blocks of a folder, whole runs at a time; holes are left out."""
        size = self.sb.block_size
        if inode.size > self.sb.blocks_count * size or inode.size % size:
            self.fail(inode, "A folder has an impossible length.")
        for run in self.map.runs(inode):
            count = min(run.length, inode.size // size - run.logical)
            start = run.physical * size
            step = max(1, (1 << 20) // size)
            for first in range(0, count if run.written else 0, step):
                yield self.blocks.read(start + first * size, min(step, count - first) * size)

    def xattrs(self, inode: Inode, dropped: list[str]) -> tuple[tuple[str, bytes], ...]:
        """Return the extended attributes (full name, value as `getxattr` gives it), sorted by name.

        Args:
            inode: whose attributes.
            dropped: takes a line for each attribute that a WIM cannot keep.

        Raises:
            DamagedInputError: they are malformed.
        """
        if not inode.acl_block and inode.extra_size + 0x80 + 8 > len(inode.raw):
            return ()
        found: dict[str, bytes] = {}
        try:
            for item in self.raw_xattrs(inode):
                name = full_name(item)
                if name is None:
                    continue
                value = wire_value(item)
                if len(name.encode("utf-8", "surrogateescape")) > WIM_NAME_MAX or len(value) > WIM_VALUE_MAX:
                    dropped.append(f"the extended attribute {printable(name)} is too long")
                    continue
                found[name] = value
        except MalformedXattrError as exc:
            self.fail(inode, str(exc))
        return tuple(sorted(found.items()))

    def raw_xattrs(self, inode: Inode) -> list[RawXattr]:
        """Return all extended attributes as stored, those in the inode first."""
        found = self._inode_xattrs(inode)
        if inode.acl_block:
            if inode.acl_block >= self.sb.blocks_count:
                self.fail(inode, "The block of extended attributes lies outside the volume.")
            size = self.sb.block_size
            block = self.blocks.read(inode.acl_block * size, size)
            try:
                found += parse_block(block, self._xattr_value)
            except MalformedXattrError as exc:
                self.fail(inode, str(exc))
        return found

    def _inode_xattrs(self, inode: Inode) -> list[RawXattr]:
        if len(inode.raw) <= 0x80:
            return []
        try:
            return parse_inode_area(inode.raw[0x80 + inode.extra_size :], self._xattr_value)
        except MalformedXattrError as exc:
            self.fail(inode, str(exc))

    def _xattr_value(self, number: int, size: int) -> bytes:
        holder = self.inode(number)
        if not holder.flags & Flag.EA_INODE or holder.size != size or size > _MAX_VALUE_BYTES:
            self.fail(holder, "The inode that holds the value of an extended attribute is damaged.")
        if holder.flags & Flag.INLINE_DATA:
            self.fail(holder, "The inode that holds the value of an extended attribute is damaged.")
        return b"".join(self.map.content(holder, self.map.runs(holder)))

    def fail(self, inode: Inode, reason: str) -> NoReturn:
        """Raise the error for a damaged inode."""
        raise DamagedInputError(
            path=self.blocks.name,
            offset=self.tables.offset(inode.number),
            reason=f"{reason} The inode is number {inode.number}.",
        )


def is_short_link(inode: Inode) -> bool:
    """Whether the inode is a symbolic link whose target lies in the inode itself."""
    stored = Flag.EXTENTS | Flag.INLINE_DATA
    return inode.kind == S_IFLNK and inode.size < _INLINE_SIZE and not inode.flags & stored


def is_folder(inode: Inode) -> bool:
    """Whether the inode is a folder."""
    return inode.kind == S_IFDIR


def printable(name: str) -> str:
    """Return a name with what is not text shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
