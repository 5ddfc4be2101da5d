"""A file system in a dict: what the tests hold the merge, the diff and the real tools against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from sekiso.wim.diff import diff
from sekiso.wim.merge import LayerTree
from sekiso.wim.prune import prune
from sekiso.wim.tree import DIRECTORY, NO_BLOB, Node, UnixData, find, new_root, walk

START = 133_000_000_000_000_000  # some day in 2022, as a FILETIME


def sha1(content: bytes) -> bytes:
    return hashlib.sha1(content).digest() if content else NO_BLOB


@dataclass
class Inode:
    content: bytes = b""
    owner: int = 0
    stamp: int = 0
    is_folder: bool = False


@dataclass
class FileSystem:
    """Paths and inodes; folders are paths too. Every operation succeeds or does nothing."""

    names: dict[str, int] = field(default_factory=dict)
    inodes: dict[int, Inode] = field(default_factory=dict)
    clock: int = 0
    linux: bool = True

    def copy(self) -> FileSystem:
        inodes = {n: replace(i) for n, i in self.inodes.items()}
        return FileSystem(dict(self.names), inodes, self.clock, self.linux)

    def new(self, path: str, inode: Inode) -> None:
        self.clock += 1
        inode.stamp = self.clock
        number = len(self.inodes) + 1
        self.inodes[number] = inode
        self.names[path] = number

    def make_parents(self, path: str) -> bool:
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/" + "/".join(parts[:depth])
            if parent not in self.names:
                self.new(parent, Inode(is_folder=True))
            elif not self.inodes[self.names[parent]].is_folder:
                return False
        return True

    def write(self, path: str, content: bytes, owner: int) -> None:
        number = self.names.get(path)
        if number is not None:
            inode = self.inodes[number]
            self.clock += 1
            inode.stamp, inode.owner = self.clock, owner
            if not inode.is_folder:
                inode.content = content
        elif self.make_parents(path):
            self.new(path, Inode(content, owner))

    def mkdir(self, path: str) -> None:
        if path not in self.names and self.make_parents(path):
            self.new(path, Inode(is_folder=True))

    def link(self, old: str, path: str) -> None:
        number = self.names.get(old)
        if number is None or self.inodes[number].is_folder or path in self.names:
            return
        if self.make_parents(path):
            self.names[path] = number

    def remove(self, path: str) -> None:
        for name in [n for n in self.names if n == path or n.startswith(f"{path}/")]:
            del self.names[name]

    def tree(self) -> Node:
        root = new_root()
        self.decorate(root, Inode(is_folder=True))
        counts: dict[int, int] = {}
        for number in self.names.values():
            counts[number] = counts.get(number, 0) + 1
        for path, number in sorted(self.names.items()):
            above, _, name = path.rpartition("/")
            inode = self.inodes[number]
            node = Node(name, data=sha1(inode.content), link_group=number if counts[number] > 1 else 0)
            if inode.is_folder:
                node.attributes, node.children = DIRECTORY, {}
            self.decorate(node, inode)
            folder = find(root, above)
            assert folder is not None
            assert folder.children is not None
            folder.children[name] = node
        return root

    def decorate(self, node: Node, inode: Inode) -> None:
        node.creation_time = node.access_time = node.write_time = START + inode.stamp * 10_000_000
        if self.linux:
            mode = 0o040755 if inode.is_folder else 0o100644
            node.unix = UnixData(inode.owner, inode.owner * 2, mode)
        else:
            node.security = security_descriptor(1000 + inode.owner)

    def blobs(self) -> set[bytes]:
        return {inode.content for inode in self.inodes.values() if inode.content}


def sid(*numbers: int) -> bytes:
    head = bytes([1, len(numbers) - 1]) + numbers[0].to_bytes(6, "big")
    return head + b"".join(n.to_bytes(4, "little") for n in numbers[1:])


def security_descriptor(owner: int) -> bytes:
    """A self-relative descriptor: owner and group, and one entry that allows everything."""
    user, group = sid(5, 21, owner), sid(5, 32, 544)
    entry = bytes([0, 3]) + (8 + len(user)).to_bytes(2, "little") + (0x1F01FF).to_bytes(4, "little") + user
    acl = bytes([2, 0]) + (8 + len(entry)).to_bytes(2, "little") + b"\1\0\0\0" + entry
    offsets = (20 + len(acl), 20 + len(acl) + len(user), 0, 20)
    head = b"\1\0\4\x80" + b"".join(n.to_bytes(4, "little") for n in offsets)
    return head + acl + user + group


def layer_of(name: str, before: Node, after: Node, *, case_sensitive: bool = True) -> LayerTree:
    """What a capture makes of a change: the pruned tree, deletions, changed folders."""
    found = diff(before, after, case_sensitive=case_sensitive, ignore=())
    folders = [p for p in found.changed_paths if (n := find(after, p)) is not None and n.children is not None]
    return LayerTree(name, prune(after, found.changed_paths), found.deleted, tuple(folders))


def everything(root: Node) -> dict[str, tuple[object, ...]]:
    """A tree as comparable data, hard links as sets of paths."""
    links: dict[int, set[str]] = {}
    for path, node in walk(root):
        if node.link_group:
            links.setdefault(node.link_group, set()).add(path)
    out: dict[str, tuple[object, ...]] = {}
    for path, node in [("/", root), *walk(root)]:
        group = frozenset(links.get(node.link_group, ()))
        plain = replace(node, children=None, link_group=0)
        out[path] = (plain, node.children is None, group if len(group) > 1 else frozenset())
    return out


# --- strategies

_NAMES = st.sampled_from(["a", "b", "c", "Aa", "\u00df", "n.txt"])
PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_CONTENT = st.sampled_from([b"", b"1", b"22", b"333" * 100])
_OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, _CONTENT, st.integers(0, 3)),
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("remove"), PATHS),
)
EDITS = st.lists(_OPERATIONS, max_size=12)


def edit(system: FileSystem, operations: list[tuple[object, ...]]) -> FileSystem:
    after = system.copy()
    for name, *arguments in operations:
        getattr(after, str(name))(*arguments)
    return after
