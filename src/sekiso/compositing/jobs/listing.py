"""What a layer holds, and in what two layers differ, as people read it (LY-7)."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from sekiso.compositing.jobs.results import Difference, DiffSummary, FileEntry, FilesSummary
from sekiso.compositing.sparse import without_sparseness
from sekiso.errors import NotFoundError
from sekiso.model.layer import GuestFamily
from sekiso.store.layer_file import LayerFile
from sekiso.wim.diff import diff, holds_content
from sekiso.wim.names import folding
from sekiso.wim.symlinks import symlink_target
from sekiso.wim.tree import Node, blobs_of

_FILETIME_EPOCH_S = 11_644_473_600
_TICKS_PER_S = 10_000_000
_LINK_LIMIT_BYTES = 1 << 20

T = TypeVar("T")


def list_files(layer: LayerFile, path: str, *, limit: int) -> FilesSummary:
    """Return what a layer holds in one folder, what it deletes there included.

    Args:
        layer: the layer.
        path: the folder, as an earlier listing has spelled it, or as the system does.
        limit: how many entries at most.

    Raises:
        NotFoundError: the layer has no such folder.
        DamagedInputError: the layer is damaged.
    """
    real, folder = _folder(layer, path)
    changed = set(layer.manifest.changed_directories)
    whole = layer.manifest.boot is not None
    kids = sorted((folder.children or {}).values(), key=lambda node: (not node.is_directory, node.name))
    deleted = sorted(name for above, _, name in map(_split, layer.manifest.deleted) if above == real)
    entries = [_Entry(layer, f"{real}/{node.name}", node, whole=whole, changed=changed) for node in kids]
    shown = [entry.facts() for entry in entries[: max(0, limit)]]
    shown += [FileEntry(name, "deleted") for name in deleted[: max(0, limit - len(shown))]]
    return FilesSummary(real or "/", tuple(shown), len(kids) + len(deleted))


def _split(path: str) -> tuple[str, str, str]:
    return path.rpartition("/")


def _folder(layer: LayerFile, path: str) -> tuple[str, Node]:
    fold = folding(case_sensitive=layer.manifest.family is not GuestFamily.WINDOWS)
    node, real = layer.tree(), ""
    for part in filter(None, path.split("/")):
        kids = node.children or {}
        found = kids.get(part) or next((k for k in kids.values() if _is_called(k, part, fold)), None)
        if found is None or found.children is None:
            raise NotFoundError(
                what="The folder",
                name=path,
                remedy="List the folder above it; a layer holds only its changes.",
            )
        node, real = found, f"{real}/{found.name}"
    return real, node


def _is_called(node: Node, name: str, fold: Any) -> bool:
    return fold(node.name) == fold(name) or _plain(node.name) == name


class _Entry:
    """One entry of a folder of a layer."""

    def __init__(self, layer: LayerFile, path: str, node: Node, *, whole: bool, changed: set[str]) -> None:
        self._layer = layer
        self._node = node
        self._changed = whole or not holds_content(node) or path in changed

    def facts(self) -> FileEntry:
        node = self._node
        unix = node.unix
        blobs = self._layer.wim.blobs
        content = () if node.reparse is not None else blobs_of(node)
        return FileEntry(
            name=node.name,
            kind=self._kind(),
            size_bytes=sum(blobs[sha1].size_bytes for sha1 in content if sha1 in blobs),
            modified_s=node.write_time // _TICKS_PER_S - _FILETIME_EPOCH_S if node.write_time else 0,
            changed=self._changed,
            target=self._target(),
            mode=None if unix is None else stat.S_IMODE(unix.mode),
            owner=None if unix is None else (unix.uid, unix.gid),
            attributes=node.attributes,
        )

    def _kind(self) -> str:
        node = self._node
        if self._target():
            return "link"
        if node.is_directory:
            return "folder"
        special = node.unix is not None and not stat.S_ISREG(node.unix.mode)
        return "device" if special else "file"

    def _target(self) -> str:
        point = self._node.reparse
        if point is None or point.data not in self._layer.wim.blobs:
            return ""
        raw = self._layer.wim.read_blob(point.data, limit_bytes=_LINK_LIMIT_BYTES)
        return symlink_target(point.tag, raw) or ""


def diff_layers(left: LayerFile, right: LayerFile, *, limit: int) -> DiffSummary:
    """Return in what two layers differ.

    Args:
        left: the layer before.
        right: the layer after.
        limit: how many differences are listed at most.

    Raises:
        DamagedInputError: a layer is damaged.
    """
    found = sorted(_differences(left, right), key=lambda item: item.path)
    counts = Counter(item.what for item in found)
    return DiffSummary(tuple(found[: max(0, limit)]), dict(counts), len(found))


def _differences(left: LayerFile, right: LayerFile) -> Iterator[Difference]:
    windows = GuestFamily.WINDOWS in (left.manifest.family, right.manifest.family)
    one, other = without_sparseness(left.tree()), without_sparseness(right.tree())
    found = diff(one, other, case_sensitive=not windows)
    yield from (Difference(path, "added") for path in found.added)
    yield from (Difference(c.path, "changed", tuple(r.value for r in c.reasons)) for c in found.changed)
    yield from (Difference(path, "removed") for path in found.deleted)
    yield from (Difference(path, "replaced") for path in found.replaced)
    before, after = set(left.manifest.deleted), set(right.manifest.deleted)
    yield from (Difference(path, "deletes") for path in after - before)
    yield from (Difference(path, "keeps") for path in before - after)


def without_surrogates(summary: T) -> T:
    """Return a summary whose text can be UTF-8: names on disks need not be."""
    return msgspec.convert(_plain_data(msgspec.to_builtins(summary)), type(summary))


def _plain_data(data: Any) -> Any:
    if isinstance(data, str):
        return _plain(data)
    if isinstance(data, dict):
        return {_plain(key): _plain_data(value) for key, value in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(data, list | tuple):
        return [_plain_data(item) for item in data]  # pyright: ignore[reportUnknownVariableType]
    return data


def _plain(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
