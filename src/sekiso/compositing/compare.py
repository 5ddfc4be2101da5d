"""Reads anything that holds a tree (layer, WIM, disk) and compares two of them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from sekiso.compositing.disk_reading import open_contents
from sekiso.compositing.sparse import without_sparseness
from sekiso.compositing.systems import read_system, recognise_system
from sekiso.errors import NotFoundError, UnsupportedInputError
from sekiso.model.layer import GuestFamily
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import LayerFile
from sekiso.wim.blobs import HashSink
from sekiso.wim.diff import IGNORE_BY_DEFAULT, Reason, TreeDiff, diff
from sekiso.wim.file import WimFile
from sekiso.wim.tree import Node

WIM_MAGIC = b"MSWIM\0\0\0"
_TIMES = frozenset({Reason.TIMES, Reason.FOLDER_TIMES})


@dataclass(frozen=True)
class HeldTree:
    """A tree read from somewhere.

    Attributes:
        path: where from.
        what: `layer`, `wim` or `disk`.
        root: the tree.
        family: guest family, where it is known.
    """

    path: Path
    what: str
    root: Node
    family: GuestFamily | None


def is_wim(path: Path) -> bool:
    """Whether a file is a WIM, by its first bytes.

    Raises:
        NotFoundError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(WIM_MAGIC)) == WIM_MAGIC
    except FileNotFoundError as exc:
        raise NotFoundError(what="The file", name=path, remedy="Check the path.") from exc
    except IsADirectoryError as exc:
        raise UnsupportedInputError(
            path=path, reason="It is a folder.", remedy="Name a disk file or a layer file."
        ) from exc


def read_held_tree(path: Path, *, progress: Progress = NO_PROGRESS) -> HeldTree:
    """Read the tree of a layer, a WIM's first image, or the system on a disk (every byte is hashed).

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: it is damaged.
        UnsupportedInputError: it holds nothing that can be read as a tree.
    """
    if not is_wim(path):
        return _read_disk(path, progress)
    with WimFile.open(path) as wim:
        plain = wim.read_tree(1)
    try:
        with LayerFile(path) as layer:
            return HeldTree(path, "layer", plain, layer.manifest.family)
    except UnsupportedInputError:
        return HeldTree(path, "wim", plain, None)


def compare(one: HeldTree, other: HeldTree, *, ignored: Container[str] = (), times: bool = True) -> TreeDiff:
    """Compare two trees.

    Args:
        one: the tree before.
        other: the tree after.
        ignored: says of a path whether it is left out of the comparison.
        times: whether time stamps count (access times never do).
    """
    windows = GuestFamily.WINDOWS in (one.family, other.family)
    ignore = IGNORE_BY_DEFAULT if times else IGNORE_BY_DEFAULT | _TIMES
    before, after = without_sparseness(one.root), without_sparseness(other.root)
    found = diff(before, after, case_sensitive=not windows, ignore=ignore)
    return TreeDiff(
        added=tuple(path for path in found.added if path not in ignored),
        changed=tuple(change for change in found.changed if change.path not in ignored),
        deleted=tuple(path for path in found.deleted if path not in ignored),
        replaced=tuple(path for path in found.replaced if path not in ignored),
    )


def _read_disk(path: Path, progress: Progress) -> HeldTree:
    progress.step("Examining the disk")
    with open_contents(path) as contents:
        system = recognise_system(contents)
        root, _ = read_system(contents, system, HashSink(), progress=progress)
        return HeldTree(path, "disk", root, system.support.family)
