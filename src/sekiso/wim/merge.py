"""Merging the trees of layers into the tree of an image. Pure: nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sekiso.wim.diff import holds_content, match
from sekiso.wim.names import folding
from sekiso.wim.shortnames import resolve_short_names
from sekiso.wim.tree import Node, walk


@dataclass(frozen=True, slots=True)
class LayerTree:
    """One layer as the merge sees it. The lists mean what they mean in a layer's manifest.

    Attributes:
        name: its name, for notes.
        root: its tree; the first layer's is a whole operating system.
        deleted: paths that it removes from the layers below.
        changed_directories: folders whose own metadata it changes (`/` is the root).
        replaced: folders in it that hide what the layers below have there.
    """

    name: str
    root: Node
    deleted: tuple[str, ...] = ()
    changed_directories: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeNote:
    """Something that the merge decided and a person may want to know.

    Attributes:
        path: the entry it is about.
        layer: name of the layer that brought it in.
        text: what was decided, in a sentence.
    """

    path: str
    layer: str
    text: str


@dataclass(frozen=True, slots=True)
class MergedTree:
    """The merged image.

    Attributes:
        root: its tree. It shares nodes with the trees of the layers: change neither.
        touched: paths that a layer above the first adds, changes or deletes, with the indexes of these
            layers, lowest first. Folders are named only where a layer deletes, replaces or hides them or
            changes their metadata. A path below a folder that a layer deletes or hides counts that layer.
        notes: what was decided on the way, in the order of the layers.
    """

    root: Node
    touched: Mapping[str, tuple[int, ...]]
    notes: tuple[MergeNote, ...]


def merge(layers: Sequence[LayerTree], *, case_sensitive: bool) -> MergedTree:
    """Merge layers, lowest first: what an upper layer has wins over what is below.

    Folders are united; a folder keeps the metadata and spelling of the layer below unless the upper layer
    says that it changed it. Hard-link groups are kept apart per layer.

    Args:
        layers: the layers; the first one is the operating system.
        case_sensitive: True for Linux; False folds names as NTFS does (exact spelling comes first) and
            resolves clashes of 8.3 names.

    Raises:
        ValueError: there is no layer.
    """
    if not layers:
        raise ValueError("nothing to merge")
    merger = _Merger(layers[0].root, case_sensitive=case_sensitive)
    for index, layer in enumerate(layers[1:], 1):
        merger.add(index, layer)
    notes = merger.notes if case_sensitive else [*merger.notes, *merger.short_name_notes(layers)]
    touched = {path: tuple(indexes) for path, indexes in sorted(merger.touched.values())}
    return MergedTree(merger.root, touched, tuple(notes))


class _Merger:
    def __init__(self, base: Node, *, case_sensitive: bool) -> None:
        self.root = base.shallow_copy(with_children=True)
        self.fold = folding(case_sensitive=case_sensitive)
        self.owned: set[int] = {id(self.root)}  # folders made here, which may be changed
        self.keep: list[Node] = [self.root]  # so that no id in `owned` is used again
        self.names: dict[int, _FoldedNames] = {}  # of the folders that this layer deletes something in
        self.brought: dict[int, int] = {}  # id of an entry of an upper layer -> index of the layer
        self.touched: dict[str, tuple[str, list[int]]] = {}
        self.removed: dict[str, list[int]] = {}  # paths whose content a layer removed -> these layers
        self.notes: list[MergeNote] = []
        self.links = max((node.link_group for _, node in walk(base)), default=0)
        self.index = 0
        self.layer = LayerTree("", base)
        self.changed: frozenset[str] = frozenset()
        self.replaced: frozenset[str] = frozenset()

    def add(self, index: int, layer: LayerTree) -> None:
        self.index, self.layer = index, layer
        self.names = {}
        self.changed = self.keys(layer.changed_directories)
        self.replaced = self.keys(layer.replaced)
        for path in layer.deleted:
            self.delete(path)
        if "" in self.changed or "" in self.replaced:
            self.root = self.with_metadata_of(layer.root, self.root)
            self.touch("/", "")
        if "" in self.replaced:
            self.hide("", self.root)
            self.root.children = {}
        self.overlay()
        self.links += max((node.link_group for _, node in walk(layer.root)), default=0)

    def keys(self, paths: Iterable[str]) -> frozenset[str]:
        return frozenset(self.fold(path.rstrip("/")) for path in paths)

    # --- deletions

    def delete(self, path: str) -> None:
        """Remove a path of the layers below; one that is not there is remembered all the same."""
        key = self.fold(path)
        self.touch(path, key)
        self.removed.setdefault(key, []).append(self.index)
        folder = self.root
        parts = [part for part in path.split("/") if part]
        for part in parts[:-1]:
            name = self.find(folder, part)
            if name is None or folder.children is None or not holds_content(folder.children[name]):
                return
            folder = self.own(folder, name)
        name = self.find(folder, parts[-1]) if parts else None
        if name is not None and folder.children is not None:
            self.hide(path, folder.children.pop(name))
            self.names[id(folder)].forget(name)

    def hide(self, path: str, node: Node) -> None:
        """Note that this layer takes away what upper layers have below a path."""
        for below, _ in walk(node):
            known = self.touched.get(self.fold(path + below))
            if known is not None and known[1][-1] != self.index:
                known[1].append(self.index)

    # --- additions and changes

    def overlay(self) -> None:
        todo = [("", self.root, self.layer.root)]
        while todo:
            path, folder, upper = todo.pop()
            for lower, kid in list(match(folder, upper, self.fold)) if upper.children else ():
                if kid is None:
                    continue
                kid_path = f"{path}/{kid.name}"
                if lower is not None and holds_content(lower) and holds_content(kid):
                    merged = self.unite(kid_path, folder, lower.name, kid)
                    todo.append((f"{path}/{merged.name}", merged, kid))
                    continue
                if lower is not None:
                    self.replace(kid_path, lower, kid)
                    _remove(folder, lower.name, keep=kid.name)
                todo += self.insert(kid_path, folder, kid)

    def insert(self, path: str, folder: Node, kid: Node) -> list[tuple[str, Node, Node]]:
        """Put an entry of this layer into a folder; returns the folder to go on with, if it is one."""
        if folder.children is None:
            raise ValueError(f"{path} lies in what is no folder")
        node = kid
        if kid.children is not None or kid.link_group:
            node = kid.shallow_copy()
            node.link_group = kid.link_group + self.links if kid.link_group else 0
            self.keep.append(node)
        folder.children[kid.name] = node
        self.brought[id(node)] = self.index
        key = self.fold(path)
        if node.children is None or not holds_content(node) or key in self.changed or key in self.replaced:
            self.touch(path, key)
        if node.children is None:
            return []
        self.owned.add(id(node))
        return [(path, node, kid)]

    def unite(self, path: str, folder: Node, name: str, kid: Node) -> Node:
        """Prepare a folder that is below too for the content of this layer; returns the new folder."""
        merged = self.own(folder, name)
        key = self.fold(path)
        if key in self.replaced:
            self.hide(path, merged)
            merged.children = {}
        if key in self.changed or key in self.replaced:
            self.touch(path, key)
            merged = self.with_metadata_of(kid, merged)
            _remove(folder, name, keep=kid.name)
            if folder.children is not None:
                folder.children[kid.name] = merged
        return merged

    def replace(self, path: str, lower: Node, kid: Node) -> None:
        """Note that an entry takes the place of one of another kind, or of a file."""
        if holds_content(lower) == holds_content(kid):
            return
        key = self.fold(path)
        self.touch(path, key)
        if holds_content(lower):
            self.removed.setdefault(key, []).append(self.index)
            self.hide(path, lower)
        kind = "a folder" if holds_content(kid) else "no folder"
        text = f"The layer has {kind} here, a layer below has the opposite; the upper layer wins."
        self.notes.append(MergeNote(path, self.layer.name, text))

    def with_metadata_of(self, upper: Node, lower: Node) -> Node:
        merged = upper.shallow_copy()
        merged.children = lower.children
        self.owned.add(id(merged))
        self.keep.append(merged)
        self.brought[id(merged)] = self.index
        return merged

    # --- helpers

    def own(self, folder: Node, name: str) -> Node:
        """Return the folder `name` of `folder`, copied first if it belongs to a layer."""
        if folder.children is None:
            raise ValueError(f"{name} lies in what is no folder")
        kid = folder.children[name]
        if id(kid) not in self.owned:
            kid = kid.shallow_copy(with_children=True)
            folder.children[name] = kid
            self.owned.add(id(kid))
            self.keep.append(kid)
        return kid

    def find(self, folder: Node, name: str) -> str | None:
        if id(folder) not in self.names:
            self.names[id(folder)] = _FoldedNames(folder, self.fold)
        return self.names[id(folder)].find(name)

    def touch(self, path: str, key: str) -> None:
        entry = self.touched.get(key)
        indexes = [] if entry is None else entry[1]
        indexes += [i for i in self.removers(key) if i not in indexes]
        if self.index not in indexes:
            indexes.append(self.index)
        indexes.sort()
        self.touched[key] = (path, indexes)

    def removers(self, key: str) -> list[int]:
        """Return the layers that removed or hid a folder above a path."""
        found: list[int] = []
        if self.removed:
            end = key.rfind("/")
            while end >= 0:
                found += self.removed.get(key[:end], ())
                end = key.rfind("/", 0, end)
        return found

    def short_name_notes(self, layers: Sequence[LayerTree]) -> list[MergeNote]:
        """Resolve clashes of 8.3 names in the folders that more than one layer had a hand in."""
        notes: list[MergeNote] = []
        folders = [("", self.root), *((p, n) for p, n in walk(self.root) if id(n) in self.owned)]
        for path, folder in folders:
            for entry, was, now in resolve_short_names(folder):
                layer = layers[self.brought.get(id(entry), 0)].name
                text = (
                    f"Its short name {was} was taken in the merged folder; it is now {now or 'without one'}."
                )
                notes.append(MergeNote(f"{path}/{entry.name}", layer, text))
        return notes


class _FoldedNames:
    """Finds the entries of one folder by exact or folded name; the index is made when it is needed."""

    def __init__(self, folder: Node, fold_name: Callable[[str], str]) -> None:
        self._names = folder.children or {}
        self._fold = fold_name
        self._index: dict[str, list[str]] | None = None

    def find(self, name: str) -> str | None:
        if name in self._names:
            return name
        if self._index is None:
            self._index = {}
            for known in sorted(self._names):
                self._index.setdefault(self._fold(known), []).append(known)
        found = self._index.get(self._fold(name))
        return found[0] if found else None

    def forget(self, name: str) -> None:
        if self._index is not None:
            self._index[self._fold(name)].remove(name)


def _remove(folder: Node, name: str, *, keep: str) -> None:
    """Take an entry out that is about to be put back, unless its name stays: its place in line does too."""
    if name != keep and folder.children is not None:
        del folder.children[name]
