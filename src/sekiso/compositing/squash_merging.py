"""Files merged by content, when a layer and changes on top of it become one layer.

What a layer contributes to such a file is the difference between its base and its content. The joined layer's
base is the one that the earlier layer had: its difference then is both differences one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sekiso.compositing.edits import TreeEditor
from sekiso.compositing.joining import JoinedTree
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.merging import LayerChange, StructuredMerger
from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import NO_BLOB, Node, find, walk

_READ_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class JoinedFiles:
    """A joined tree with its files merged by content.

    Attributes:
        tree: the tree.
        generated: content that neither layer has, by SHA-1.
        bases: these files as the base has them; None: it has none.
    """

    tree: JoinedTree
    generated: Mapping[bytes, bytes]
    bases: Mapping[str, bytes | None]


def join_structured(
    previous: LayerFile, delta: LayerFile, tree: JoinedTree, support: GuestFamilySupport
) -> JoinedFiles:
    """Merge the files of two layers that are merged by content, in a tree that `join_trees` has made.

    Raises:
        DamagedInputError: such a file is damaged.
    """
    join = _Join(previous, delta, tree, support)
    for path in join.paths():
        join.file(path)
    join.tree.root = join.editor.root
    return JoinedFiles(join.tree, join.editor.generated, join.bases)


class _Side:
    """What one of the two layers says of files merged by content."""

    def __init__(self, layer: LayerFile) -> None:
        self.layer = layer
        self.root = layer.tree()
        self._deleted = frozenset(layer.manifest.deleted)
        self.structured = frozenset(layer.manifest.structured)

    def says(self, path: str) -> bool:
        """Whether the layer changes or deletes a file."""
        return path in self._deleted or path in self.structured or find(self.root, path) is not None

    def content(self, path: str) -> bytes | None:
        """Return a file as the layer leaves it; None if the layer has none."""
        node = find(self.root, path)
        if node is None or not _is_file(node):
            return None
        if node.data == NO_BLOB:
            return b""
        return self.layer.wim.read_blob(node.data, limit_bytes=_READ_LIMIT_BYTES)

    def is_other(self, path: str) -> bool:
        """Whether a link or a folder is where the file would be."""
        node = find(self.root, path)
        return node is not None and not _is_file(node)


class _Join:
    def __init__(
        self, previous: LayerFile, delta: LayerFile, tree: JoinedTree, support: GuestFamilySupport
    ) -> None:
        self.before, self.after = _Side(previous), _Side(delta)
        self.tree = tree
        self.editor = TreeEditor(tree.root, created=0, unix=support.case_sensitive)
        self.bases: dict[str, bytes | None] = {}
        self._mergers = support.mergers()

    def paths(self) -> Iterator[str]:
        """Yield every path that is merged by content and that one of the two speaks of, once."""
        seen: set[str] = set()
        for side in (self.before, self.after):
            held = (path for path, node in walk(side.root) if not node.is_directory)
            for path in (*side.structured, *side.layer.manifest.deleted, *held):
                if path not in seen and self._merger(path) is not None:
                    seen.add(path)
                    yield path

    def file(self, path: str) -> None:
        """Settle one file: its content in the tree, and its base."""
        before, after = self.before, self.after
        first = before if before.says(path) else after
        known = path in first.structured
        base = first.layer.base_content(path) if known else None
        if first is before and after.says(path) and not (before.is_other(path) or after.is_other(path)):
            self._chain(path)
        gone = find(self.editor.root, path) is None
        if gone and known and base is None:
            self.tree.deleted.discard(path)  # the base never had it
        elif known and (not gone or path in self.tree.deleted):
            self.bases[path] = base

    def _chain(self, path: str) -> None:
        """Put a file into the tree that both speak of: the later change applied to the earlier content."""
        old, new = self.before.content(path), self.after.content(path)
        base = self.after.layer.base_content(path)
        if path not in self.after.structured or base == old:
            return  # the later layer's file says it all, and is in the tree
        merger = self._merger(path)
        change = LayerChange(self.after.layer.name, base, new)
        merged = new if merger is None else merger.merge(path, old, (change,)).content
        node = find(self.editor.root, path) or find(self.before.root, path)
        if merged is None or node is None:
            self._drop(path)
            return
        self.tree.deleted.discard(path)
        placed = node.shallow_copy()
        placed.data, placed.link_group = self.editor.keep(merged), 0
        self.editor.place(path, placed)

    def _drop(self, path: str) -> None:
        if self.editor.drop(path):
            self.tree.deleted.add(path)

    def _merger(self, path: str) -> StructuredMerger | None:
        return next((merger for merger in self._mergers if merger.claims(path)), None)


def _is_file(node: Node) -> bool:
    return not node.is_directory and node.reparse is None
