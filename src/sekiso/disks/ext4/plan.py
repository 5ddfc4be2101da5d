"""From a tree to inodes: numbers, names, link counts; the rules of ext4 are checked before writing."""

from __future__ import annotations

from dataclasses import dataclass, field

from sekiso.disks.ext4.files import printable
from sekiso.disks.ext4.layout import (
    DIRENT_TYPES,
    NAME_MAX_BYTES,
    ROOT_INODE,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
)
from sekiso.errors import UnsupportedInputError
from sekiso.wim.tree import NO_BLOB, Node, UnixData

_MAX_FILE_LINKS = 65000
_MAX_FOLDER_LINKS = 65000
LOST_AND_FOUND = "lost+found"
_REMEDY = "Make the layer anew from a Linux disk, or leave this path out."
_ROOT_DATA = UnixData(0, 0, S_IFDIR | 0o755)


@dataclass(slots=True)
class Item:
    """One inode to be written.

    Attributes:
        number: inode number.
        node: a node with the metadata (the first of several names).
        unix: its owner and mode.
        path: path of the first name, for messages.
        links: number of names (folders: as ext4 counts them).
        entries: entries of a folder: (name, inode number, file type), `.` and `..` first; else empty.
    """

    number: int
    node: Node
    unix: UnixData
    path: str
    links: int = 1
    entries: list[tuple[bytes, int, int]] = field(default_factory=list[tuple[bytes, int, int]])

    @property
    def kind(self) -> int:
        """Type bits of the mode."""
        return self.unix.mode & S_IFMT


class Planner:
    """Numbers the inodes of one tree in the order of its folders."""

    def __init__(self, target: str, root: Node, *, first_inode: int, lost_and_found_inode: int) -> None:
        self._target = target
        self._root = root
        self._next = first_inode
        self._lost_and_found_inode = lost_and_found_inode
        self._groups: dict[int, Item] = {}

    def plan(self) -> list[Item]:
        """Return all inodes, in the order in which their content is laid out.

        Raises:
            UnsupportedInputError: the tree holds what ext4 cannot.
        """
        root = Item(ROOT_INODE, self._root, self._unix(self._root, "/"), "/")
        items = [root]
        stack = [(root, ROOT_INODE)]
        while stack:
            folder, parent = stack.pop()
            below = self._folder(folder, parent)
            items += below
            stack += [(item, folder.number) for item in reversed(below) if item.kind == S_IFDIR]
        return items

    def _folder(self, folder: Item, parent: int) -> list[Item]:
        """Fill in the entries of a folder; returns the inodes met for the first time."""
        kids = sorted((self._name(kid, folder.path), kid) for kid in (folder.node.children or {}).values())
        found: list[Item] = []
        folder.entries = [(b".", folder.number, 2), (b"..", parent, 2)]
        if folder.number == ROOT_INODE and LOST_AND_FOUND not in (folder.node.children or {}):
            folder.entries.append((LOST_AND_FOUND.encode(), self._lost_and_found_inode, 2))
        names: set[bytes] = set()
        for name, kid in kids:
            if name in names:
                raise self._refuse(folder.path, f"The folder holds the name {printable(kid.name)} twice.")
            names.add(name)
            item, is_new = self._item(kid, f"{folder.path.rstrip('/')}/{kid.name}", folder)
            folder.entries.append((name, item.number, DIRENT_TYPES[item.kind]))
            if is_new:
                found.append(item)
        subfolders = sum(1 for _, _, kind in folder.entries[2:] if kind == 2)
        folder.links = 2 + subfolders if subfolders + 2 < _MAX_FOLDER_LINKS else 1
        return found

    def _item(self, node: Node, path: str, folder: Item) -> tuple[Item, bool]:
        known = self._groups.get(node.link_group) if node.link_group and node.children is None else None
        if known is not None:
            self._check_same(known, node, path)
            known.links += 1
            return known, False
        unix = self._unix(node, path)
        item = Item(self._number(node, folder, unix), node, unix, path)
        if node.link_group and item.kind != S_IFDIR:
            self._groups[node.link_group] = item
        return item, True

    def _number(self, node: Node, folder: Item, unix: UnixData) -> int:
        if folder.number == ROOT_INODE and node.name == LOST_AND_FOUND:
            if unix.mode & S_IFMT != S_IFDIR:
                raise self._refuse(f"/{LOST_AND_FOUND}", "An ext4 file system needs a folder of this name.")
            return self._lost_and_found_inode
        self._next += 1
        return self._next - 1

    def _check_same(self, item: Item, node: Node, path: str) -> None:
        if (item.node.data, item.node.unix) != (node.data, node.unix):
            raise self._refuse(path, f"It is a hard link to {printable(item.path)} but differs from it.")
        if item.links >= _MAX_FILE_LINKS:
            raise self._refuse(path, f"A file has more than {_MAX_FILE_LINKS} names.")

    def _name(self, node: Node, above: str) -> bytes:
        try:
            name = node.name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as exc:
            raise self._refuse(above, "The folder holds a name that is no Linux file name.") from exc
        if not 0 < len(name) <= NAME_MAX_BYTES or name in (b".", b"..") or b"/" in name or b"\0" in name:
            raise self._refuse(
                above, f"The folder holds the name {printable(node.name)}, which Linux cannot use."
            )
        return name

    def _unix(self, node: Node, path: str) -> UnixData:
        """Return owner and mode of a node after checking that they fit what the node is."""
        if node.unix is None and path == "/":
            return _ROOT_DATA
        if node.unix is None:
            raise self._refuse(path, "It has no Linux owner and mode.")
        if node.named_streams:
            raise self._refuse(path, "It has alternate data streams, which ext4 cannot keep.")
        kind = node.unix.mode & S_IFMT
        is_link = node.reparse is not None
        fits = (
            kind in DIRENT_TYPES
            and is_link == (kind == S_IFLNK)
            and (is_link or (node.children is not None) == (kind == S_IFDIR))
            and (kind == S_IFREG or node.data == NO_BLOB)
            and (kind in (S_IFCHR, S_IFBLK) or node.unix.rdev == 0)
        )
        if not fits or node.unix.mode > 0xFFFF or not _is_32_bit(node.unix):
            raise self._refuse(path, "Its Linux mode does not fit what it is.")
        return node.unix

    def _refuse(self, path: str, reason: str) -> UnsupportedInputError:
        return UnsupportedInputError(path=printable(path), reason=reason, remedy=_REMEDY)


def _is_32_bit(unix: UnixData) -> bool:
    return (unix.uid | unix.gid | unix.rdev) >> 32 == 0
