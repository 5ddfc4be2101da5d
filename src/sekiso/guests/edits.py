"""Edits of a composed tree, and reading it: what guest families and the compositing engine exchange.

All paths are absolute, `/`-separated, in the spelling of the tree (`/etc/passwd`,
`/Windows/System32/config/SOFTWARE`), and name the entry itself: the engine applies an edit without
following symbolic links, so a family only edits below folders that are real folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Make a regular file, or replace the content and metadata of one. Folders above it are made (0755 root).

    Attributes:
        path: where.
        content: all of its bytes.
        mode: permission bits (no type bits); Windows families ignore mode, uid and gid.
        uid: numeric owner.
        gid: numeric group.
        reason: why, in a sentence, shown in the plan.
        xattrs: extended attributes (name, value).
    """

    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    reason: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class WriteSymlink:
    """Make a symbolic link, replacing whatever file or link is there."""

    path: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make a folder, or set the metadata of one that exists (its content stays)."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file, a link, or a folder with all below it; harmless when it is not there."""

    path: str
    reason: str = ""


TreeEdit: TypeAlias = WriteFile | WriteSymlink | MakeFolder | Remove


class FileAccess(Protocol):
    """Reads a (composed) tree. Symbolic links are followed inside the tree, in every part of a path.

    Families with case-insensitive names (`GuestFamilySupport.case_sensitive` false) are read that way.
    """

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file; None if it is absent or something else."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything (a link that leads nowhere does not)."""
        ...

    def list(self, path: str) -> Sequence[str]:
        """Return the names in a folder, sorted; empty if it is no folder. Dangling links are named too."""
        ...

    def link_target(self, path: str) -> str | None:
        """Return the target of a symbolic link (its last part is not followed); None if it is none."""
        ...
