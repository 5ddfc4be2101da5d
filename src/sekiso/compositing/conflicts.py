"""What layers disagree about: which paths, which layers, who wins (LY-6). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sekiso.compositing.plan import Conflict, ConflictKind
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import Node, find


def path_conflicts(
    layers: Sequence[LayerTree],
    touched: Mapping[str, Sequence[int]],
    merged_by_content: Callable[[str], bool],
) -> tuple[Conflict, ...]:
    """List the paths about which two layers above the OS say different things.

    Args:
        layers: the layers in merge order; the first is the OS and never in conflict.
        touched: `MergedTree.touched`: the layers that change or delete each path, in merge order.
        merged_by_content: whether a path is merged by its content, which has conflicts of its own kind.
    """
    found: list[Conflict] = []
    for path, indexes in sorted(touched.items()):
        if len(indexes) > 1 and not merged_by_content(path):
            conflict = _on_path(path, [layers[i] for i in indexes])
            if conflict is not None:
                found.append(conflict)
    return tuple(found)


def _on_path(path: str, layers: Sequence[LayerTree]) -> Conflict | None:
    words = [None if path in layer.deleted else find(layer.root, path) for layer in layers]
    if all(_same(words[0], word) for word in words[1:]):
        return None
    names = tuple(layer.name for layer in layers)
    gone = [name for name, word in zip(names, words, strict=True) if word is None]
    if gone and len(gone) < len(names):
        return Conflict(path, ConflictKind.DELETION, names, names[-1], detail=f"deleted by {', '.join(gone)}")
    folders = [word is not None and word.is_directory for word in words]
    detail = "folder metadata differs" if all(folders) else "content or metadata differs"
    if any(folders) and not all(folders):
        detail = "a file in one layer, a folder in another"
    return Conflict(path, ConflictKind.FILE, names, names[-1], detail=detail)


def _same(one: Node | None, other: Node | None) -> bool:
    """Whether two layers say the same of a path, times apart."""
    if one is None or other is None:
        return one is other
    return _word(one) == _word(other)


def _word(node: Node) -> tuple[object, ...]:
    return (
        node.is_directory,
        node.attributes & ~0x20,  # the archive bit says only that something was written
        node.data,
        node.named_streams,
        node.reparse,
        node.security,
        node.unix,
        node.xattrs,
        node.object_id,
    )
