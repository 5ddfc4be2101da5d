"""Reading trees that lie in memory or in a folder, with symbolic links followed inside the tree only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sekiso.guests.edits import MakeFolder, Remove, TreeEdit, WriteFile, WriteSymlink

MAX_LINKS = 40


class Links(Protocol):
    """A tree whose links can be read by their literal path."""

    def literal_link(self, path: str) -> str | None:
        """Return the target of the link at exactly this path, no part of it followed; None if it is none."""
        ...


def resolve(tree: Links, path: str) -> str | None:
    """Return the path that `path` leads to once every symbolic link in it is followed.

    Links never lead out of the tree: `..` above the root is the root, as for a process in a chroot.

    Returns:
        The path without links, or None where links go round in circles.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        target = tree.literal_link("/" + "/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        if target.startswith("/"):
            done = []
        todo += [p for p in reversed(target.split("/")) if p not in ("", ".")]
    return "/" + "/".join(done)


class MemoryFiles:
    """A tree held in memory: files by path, links by path. Folders exist where something lies in them."""

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        links: Mapping[str, str] | None = None,
        folders: Iterable[str] = (),
    ) -> None:
        self.files = dict(files or {})
        self.links = dict(links or {})
        self.folders = {"/", *folders}

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; see `FileAccess.read`."""
        real = resolve(self, path)
        return None if real is None else self.files.get(real)

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything."""
        real = resolve(self, path)
        return real is not None and (real in self.files or self._is_folder(real))

    def list(self, path: str) -> Sequence[str]:
        """Return the names in a folder; see `FileAccess.list`."""
        real = resolve(self, path)
        if real is None:
            return ()
        prefix = real.rstrip("/") + "/"
        inside = (p for p in self._everything() if p.startswith(prefix) and p != prefix)
        return sorted({p[len(prefix) :].split("/", 1)[0] for p in inside})

    def link_target(self, path: str) -> str | None:
        """Return the target of a link; the folders above it are followed."""
        folder, _, name = path.rstrip("/").rpartition("/")
        real = resolve(self, folder)
        return None if real is None else self.links.get(real.rstrip("/") + "/" + name)

    def apply(self, edits: Iterable[TreeEdit]) -> None:
        """Apply edits, as the engine does to a composed tree."""
        for edit in edits:
            match edit:
                case WriteFile():
                    self.links.pop(edit.path, None)
                    self.files[edit.path] = edit.content
                case WriteSymlink():
                    self.files.pop(edit.path, None)
                    self.links[edit.path] = edit.target
                case MakeFolder():
                    self.folders.add(edit.path)
                case Remove():
                    self._remove(edit.path)

    def _remove(self, path: str) -> None:
        below = path.rstrip("/") + "/"
        for store in (self.files, self.links):
            for name in [p for p in store if p == path or p.startswith(below)]:
                del store[name]
        self.folders = {p for p in self.folders if p != path and not p.startswith(below)}

    def _everything(self) -> Iterable[str]:
        yield from self.files
        yield from self.links
        yield from self.folders

    def _is_folder(self, real: str) -> bool:
        prefix = real.rstrip("/") + "/"
        return real in self.folders or any(p.startswith(prefix) for p in self._everything())

    def literal_link(self, path: str) -> str | None:
        """Return the target of the link at exactly this path."""
        return self.links.get(path)


class FolderFiles:
    """A tree that lies in a folder of this machine. The host's own files are never reached through links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; see `FileAccess.read`."""
        host = self._host(path)
        return host.read_bytes() if host is not None and _is(host, stat.S_ISREG) else None

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything."""
        host = self._host(path)
        return host is not None and os.path.lexists(host)

    def list(self, path: str) -> Sequence[str]:
        """Return the names in a folder; see `FileAccess.list`."""
        host = self._host(path)
        return sorted(p.name for p in host.iterdir()) if host is not None and _is(host, stat.S_ISDIR) else ()

    def link_target(self, path: str) -> str | None:
        """Return the target of a link; the folders above it are followed."""
        folder, _, name = path.rstrip("/").rpartition("/")
        host = self._host(folder)
        return None if host is None else _read_link(host / name)

    def _host(self, path: str) -> Path | None:
        real = resolve(self, path)
        return None if real is None else self.root / real.lstrip("/")

    def literal_link(self, path: str) -> str | None:
        """Return the target of the link at exactly this path."""
        return _read_link(self.root / path.lstrip("/"))


def _is(host: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(host.lstat().st_mode)
    except OSError:
        return False


def _read_link(host: Path) -> str | None:
    try:
        return os.readlink(host)  # noqa: PTH115 (the text itself is wanted, not a path)
    except OSError:
        return None
