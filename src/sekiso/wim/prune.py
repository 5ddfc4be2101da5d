"""Cutting a tree down to what a layer holds."""

from __future__ import annotations

from collections.abc import Collection

from sekiso.wim.tree import Node, find


def prune(root: Node, changed_paths: Collection[str]) -> Node:
    """Return a tree of just the named paths and the folders above them.

    A folder that is named is kept itself, not with what it holds. Paths that the tree does not have are
    passed over. Entries that are no folders are shared with `root`.

    Args:
        root: the whole tree; not changed.
        changed_paths: exact paths, as `walk` gives them; `/` is the root, which is always kept.
    """
    pruned = root.shallow_copy()
    kept: dict[str, tuple[Node, Node]] = {"": (root, pruned)}
    for path in sorted(changed_paths):
        if find(root, path) is None:
            continue
        keep = ""
        whole, copy = kept[""]
        for part in filter(None, path.split("/")):
            keep = f"{keep}/{part}"
            if keep not in kept and whole.children and copy.children is not None:
                kid = whole.children[part]
                copy.children[part] = kid if kid.children is None else kid.shallow_copy()
                kept[keep] = (kid, copy.children[part])
            whole, copy = kept[keep]
    return pruned
