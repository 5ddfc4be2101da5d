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
    *,
    made_on: Callable[[int, int], bool] = lambda _upper, _lower: False,
) -> tuple[Conflict, ...]:
    """List the paths about which two layers above the OS say different things.

    A layer that was made on top of another one knows what that one says, and changes it on purpose: no
    conflict.

    Args:
        layers: the layers in merge order; the first is the OS and never in conflict.
        touched: `MergedTree.touched`: the layers that change or delete each path, in merge order.
        merged_by_content: whether a path is merged by its content, which has conflicts of its own kind.
        made_on: whether a layer was captured on top of another one, by their indexes.
    """
    found: list[Conflict] = []
    for path, indexes in sorted(touched.items()):
        if len(indexes) > 1 and not merged_by_content(path):
            conflict = _on_path(path, layers, indexes, made_on)
            if conflict is not None:
                found.append(conflict)
    return tuple(found)


def _on_path(
    path: str,
    layers: Sequence[LayerTree],
    indexes: Sequence[int],
    made_on: Callable[[int, int], bool],
) -> Conflict | None:
    words = {i: None if path in layers[i].deleted else find(layers[i].root, path) for i in indexes}
    parties: set[int] = set()
    for upper in indexes:
        for lower in indexes:
            if lower < upper and not made_on(upper, lower) and not _same(words[lower], words[upper]):
                parties |= {lower, upper}
    if not parties:
        return None
    names = tuple(layers[i].name for i in indexes if i in parties)
    winner = layers[indexes[-1]].name
    said = [words[i] for i in indexes if i in parties]
    gone = [layers[i].name for i in indexes if i in parties and words[i] is None]
    if gone:
        return Conflict(path, ConflictKind.DELETION, names, winner, detail=f"deleted by {', '.join(gone)}")
    folders = [word is not None and word.is_directory for word in said]
    detail = "folder metadata differs" if all(folders) else "content or metadata differs"
    if any(folders) and not all(folders):
        detail = "a file in one layer, a folder in another"
    return Conflict(path, ConflictKind.FILE, names, winner, detail=detail)


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
