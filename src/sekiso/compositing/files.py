"""Reads files of a composed tree by path, links followed, before anything is written to a disk."""

from __future__ import annotations

import stat
from collections.abc import Callable

from sekiso.wim.symlinks import symlink_target
from sekiso.wim.tree import NO_BLOB, Node

_MAX_LINKS = 40  # as Linux has it: path_resolution(7)


class ComposedFiles:
    """`guests.edits.FileAccess` over a tree and the content behind it."""

    def __init__(self, root: Node, read_blob: Callable[[bytes], bytes], *, case_sensitive: bool) -> None:
        """Begin.

        Args:
            root: the tree.
            read_blob: returns content by SHA-1.
            case_sensitive: whether names are matched exactly.
        """
        self._root = root
        self._read_blob = read_blob
        self._exact = case_sensitive

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file, or None."""
        node = self._resolve(path)
        if node is None or node.is_directory or node.reparse is not None:
            return None
        if node.unix is not None and not stat.S_ISREG(node.unix.mode):
            return None
        return b"" if node.data == NO_BLOB else self._read_blob(node.data)

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything."""
        return self._resolve(path) is not None

    def list(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""
        node = self._resolve(path)
        return sorted(node.children) if node is not None and node.children is not None else []

    def link_target(self, path: str) -> str | None:
        """Return the target of a symbolic link, or None."""
        node = self._resolve(path, follow_last=False)
        return None if node is None else self._target(node)

    def _target(self, node: Node) -> str | None:
        if node.reparse is None or node.is_directory:
            return None
        return symlink_target(node.reparse.tag, self._read_blob(node.reparse.data))

    def _resolve(self, path: str, *, follow_last: bool = True) -> Node | None:
        pending = [part for part in reversed(path.split("/")) if part]
        trail: list[Node] = [self._root]
        links = 0
        while pending:
            part = pending.pop()
            if part == ".":
                continue
            if part == "..":
                trail = trail[:-1] or [self._root]
                continue
            node = self._child(trail[-1], part)
            if node is None:
                return None
            target = self._target(node) if (pending or follow_last) else None
            if target is None:
                trail.append(node)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                trail = [self._root]
            pending.extend(p for p in reversed(target.split("/")) if p)
        return trail[-1]

    def _child(self, folder: Node, name: str) -> Node | None:
        kids = folder.children or {}
        found = kids.get(name)
        if found is None and not self._exact:
            wanted = name.upper()
            found = next((kid for key, kid in kids.items() if key.upper() == wanted), None)
        return found
