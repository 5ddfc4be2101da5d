"""The tree of one WIM image: how every package passes a file system's content around."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

#: SHA-1 of a stream that is not there or is empty, as WIM writes it.
NO_BLOB = bytes(20)

# Windows file attributes. Source: [MS-FSCC] 2.6.
READONLY = 0x1
HIDDEN = 0x2
SYSTEM = 0x4
DIRECTORY = 0x10
ARCHIVE = 0x20
NORMAL = 0x80
SPARSE_FILE = 0x200
REPARSE_POINT = 0x400
COMPRESSED = 0x800
NOT_CONTENT_INDEXED = 0x2000
ENCRYPTED = 0x4000

REPARSE_TAG_SYMLINK = 0xA000000C
REPARSE_TAG_MOUNT_POINT = 0xA0000003


@dataclass(frozen=True, slots=True)
class UnixData:
    """Owner, mode and device number of a Linux inode.

    Attributes:
        uid: numeric owner.
        gid: numeric group.
        mode: `st_mode`, type bits included.
        rdev: device number of a character or block device (Linux' 32-bit user-space encoding), else 0.
    """

    uid: int
    gid: int
    mode: int
    rdev: int = 0


@dataclass(frozen=True, slots=True)
class Reparse:
    """A reparse point (on Linux trees: a symbolic link).

    Attributes:
        tag: reparse tag.
        flags: the 16 reserved bits and the flags that WIM keeps beside the tag, as they are.
        data: SHA-1 of the reparse data, which is a blob of the WIM.
    """

    tag: int
    flags: int
    data: bytes


@dataclass(slots=True)
class Node:
    """One directory entry of a WIM image, with the metadata of its inode.

    Attributes:
        name: file name; empty for the root. May hold lone surrogates (NTFS allows them; a Linux name
            that is not UTF-8 is carried as Python's `surrogateescape` does).
        attributes: Windows file attributes.
        creation_time: FILETIME (100 ns since 1601-01-01 UTC), likewise the next two.
        access_time: last access.
        write_time: last write.
        security: self-relative security descriptor, or None.
        short_name: 8.3 name, may be empty.
        data: SHA-1 of the unnamed data stream; `NO_BLOB` if empty or a folder.
        named_streams: alternate data streams: (name, SHA-1), sorted by name.
        reparse: reparse point, or None.
        link_group: number that all names of one inode share within a tree; 0 for a file with one name.
        unix: Linux inode data, or None.
        xattrs: extended attributes (name, value), sorted by name.
        object_id: NTFS object id (16 bytes), or None.
        extra: tagged items that this version does not know, kept as they were.
        children: entries of a folder by exact name; None for anything that is not a folder.
    """

    name: str
    attributes: int = 0
    creation_time: int = 0
    access_time: int = 0
    write_time: int = 0
    security: bytes | None = None
    short_name: str = ""
    data: bytes = NO_BLOB
    named_streams: tuple[tuple[str, bytes], ...] = ()
    reparse: Reparse | None = None
    link_group: int = 0
    unix: UnixData | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()
    object_id: bytes | None = None
    extra: bytes = b""
    children: dict[str, Node] | None = field(default=None, repr=False)

    @property
    def is_directory(self) -> bool:
        """Whether the entry is a folder (a junction is one too)."""
        return self.children is not None

    def shallow_copy(self, *, with_children: bool = False) -> Node:
        """Return a copy; a folder's copy is empty, or shares the child nodes if `with_children`."""
        kids = None if self.children is None else (dict(self.children) if with_children else {})
        return replace(self, children=kids)


def new_root() -> Node:
    """Return an empty root folder."""
    return Node(name="", attributes=DIRECTORY, children={})


def walk(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield every entry below `root` with its path (`/a/b`), folders before their content, names sorted."""
    stack: list[tuple[str, Iterator[Node]]] = [("", _sorted(root))]
    while stack:
        prefix, entries = stack[-1]
        node = next(entries, None)
        if node is None:
            stack.pop()
            continue
        path = f"{prefix}/{node.name}"
        yield path, node
        if node.children:
            stack.append((path, _sorted(node)))


def nodes(root: Node) -> Iterator[Node]:
    """Yield every entry below `root` in no particular order; quicker than `walk`."""
    stack = [root]
    while stack:
        for node in (stack.pop().children or {}).values():
            yield node
            if node.children:
                stack.append(node)


def _sorted(folder: Node) -> Iterator[Node]:
    return iter([kid for _, kid in sorted((folder.children or {}).items())])


def find(root: Node, path: str) -> Node | None:
    """Return the entry at `path` by exact spelling, or None; `/` and the empty path are the root."""
    node = root
    for part in path.split("/"):
        if not part:
            continue
        if node.children is None:
            return None
        kid = node.children.get(part)
        if kid is None:
            return None
        node = kid
    return node


def blobs_of(node: Node) -> Iterator[bytes]:
    """Yield the SHA-1 of every non-empty stream of one entry."""
    if node.data != NO_BLOB:
        yield node.data
    if node.reparse is not None and node.reparse.data != NO_BLOB:
        yield node.reparse.data
    for _, sha1 in node.named_streams:
        if sha1 != NO_BLOB:
            yield sha1
