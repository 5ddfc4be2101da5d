"""The synthetic operating system that is measured with: the same bytes on every machine.

About as an installed system is: most files are small, most bytes lie in a few large files (log-normal sizes),
folders are nested, about half of the content can be compressed. Linux trees have owners, modes, symbolic and
hard links; Windows trees have security descriptors.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sekiso.model.layer import GuestFamily, LayerKind, LayerManifest
from sekiso.store.layer_file import Compression, LayerWriter
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import (
    ARCHIVE,
    DIRECTORY,
    NO_BLOB,
    NORMAL,
    REPARSE_POINT,
    Node,
    Reparse,
    UnixData,
    new_root,
    walk,
)
from sekiso.wim.writer import WimWriter

SEED = 20260101
APP_CHANGES = 200
_POOL_HALF_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20
_FILES_PER_FOLDER = 12
_MAX_DEPTH = 10
_TOPS = ("usr", "opt", "srv", "home")
_LINK_EVERY = 100  # a symbolic link per so many files (Linux)
_HARD_LINK_EVERY = 200
_CHANGED_OFFSET = 1 << 40
_FILETIME_2020 = 132223104000000000
_TICKS_PER_DAY = 864000000000


@dataclass(frozen=True)
class TreeSpec:
    """How large the tree is.

    Attributes:
        files: regular files.
        content_bytes: their content.
    """

    files: int
    content_bytes: int

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Size of each file."""
        shape = np.random.default_rng(SEED).lognormal(0.0, 2.0, self.files)
        shape = np.minimum(shape, shape.sum() / 50)
        shape[::100] = 0
        sizes = (shape * (self.content_bytes / shape.sum())).astype(np.int64)
        sizes[-1] += self.content_bytes - sizes.sum()
        return sizes


