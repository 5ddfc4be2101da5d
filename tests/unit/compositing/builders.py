"""Small trees for tests."""

from __future__ import annotations

import stat
from hashlib import sha1

from sekiso.wim.merge import LayerTree
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import DIRECTORY, NORMAL, REPARSE_POINT, Node, Reparse, UnixData, new_root


class Content(dict[bytes, bytes]):
    def keep(self, data: bytes) -> bytes:
        digest = sha1(data).digest()
        self[digest] = data
        return digest


def tree(content: Content, **_: object) -> Node:
    root = new_root()
    root.unix = UnixData(0, 0, stat.S_IFDIR | 0o755)
    return root


def put(root: Node, content: Content, path: str, data: bytes | str, *, mode: int = 0o644) -> Node:
    """Put a file (bytes) or a symbolic link (str) into a tree; folders above are made."""
    *parents, name = path.strip("/").split("/")
    folder = root
    for part in parents:
        assert folder.children is not None
        fresh = Node(name=part, attributes=DIRECTORY, unix=UnixData(0, 0, stat.S_IFDIR | 0o755), children={})
        folder = folder.children.setdefault(part, fresh)
    assert folder.children is not None
    if isinstance(data, str):
        tag, flags, raw = symlink_reparse(data)
        node = Node(name=name, attributes=REPARSE_POINT, reparse=Reparse(tag, flags, content.keep(raw)))
        node.unix = UnixData(0, 0, stat.S_IFLNK | 0o777)
    else:
        node = Node(name=name, attributes=NORMAL, data=content.keep(data))
        node.unix = UnixData(0, 0, stat.S_IFREG | mode)
    folder.children[name] = node
    return node


def layer(name: str, root: Node, deleted: tuple[str, ...] = ()) -> LayerTree:
    return LayerTree(name=name, root=root, deleted=deleted)
