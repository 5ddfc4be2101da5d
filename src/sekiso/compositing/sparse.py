"""Sparseness of Linux files: how a file system stores them, not what they hold.

ext4 has no such attribute; readers derive it from the blocks in use. It depends on the block size: a hole of
1 KiB on the source disk is none on an image with blocks of 4 KiB. So it says nothing about what an image is.
"""

from __future__ import annotations

from sekiso.wim.tree import NORMAL, SPARSE_FILE, Node, nodes, walk


def without_sparseness(root: Node) -> Node:
    """Return a Linux tree in which no file is marked sparse; any other tree as it is.

    What does not change is shared with the given tree, which stays as it was.
    """
    if root.unix is None or not any(_is_sparse(node) for node in nodes(root)):
        return root
    top = root.shallow_copy(with_children=True)
    copies = {"": top}
    for path, node in walk(root):
        if not _is_sparse(node):
            continue
        folder = _copied_folder(path.rpartition("/")[0], copies)
        plain = node.shallow_copy(with_children=True)
        plain.attributes = node.attributes & ~SPARSE_FILE or NORMAL
        _children(folder)[node.name] = plain
    return top


def _copied_folder(path: str, copies: dict[str, Node]) -> Node:
    if path not in copies:
        above, _, name = path.rpartition("/")
        kids = _children(_copied_folder(above, copies))
        copies[path] = kids[name] = kids[name].shallow_copy(with_children=True)
    return copies[path]


def _children(folder: Node) -> dict[str, Node]:
    return folder.children if folder.children is not None else {}


def _is_sparse(node: Node) -> bool:
    return bool(node.attributes & SPARSE_FILE) and node.children is None
