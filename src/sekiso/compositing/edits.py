"""Applies a guest family's edits to a composed tree."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from hashlib import sha1 as new_sha1

from sekiso.compositing.plan import Action
from sekiso.guests.edits import MakeFolder, Remove, TreeEdit, WriteFile, WriteSymlink
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import DIRECTORY, NO_BLOB, NORMAL, REPARSE_POINT, Node, Reparse, UnixData, find

_FILETIME_EPOCH_S = 11_644_473_600
_TICKS_PER_S = 10_000_000


def filetime(unix_s: int) -> int:
    """Return Unix seconds as FILETIME (100 ns since 1601-01-01 UTC)."""
    return (unix_s + _FILETIME_EPOCH_S) * _TICKS_PER_S


class TreeEditor:
    """Changes a tree and keeps the content it makes. The tree given is not changed: what changes is copied.

    Attributes:
        root: the tree as it is now.
        generated: content made by edits, by SHA-1.
        actions: what was done, for the plan.
    """

    def __init__(self, root: Node, *, created: int, unix: bool) -> None:
        """Begin.

        Args:
            root: the tree to begin with.
            created: time stamp of everything made, Unix seconds.
            unix: whether entries carry owner and mode.
        """
        self.root = root.shallow_copy(with_children=True)
        self._own = {id(self.root)}  # folders that are copies already; the tree keeps them alive
        self.generated: dict[bytes, bytes] = {}
        self.actions: list[Action] = []
        self._time = filetime(created)
        self._unix = unix

    def apply(self, edits: Iterable[TreeEdit]) -> None:
        """Apply edits in order.

        Raises:
            ValueError: an edit leads through something that is no folder, or names the root.
        """
        for edit in edits:
            match edit:
                case WriteFile():
                    self._write(edit)
                case WriteSymlink():
                    self._link(edit)
                case MakeFolder():
                    self._folder(edit)
                case Remove():
                    self._remove(edit)

    def keep(self, content: bytes) -> bytes:
        """Keep content for the image and return its SHA-1."""
        if not content:
            return NO_BLOB
        digest = new_sha1(content).digest()
        self.generated[digest] = content
        return digest

    def place(self, path: str, node: Node) -> None:
        """Put an entry where `path` says; folders above are made."""
        parent, name = self._parent(path)
        parent[name] = node

    def drop(self, path: str) -> bool:
        """Take an entry away with all below it; returns whether it was there."""
        if find(self.root, path) is None:
            return False
        parent, name = self._parent(path)
        del parent[name]
        return True

    def _write(self, edit: WriteFile) -> None:
        parent, name = self._parent(edit.path)
        old = parent.get(name)
        digest = self.keep(edit.content)
        unix = self._unix_data(stat.S_IFREG | edit.mode, edit.uid, edit.gid)
        if old is not None and old.data == digest and old.unix == unix and old.xattrs == edit.xattrs:
            return
        node = self._new(name, NORMAL)
        node.data, node.unix, node.xattrs = digest, unix, edit.xattrs
        if old is not None and not old.is_directory:
            node.security, node.short_name, node.creation_time = (
                old.security,
                old.short_name,
                old.creation_time,
            )
        parent[name] = node
        self.actions.append(Action("write", edit.path, edit.reason, len(edit.content), digest.hex()))

    def _link(self, edit: WriteSymlink) -> None:
        parent, name = self._parent(edit.path)
        tag, flags, data = symlink_reparse(edit.target)
        node = self._new(name, REPARSE_POINT)
        node.reparse = Reparse(tag, flags, self.keep(data))
        node.unix = self._unix_data(stat.S_IFLNK | 0o777, 0, 0)
        old = parent.get(name)
        if old is not None and old.reparse == node.reparse:
            return
        parent[name] = node
        self.actions.append(Action("link", edit.path, f"{edit.reason} (to {edit.target})".strip()))

    def _folder(self, edit: MakeFolder) -> None:
        parent, name = self._parent(edit.path)
        old = parent.get(name)
        unix = self._unix_data(stat.S_IFDIR | edit.mode, edit.uid, edit.gid)
        if old is not None and old.children is not None:
            if old.unix == unix:
                return
            self._owned(parent, name).unix = unix
        else:
            parent[name] = self._new_folder(name, unix)
        self.actions.append(Action("folder", edit.path, edit.reason))

    def _remove(self, edit: Remove) -> None:
        if self.drop(edit.path):
            self.actions.append(Action("remove", edit.path, edit.reason))

    def _parent(self, path: str) -> tuple[dict[str, Node], str]:
        *parents, name = _parts(path)
        folder = self.root
        for part in parents:
            kids = _children(folder, path)
            if part not in kids:
                kids[part] = self._new_folder(part, self._unix_data(stat.S_IFDIR | 0o755, 0, 0))
            folder = self._owned(kids, part)
        return _children(folder, path), name

    def _owned(self, siblings: dict[str, Node], name: str) -> Node:
        node = siblings[name]
        if id(node) not in self._own:
            node = siblings[name] = node.shallow_copy(with_children=True)
            self._own.add(id(node))
        return node

    def _new_folder(self, name: str, unix: UnixData | None) -> Node:
        node = self._new(name, DIRECTORY)
        node.children, node.unix = {}, unix
        self._own.add(id(node))
        return node

    def _new(self, name: str, attributes: int) -> Node:
        time = self._time
        return Node(name=name, attributes=attributes, creation_time=time, access_time=time, write_time=time)

    def _unix_data(self, mode: int, uid: int, gid: int) -> UnixData | None:
        return UnixData(uid, gid, mode) if self._unix else None


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise ValueError("the root cannot be edited")
    return parts


def _children(folder: Node, path: str) -> dict[str, Node]:
    if folder.children is None:
        raise ValueError(f"{path}: {folder.name} is no folder")
    return folder.children