class Content:
    """Makes the content of a file from its number."""

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED + 1)
        noise = rng.bytes(_POOL_HALF_BYTES)
        vocabulary = [f"{word:05x} "[: 3 + word % 4].encode() for word in rng.integers(0, 1 << 20, 4096)]
        words = rng.integers(0, len(vocabulary), _POOL_HALF_BYTES // 3)
        text = b" ".join(vocabulary[word] for word in words)[:_POOL_HALF_BYTES]
        self._pool = memoryview(noise + text.ljust(_POOL_HALF_BYTES))

    def pieces(self, number: int, size_bytes: int) -> Iterator[bytes | memoryview]:
        """Yield the content; files of other numbers differ in their first bytes."""
        header = number.to_bytes(8, "little")[:size_bytes]
        left = size_bytes - len(header)
        if header:
            yield header
        room = len(self._pool) - _PIECE_BYTES
        start = number * 2654435761 % room
        while left > 0:
            piece = self._pool[start : start + min(left, _PIECE_BYTES)]
            yield piece
            left -= len(piece)
            start = (start + 7919 * _PIECE_BYTES + 4099) % room


def make_os_layer(path: Path, spec: TreeSpec, family: GuestFamily) -> int:
    """Write the OS layer, uncompressed; return the length of the file."""
    with LayerWriter(path, Compression.NONE) as writer:
        root = _Builder(spec, family, writer.wim).build()
        writer.finish(_manifest("bench-os", LayerKind.OS, family), root)
    return path.stat().st_size


def make_app_layer(path: Path, os_root: Node, os_identity: str, family: GuestFamily) -> None:
    """Write an app layer of 200 changes (files changed, added, deleted), compressed as captures are."""
    content, top = Content(), os_root.shallow_copy()
    chosen = spread(regular_files(os_root), APP_CHANGES)
    deleted: list[str] = []
    with LayerWriter(path, Compression.XPRESS) as writer:
        for number, (place, node) in enumerate(chosen):
            if number % 10 == 9:
                deleted.append(place)
                continue
            new = node.shallow_copy()
            size = 2000 + 997 * (number % 40)
            new.data = writer.wim.add(content.pieces(_CHANGED_OFFSET + number, size), size)
            if number % 10 >= 7:
                new.name = f"added-{number}"
            _children(_folder_above(top, os_root, place))[new.name] = new
        manifest = _manifest("bench-app", LayerKind.APP, family)
        writer.finish(replace(manifest, base=(os_identity,), deleted=tuple(sorted(deleted))), top)


def regular_files(root: Node) -> list[tuple[str, Node]]:
    """Return files with content that have one name only, by path."""
    return [
        (path, node)
        for path, node in walk(root)
        if not node.is_directory and node.reparse is None and not node.link_group and node.data != NO_BLOB
    ]


def spread(files: list[tuple[str, Node]], count: int) -> list[tuple[str, Node]]:
    """Return `count` of the files, spread over all of them."""
    if len(files) < count:
        raise SystemExit(f"the tree is too small: it needs at least {count} files with content")
    return [files[index * len(files) // count] for index in range(count)]


class _Builder:
    """Builds the tree and hands its content to a writer."""

    def __init__(self, spec: TreeSpec, family: GuestFamily, wim: WimWriter) -> None:
        self._spec = spec
        self._linux = family is GuestFamily.LINUX
        self._wim = wim
        self._rng = np.random.default_rng(SEED + 2)
        self._security = [_descriptor(500 + number) for number in range(4)]
        self._made = 0
        self._links = 0

    def build(self) -> Node:
        root = self._describe(new_root(), stat.S_IFDIR | 0o755)
        folders = self._folders(root)
        content, sizes = Content(), self._spec.sizes
        homes = self._rng.integers(0, len(folders), self._spec.files)
        for number in range(self._spec.files):
            size = int(sizes[number])
            data = self._wim.add(content.pieces(number, size), size)
            file = self._file(f"file{number:06x}.{'so' if number % 3 else 'conf'}", data, number)
            home = folders[homes[number]]
            _children(home)[file.name] = file
            self._add_links(home, folders[homes[number // 2]], file, number)
        return root

    def _folders(self, root: Node) -> list[Node]:
        """Return all folders; each new one lies in one that was there before, but not too deep."""
        made: list[tuple[Node, int]] = []
        for name in _TOPS:
            made.append((self._folder(root, name), 1))
        for number in range(max(1, self._spec.files // _FILES_PER_FOLDER)):
            parent, depth = made[int(self._rng.integers(0, len(made)))]
            if depth >= _MAX_DEPTH:
                parent, depth = made[number % len(_TOPS)]
            made.append((self._folder(parent, f"folder{number:05x}"), depth + 1))
        return [folder for folder, _ in made]

    def _folder(self, parent: Node, name: str) -> Node:
        folder = Node(name=name, attributes=DIRECTORY, children={})
        _children(parent)[name] = self._describe(folder, stat.S_IFDIR | 0o755)
        return folder

    def _file(self, name: str, data: bytes, number: int) -> Node:
        file = Node(name=name, attributes=NORMAL if self._linux else ARCHIVE, data=data)
        return self._describe(file, stat.S_IFREG | (0o755 if number % 3 else 0o644))

    def _add_links(self, home: Node, other: Node, file: Node, number: int) -> None:
        if number % _HARD_LINK_EVERY == 1:
            self._links += 1
            file.link_group = self._links
            second = replace(file, name=f"second{number:06x}")
            _children(other)[second.name] = second
        if self._linux and number % _LINK_EVERY == 2:
            tag, flags, data = symlink_reparse(file.name)
            reparse = Reparse(tag, flags, self._wim.add((data,), len(data)))
            link = Node(name=f"link{number:06x}", attributes=REPARSE_POINT, reparse=reparse)
            _children(home)[link.name] = self._describe(link, stat.S_IFLNK | 0o777)

    def _describe(self, node: Node, mode: int) -> Node:
        self._made += 1
        at = _FILETIME_2020 + self._made % 1500 * _TICKS_PER_DAY + self._made * 10_000_000
        node.creation_time = node.access_time = node.write_time = at
        if self._linux:
            owner = 1000 if self._made % 20 == 0 else 0
            node.unix = UnixData(owner, owner, mode)
        else:
            node.security = self._security[self._made % len(self._security)]
        return node


def _folder_above(top: Node, os_root: Node, path: str) -> Node:
    """Return the folder of a path in the app layer, made like the OS layer's where it is missing."""
    below, above = os_root, top
    for part in path.strip("/").split("/")[:-1]:
        below = _children(below)[part]
        above = _children(above).setdefault(part, below.shallow_copy())
    return above


def _children(folder: Node) -> dict[str, Node]:
    assert folder.children is not None
    return folder.children


def _manifest(name: str, kind: LayerKind, family: GuestFamily) -> LayerManifest:
    return LayerManifest(name=name, layer_version="1", kind=kind, family=family, tree="")


def _descriptor(account: int) -> bytes:
    """Return a self-relative security descriptor. Source: [MS-DTYP] 2.4.6, 2.4.5, 2.4.4.2, 2.4.2.2."""
    owner = struct.pack("<BB6sIIIII", 1, 5, b"\0\0\0\0\0\5", 21, 1001, 1002, 1003, account)
    group = struct.pack("<BB6sII", 1, 2, b"\0\0\0\0\0\5", 32, 544)
    everyone = struct.pack("<BB6sI", 1, 1, b"\0\0\0\0\0\1", 0)
    entries = b"".join(
        struct.pack("<BBHI", 0, 0x10, 8 + len(sid), mask) + sid
        for mask, sid in ((0x1F01FF, owner), (0x1F01FF, group), (0x1200A9, everyone))
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), 3, 0) + entries
    offsets = (20, 20 + len(owner), 0, 20 + len(owner) + len(group))
    return struct.pack("<BBHIIII", 1, 0, 0x8004, *offsets) + owner + group + acl
