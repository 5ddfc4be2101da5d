"""The walk through a volume: first every name and inode, then the content in the order of the disk."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

from sekiso.disks.ext4.collector import paused_collector
from sekiso.disks.ext4.extents import Run
from sekiso.disks.ext4.files import Files, is_folder, printable
from sekiso.disks.ext4.inodes import Inode
from sekiso.disks.ext4.layout import (
    DIRENT_TYPES,
    ROOT_INODE,
    S_IFLNK,
    S_IFREG,
    USER_FLAG_MASK,
    USER_FLAGS,
    Flag,
)
from sekiso.disks.ext4.selection import Selection
from sekiso.errors import UnsupportedInputError
from sekiso.model.progress import Progress, check_canceled
from sekiso.wim.blobs import BlobSink
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import DIRECTORY, NORMAL, REPARSE_POINT, SPARSE_FILE, Node, Reparse, UnixData

_MAX_DEPTH = 1000
_MAX_HOLES_FACTOR = 16
_MIN_HOLES_BYTES = 1 << 30
#: Largest reparse point without its header. Source: [MS-FSCC] 2.1.2.1.
_MAX_REPARSE_BYTES = 16384 - 8


@dataclass(slots=True)
class _Place:
    """A folder on the way: its name and the folder above, so that a path is made only when it is shown."""

    name: str
    above: _Place | None
    depth: int

    def path(self, name: str = "") -> str:
        parts, here = [name] if name else [], self
        while here.above is not None:
            parts.append(here.name)
            here = here.above
        return "/" + "/".join(reversed(parts))


@dataclass(slots=True)
class _File:
    """An inode that is no folder, with all its names read so far."""

    inode: Inode
    nodes: list[Node] = field(default_factory=list[Node])
    runs: list[Run] = field(default_factory=list[Run])
    link: tuple[int, int, bytes] | None = None


class TreeReader:
    """Reads a selection of a volume as a tree. Use once."""

    def __init__(self, files: Files, dropped: list[str]) -> None:
        self._files = files
        self._dropped = dropped
        self._seen: dict[int, _File] = {}
        self._folders: set[int] = set()
        self._holes_bytes = 0

    def read(self, selection: Selection, exclude: Container[str], sink: BlobSink, progress: Progress) -> Node:
        """Return the tree with its content handed to `sink`."""
        progress.step("reading the folders of the volume")
        with paused_collector():
            root = self._scan(selection, exclude, progress)
            self._number_hard_links()
        self._contents(sink, progress)
        return root

    def _scan(self, selection: Selection, exclude: Container[str], progress: Progress) -> Node:
        inode = self._files.inode(ROOT_INODE)
        place = _Place("", None, 0)
        root = self._folder(inode, place, "")
        stack = [(root, inode, place, selection)]
        while stack:
            check_canceled(progress)
            node, inode, place, chosen = stack.pop()
            if not chosen.everything and not chosen.below:
                continue
            above = place.path()
            self._files.refuse_encrypted(inode, above)
            prefix = above if above == "/" else f"{above}/"
            for entry in self._files.entries(inode):
                name = entry.name.decode("utf-8", "surrogateescape")
                below = chosen.enter(name)
                if below is None or (prefix + name) in exclude:
                    continue
                kid = self._files.inode(entry.inode)
                self._check_entry(inode, kid, entry.file_type)
                children = node.children if node.children is not None else {}
                if name in children:
                    self._files.fail(inode, "A folder holds one name twice.")
                if is_folder(kid):
                    here = _Place(name, place, place.depth + 1)
                    children[name] = self._folder(kid, here, name)
                    stack.append((children[name], kid, here, below))
                elif below.wanted:
                    children[name] = self._file(kid, place, name)
        return root

    def _check_entry(self, folder: Inode, kid: Inode, file_type: int) -> None:
        kind = DIRENT_TYPES.get(kid.kind)
        if kid.links == 0 or kind is None or file_type not in (0, kind):
            self._files.fail(folder, f"A name in a folder refers to inode {kid.number}, which does not fit.")
        if kid.flags & Flag.EA_INODE:
            self._files.fail(folder, "A name in a folder refers to the value of an extended attribute.")

    def _folder(self, inode: Inode, place: _Place, name: str) -> Node:
        if inode.number in self._folders or place.depth > _MAX_DEPTH:
            self._files.fail(inode, "A folder is found twice, or nested too deeply.")
        self._folders.add(inode.number)
        return self._node(inode, place.path(), name, DIRECTORY, children={})

    def _file(self, inode: Inode, place: _Place, name: str) -> Node:
        known = self._seen.get(inode.number)
        if known is None:
            path = place.path(name)
            self._files.refuse_encrypted(inode, path)
            known = self._seen[inode.number] = _File(inode)
            node = self._node(inode, path, name, self._look(known, path))
        else:
            node = replace(known.nodes[0], name=name)
        known.nodes.append(node)
        return node

    def _look(self, file: _File, path: str) -> int:
        """Find where the content lies and return the Windows attributes that fit, as wimlib sets them."""
        inode = file.inode
        if inode.kind == S_IFLNK:
            file.link = self._link(inode, path)
            return REPARSE_POINT
        if inode.kind != S_IFREG:
            return 0
        file.runs = self._files.runs(inode)
        self._check_size(file, path)
        sectors = inode.sectors
        if inode.flags & Flag.INLINE_DATA:
            sectors += -(-inode.size // 512)
        return SPARSE_FILE if sectors < -(-inode.size // 512) else NORMAL

    def _link(self, inode: Inode, path: str) -> tuple[int, int, bytes]:
        target = self._files.link_target(inode).decode("utf-8", "surrogateescape")
        tag, flags, data = symlink_reparse(target)
        if len(data) > _MAX_REPARSE_BYTES:
            raise UnsupportedInputError(
                path=f"{self._files.blocks.name}: {printable(path)}",
                reason="The target of the symbolic link is longer than a WIM can keep.",
                remedy="Shorten the target of the link, or exclude it.",
            )
        return tag, flags, data

    def _check_size(self, file: _File, path: str) -> None:
        """Refuse holes without end: a WIM holds every byte of them."""
        size = self._files.sb.block_size
        stored = sum(run.length for run in file.runs) * size
        if file.inode.flags & Flag.INLINE_DATA:
            stored = file.inode.size
        volume_bytes = self._files.sb.blocks_count * size
        self._holes_bytes += max(0, file.inode.size - stored)
        limit = max(_MIN_HOLES_BYTES, _MAX_HOLES_FACTOR * volume_bytes)
        if file.inode.size - stored > volume_bytes or self._holes_bytes > limit:
            raise UnsupportedInputError(
                path=f"{self._files.blocks.name}: {printable(path)}",
                reason=f"The file says it is {file.inode.size} bytes long, nearly all of it holes.",
                remedy="Exclude the file, or shorten it in the guest.",
            )

    def _node(
        self, inode: Inode, path: str, name: str, attributes: int, children: dict[str, Node] | None = None
    ) -> Node:
        lost: list[str] = []
        xattrs = self._files.xattrs(inode, lost)
        flags = inode.flags & USER_FLAG_MASK & ~(0 if is_folder(inode) else 0x20000)
        if flags:
            words = ", ".join(word for bit, word in USER_FLAGS.items() if flags & bit)
            lost.append(f"inode flags: {words}")
        if inode.project:
            lost.append(f"project id {inode.project}")
        self._dropped += [f"{printable(path)}: {line}" for line in lost]
        return Node(
            name=name,
            attributes=attributes,
            creation_time=inode.creation_time,
            access_time=inode.access_time,
            write_time=inode.write_time,
            unix=UnixData(inode.uid, inode.gid, inode.mode, inode.rdev),
            xattrs=xattrs,
            children=children,
        )

    def _number_hard_links(self) -> None:
        """Number the groups of names that share an inode."""
        for number, file in self._seen.items():
            if len(file.nodes) < 2:
                continue
            if file.link is not None:
                self._dropped.append(
                    f"inode {number}: a symbolic link with {len(file.nodes)} names becomes separate links"
                )
                continue
            for node in file.nodes:
                node.link_group = number

    def _contents(self, sink: BlobSink, progress: Progress) -> None:
        files = [f for f in self._seen.values() if f.link is not None or _has_content(f.inode)]
        files.sort(key=_first_block)
        progress.step("reading the content of the volume", total=sum(f.inode.size for f in files))
        done = 0
        for file in files:
            check_canceled(progress)
            if file.link is not None:
                tag, flags, data = file.link
                reparse = Reparse(tag, flags, sink.add([data], len(data)))
                for node in file.nodes:
                    node.reparse = reparse
                continue
            sha1 = sink.add(self._files.content(file.inode, file.runs), file.inode.size)
            for node in file.nodes:
                node.data = sha1
            done += file.inode.size
            progress.advance(done)


def _has_content(inode: Inode) -> bool:
    return inode.kind == S_IFREG and inode.size > 0


def _first_block(file: _File) -> tuple[int, int]:
    return (file.runs[0].physical if file.runs else 0, file.inode.number)
