"""The body of each inode to be written: its blocks, its record, what fills them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sekiso.disks.ext4.allocate import FreeSpace
from sekiso.disks.ext4.content import BlobPlace, BlobProvider, BlobStream, Sources
from sekiso.disks.ext4.encode import (
    EXTRA_ISIZE,
    Extent,
    Record,
    checksum_folders,
    device_block,
    empty_folder_block,
    encode_record,
    extent_tree,
    extents_of,
    folder_blocks,
    raw_xattr,
    split_xattrs,
    xattr_block,
)
from sekiso.disks.ext4.files import Files, printable
from sekiso.disks.ext4.htree import HASH_HALF_MD4, indexed_blocks, name_hashes
from sekiso.disks.ext4.inodes import inode_seed
from sekiso.disks.ext4.layout import S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, Compat, Flag
from sekiso.disks.ext4.plan import Item
from sekiso.disks.ext4.xattrs import MalformedXattrError, RawXattr
from sekiso.errors import UnsupportedInputError
from sekiso.wim.symlinks import symlink_target
from sekiso.wim.tree import NO_BLOB, SPARSE_FILE

_SHORT_LINK_BYTES = 60
_MAX_REPARSE_BYTES = 16384
_SCAN_BYTES = 1 << 20
#: Folders of fewer blocks get no hash index.
_INDEX_FROM_BLOCKS = 3
# Fields of the superblock, and the flag for a hash of unsigned bytes.
_HASH_SEED, _DEFAULT_HASH, _FLAGS = 0xEC, 0xFC, 0x160
_UNSIGNED_HASH = 2
_REMEDY = "Leave this path out, or change it in its layer."
_NO_EXTENTS = extent_tree((), 1024, lambda: 0, lambda: 0)[0]


@dataclass(slots=True)
class Body:
    """An inode ready to be written.

    Attributes:
        number: inode number.
        is_folder: whether it is a folder.
        record: its record, checksum fields zero.
        blocks: blocks to write, which lie before its content: (first block, bytes).
        blob: its content, None if it has none or it is in `blocks`.
        extents: where the content goes.
        content_bytes: length of the content.
        trailing_blocks: blocks to write, which lie after its content.
    """

    number: int
    is_folder: bool
    record: bytes
    blocks: list[tuple[int, bytes | bytearray]]
    blob: BlobPlace | BlobStream | None
    extents: Sequence[Extent]
    content_bytes: int
    trailing_blocks: list[tuple[int, bytes]]


@dataclass(slots=True)
class _Content:
    """What the type of an inode decides."""

    size: int = 0
    block: bytes = bytes(60)
    flags: int = 0
    used_blocks: int = 0


class Bodies:
    """Makes the bodies of inodes, taking blocks for them in the order of the calls."""

    def __init__(self, files: Files, free: FreeSpace, sources: Sources, blobs: BlobProvider) -> None:
        self._files = files
        self._sb = files.sb
        self._free = free
        self._sources = sources
        self._blobs = blobs
        self._unsummed: list[tuple[bytearray, int]] = []

    def make(self, item: Item) -> Body:
        """Return the body of one inode.

        Raises:
            UnsupportedInputError: ext4 cannot hold it.
            NoSpaceError: there are not enough blocks.
        """
        body = Body(item.number, item.kind == S_IFDIR, b"", [], None, (), 0, [])
        inline, acl_block = self._xattrs(item, body)
        content = self._content(item, body)
        used = content.used_blocks + (1 if acl_block else 0)
        node = item.node
        body.record = encode_record(
            Record(
                mode=item.unix.mode,
                uid=item.unix.uid,
                gid=item.unix.gid,
                size=content.size,
                links=item.links,
                sectors=used * (self._sb.block_size // 512),
                flags=content.flags,
                block=content.block,
                acl_block=acl_block,
                access_time=node.access_time,
                write_time=node.write_time,
                creation_time=node.creation_time or node.write_time,
                inline_xattrs=inline,
            ),
            self._sb.inode_size,
        )
        return body

    def _xattrs(self, item: Item, body: Body) -> tuple[bytes, int]:
        """Return the attributes for the record, and the block that takes the others (0 if none)."""
        if not item.node.xattrs:
            return b"", 0
        items = self._raw_xattrs(item)
        inline, rest = split_xattrs(items, self._sb.inode_size - 0x80 - EXTRA_ISIZE)
        if not rest:
            return inline, 0
        number = self._free.take_one()
        data = xattr_block(rest, self._sb.block_size, number, self._sb.checksum_seed)
        if data is None:
            raise _refuse(item, "Its extended attributes are larger than ext4 can keep.")
        body.blocks.append((number, data))
        return inline, number

    def _raw_xattrs(self, item: Item) -> list[RawXattr]:
        try:
            return [raw_xattr(name, value) for name, value in item.node.xattrs]
        except MalformedXattrError as exc:
            raise _refuse(item, str(exc)) from exc

    def _content(self, item: Item, body: Body) -> _Content:
        if item.kind == S_IFDIR:
            return self._folder(item, body)
        if item.kind == S_IFLNK:
            return self._link(item, body)
        if item.kind == S_IFREG:
            return self._file(item, body)
        if item.kind in (S_IFCHR, S_IFBLK):
            return _Content(block=device_block(item.unix.rdev))
        return _Content()

    def _folder(self, item: Item, body: Body) -> _Content:
        size = self._sb.block_size
        seed = inode_seed(self._sb, item.number, 0)
        kept = self._kept_blocks(item)
        data, leaves, flags = self._folder_blocks(item, seed)
        # The blocks that mke2fs gave the folder come first, and all of them stay in use.
        for _ in range(len(kept) - len(data)):
            leaves.append(len(data))
            data.append(empty_folder_block(size))
        self._unsummed += [(data[index], seed) for index in leaves]
        taken = self._free.take(len(data) - len(kept)) if len(data) > len(kept) else []
        extents = extents_of([*kept, *taken])
        numbers = [e.physical + i for e in extents for i in range(e.length)]
        body.blocks += zip(numbers, data, strict=True)
        content = self._with_tree(extents, len(data) * size, item.number, body)
        content.flags |= flags
        return content

    def _folder_blocks(self, item: Item, seed: int) -> tuple[list[bytearray], list[int], int]:
        """Return the blocks of a folder, which of them still need a checksum, and flags for the inode."""
        size, sb = self._sb.block_size, self._sb
        data = folder_blocks(item.entries, size)
        own = item.number > sb.first_ordinary_inode
        can_index = sb.compat & Compat.DIR_INDEX and sb.raw[_DEFAULT_HASH] == HASH_HALF_MD4
        if own and can_index and len(data) >= _INDEX_FROM_BLOCKS and size < 65536:
            words = struct.unpack_from("<4I", sb.raw, _HASH_SEED)
            signed = not sb.u32(_FLAGS) & _UNSIGNED_HASH
            hashes = name_hashes([name for name, _, _ in item.entries[2:]], words, signed=signed)
            indexed = indexed_blocks(item.entries, size, hashes, seed)
            if indexed is not None:
                return *indexed, Flag.INDEX
        return data, list(range(len(data))), 0

    def finish_folders(self) -> None:
        """Complete the folders made so far."""
        checksum_folders(self._unsummed, self._sb.block_size)
        self._unsummed.clear()

    def _kept_blocks(self, item: Item) -> list[tuple[int, int]]:
        if item.number > self._sb.first_ordinary_inode:
            return []
        runs = self._files.runs(self._files.inode(item.number))
        return [(run.physical + i, 1) for run in runs for i in range(run.length)]

    def _link(self, item: Item, body: Body) -> _Content:
        target = self._target(item)
        if len(target) < _SHORT_LINK_BYTES:
            return _Content(size=len(target), block=target.ljust(60, b"\0"))
        size = self._sb.block_size
        extents = extents_of(self._free.take(1))
        body.blocks.append((extents[0].physical, target.ljust(size, b"\0")))
        return self._with_tree(extents, len(target), item.number, body)

    def _target(self, item: Item) -> bytes:
        reparse = item.node.reparse
        target: str | None = None
        if reparse is not None:
            blob = self._blobs.locate(reparse.data)
            if blob.size_bytes <= _MAX_REPARSE_BYTES:
                target = symlink_target(reparse.tag, self._sources.read_all(blob))
        try:
            data = (target or "").encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = b""
        if not data or b"\0" in data or len(data) >= self._sb.block_size:
            raise _refuse(item, "It is a symbolic link with a target that ext4 cannot keep.")
        return data

    def _file(self, item: Item, body: Body) -> _Content:
        if item.node.data == NO_BLOB:
            return _Content(block=_NO_EXTENTS, flags=Flag.EXTENTS)
        blob = self._blobs.locate(item.node.data)
        size = self._sb.block_size
        if item.node.attributes & SPARSE_FILE:
            extents = [
                extent
                for first, count in self._data_runs(blob)
                for extent in extents_of(self._free.take(count), first)
            ]
        else:
            extents = extents_of(self._free.take(-(-blob.size_bytes // size)))
        body.blob, body.extents, body.content_bytes = blob, extents, blob.size_bytes
        return self._with_tree(extents, blob.size_bytes, item.number, body)

    def _with_tree(self, extents: list[Extent], size: int, number: int, body: Body) -> _Content:
        block, nodes = extent_tree(
            extents, self._sb.block_size, self._free.take_one, lambda: inode_seed(self._sb, number, 0)
        )
        body.trailing_blocks += nodes
        used = sum(extent.length for extent in extents) + len(nodes)
        return _Content(size=size, block=block, flags=Flag.EXTENTS, used_blocks=used)

    def _data_runs(self, blob: BlobPlace | BlobStream) -> list[tuple[int, int]]:
        """Return the runs of blocks that are not all zeros: (first block, count)."""
        size = self._sb.block_size
        runs: list[tuple[int, int]] = []
        first, rest = 0, b""
        for piece in self._sources.pieces(blob, _SCAN_BYTES):
            data = rest + piece
            whole = len(data) // size * size
            _add_runs(runs, data[:whole], first, size)
            first, rest = first + whole // size, data[whole:]
        _add_runs(runs, rest.ljust(size, b"\0") if rest else b"", first, size)
        return runs


def _add_runs(runs: list[tuple[int, int]], data: bytes, first: int, block_size: int) -> None:
    if not data:
        return
    filled = np.frombuffer(data, np.uint8).reshape(-1, block_size).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]])))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and sum(runs[-1]) == first + start:
            runs[-1] = (runs[-1][0], runs[-1][1] + end - start)
        else:
            runs.append((first + start, end - start))


def _refuse(item: Item, reason: str) -> UnsupportedInputError:
    return UnsupportedInputError(path=printable(item.path), reason=reason, remedy=_REMEDY)
