"""Joins the tree of a layer and the tree of changes made on top of it into one tree over the same base. Pure.

The base itself need not be there. Where it is not clear without it whether the base has something, the
result says that the base's is removed: removing what is not there does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sekiso.wim.diff import holds_content
from sekiso.wim.merge import LayerTree, merge
from sekiso.wim.names import folding
from sekiso.wim.tree import Node, walk


@dataclass
class JoinedTree:
    """Two layers in one, the meaning of its fields as in a layer's manifest.

    Attributes:
        root: the tree; it shares nodes with the two.
        deleted: paths that it removes from the base.
        changed_directories: folders whose own metadata it changes.
        replaced: folders that hide what the base has there.
    """

    root: Node
    deleted: set[str] = field(default_factory=set[str])
    changed_directories: set[str] = field(default_factory=set[str])
    replaced: set[str] = field(default_factory=set[str])


def join_trees(
    previous: LayerTree, delta: LayerTree, *, case_sensitive: bool, base: Node | None = None
) -> JoinedTree:
    """Join a layer and what was captured on top of it (and of its base).

    Whatever lies below: merging the result onto it gives the same as merging both, one after the other.

    Args:
        previous: the layer.
        delta: the changes.
        case_sensitive: True for Linux; False folds names as NTFS does.
        base: the merged tree of the layers below, if it is at hand: deletions of what it does not have are
            left out then.
    """
    return _Join(previous, delta, case_sensitive=case_sensitive, base=base).result()


class _Join:
    def __init__(
        self, previous: LayerTree, delta: LayerTree, *, case_sensitive: bool, base: Node | None
    ) -> None:
        self.previous = previous
        self.delta = delta
        self.fold = folding(case_sensitive=case_sensitive)
        merged = merge((previous, delta), case_sensitive=case_sensitive)
        self.joined = JoinedTree(merged.root)
        self.tree = TreeIndex(merged.root, self.fold)
        self.before = TreeIndex(previous.root, self.fold)
        self.base = None if base is None else TreeIndex(base, self.fold)

    def result(self) -> JoinedTree:
        joined = self.joined
        joined.replaced = set(self._replaced())
        gone = [*self.previous.deleted, *(path for path in self.delta.deleted if self._base_may_have(path))]
        joined.deleted = self._topmost(path for path in gone if self.tree.find(path) is None)
        changed = (*self.previous.changed_directories, *self.delta.changed_directories)
        joined.changed_directories = set(self._folders(changed))
        return joined

    def _replaced(self) -> Iterator[str]:
        """Yield folders of the result that must hide what the base has there."""
        yield from self._folders((*self.previous.replaced, *self.delta.replaced))
        # Deleted by one of the two, and made anew.
        yield from self._folders((*self.previous.deleted, *self.delta.deleted))
        # The layer put something else where the base may have had a folder; then it became a folder again.
        for path, node in walk(self.delta.root):
            if holds_content(node):
                was = self.before.find(path)
                if was is not None and not holds_content(was[1]):
                    yield from self._folders((path,))

    def _folders(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield those of the paths that are folders in the result, as it spells them."""
        for path in paths:
            found = self.tree.find(path)
            if found is not None and holds_content(found[1]):
                yield found[0] or "/"

    def _base_may_have(self, path: str) -> bool:
        """Whether a path that the delta deletes can be in the base, and be seen there through the layer."""
        if self.base is not None and self.base.find(path) is None:
            return False
        hiding = {self.fold(p) for p in (*self.previous.replaced, *self.previous.deleted)}
        for above in _above(path):
            if self.fold(above) in hiding:
                return False
            was = self.before.find(above)
            if was is not None and not holds_content(was[1]):
                return False
        return True

    def _topmost(self, paths: Iterable[str]) -> set[str]:
        """Return the paths without those that go anyway because of one above."""
        kept: dict[str, str] = {}
        hiding = {self.fold(path) for path in self.joined.replaced}
        for path in sorted(paths, key=len):
            above = [self.fold(p) for p in _above(path)]
            if not any(key in kept or key in hiding or self._is_no_folder(key) for key in above):
                kept.setdefault(self.fold(path), path)
        return set(kept.values())

    def _is_no_folder(self, path: str) -> bool:
        found = self.tree.find(path)
        return found is not None and not holds_content(found[1])


class TreeIndex:
    """Finds entries of a tree by path as a file system does: exact spelling first, then as folded."""

    def __init__(self, root: Node, fold: Callable[[str], str]) -> None:
        self._root = root
        self._fold = fold
        self._names: dict[int, dict[str, str]] = {}

    def find(self, path: str) -> tuple[str, Node] | None:
        """Return the entry at a path and the path as the tree spells it (the root's is empty), or None."""
        node, spelled = self._root, ""
        for part in filter(None, path.split("/")):
            kid = self._kid(node, part)
            if kid is None:
                return None
            node, spelled = kid, f"{spelled}/{kid.name}"
        return spelled, node

    def _kid(self, folder: Node, name: str) -> Node | None:
        kids = folder.children
        if not kids or name in kids:
            return kids.get(name) if kids else None
        names = self._names.get(id(folder))
        if names is None:
            names = {self._fold(known): known for known in sorted(kids, reverse=True)}
            self._names[id(folder)] = names
        real = names.get(self._fold(name))
        return None if real is None else kids[real]


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first; not the root."""
    while path := path.rpartition("/")[0]:
        yield path
