"""From the files of a volume to the tree of a WIM, just as libwim's own NTFS capture makes it."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sekiso.disks.ntfs.content import Stream, read_chunks
from sekiso.disks.ntfs.inode import Inode
from sekiso.disks.ntfs.paths import ROOT_RECORD, NameEntry
from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.model.progress import Progress, check_canceled
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import DIRECTORY, ENCRYPTED, NO_BLOB, NORMAL, REPARSE_POINT, Node, Reparse

if TYPE_CHECKING:
    from sekiso.disks.ntfs.volume import NtfsVolume

_REPARSE_TAG_DEDUP = 0x80000013
#: Flag that WIM keeps beside a reparse tag: the target was not rewritten for another place.
REPARSE_NOT_FIXED = 1 << 16
_MAX_ORPHANS_NAMED = 20


class TreeReader:
    """Reads one tree; see `NtfsVolume.tree`."""

    def __init__(
        self,
        volume: NtfsVolume,
        sink: BlobSink,
        *,
        only: Collection[str] | None,
        exclude: Container[str],
        progress: Progress,
    ) -> None:
        self._volume = volume
        self._sink = sink
        self._progress = progress
        self._exclude = exclude
        self._wanted = None if only is None else self._folded(only)
        self._holders = _folders_above(self._wanted or frozenset())
        self._inodes: dict[int, Node] = {}
        self._links: dict[int, list[Node]] = {}
        self._done_bytes = 0

    def _folded(self, paths: Collection[str]) -> frozenset[str]:
        fold = self._volume.paths.fold
        return frozenset(fold("/" + path.strip("/")) for path in paths)

    def read(self) -> Node:
        """Return the root."""
        whole = self._wanted is None
        self._progress.step("read", total=self._volume.facts.used_bytes if whole else None)
        root = self._node(NameEntry(ROOT_RECORD, 0, 0, 0, ""), "", "/")
        stack: list[tuple[Node, int, str, str]] = [(root, ROOT_RECORD, "", "")]
        while stack:
            check_canceled(self._progress)
            folder, number, path, folded = stack.pop()
            stack += self._read_folder(folder, number, path, folded)
        self._number_links()
        if whole:
            self._note_orphans()
        return root

    def _read_folder(
        self, folder: Node, number: int, path: str, folded: str
    ) -> Iterator[tuple[Node, int, str, str]]:
        for entry, short in self._volume.paths.children(number, path):
            below = f"{folded}/{self._volume.paths.fold(entry.name)}" if self._wanted is not None else ""
            where = f"{path}/{entry.name}"
            if not self._chosen(where, below):
                continue
            node = self._node(entry, short, where)
            if folder.children is not None:
                folder.children[entry.name] = node
            if node.is_directory:
                self._volume.paths.folder_link(entry.owner)
                if self._wanted is None or below in self._holders:
                    yield node, entry.owner, where, below

    def _chosen(self, path: str, folded: str) -> bool:
        if path in self._exclude:
            return False
        return self._wanted is None or folded in self._wanted or folded in self._holders

    def _node(self, entry: NameEntry, short: str, path: str) -> Node:
        known = self._inodes.get(entry.owner)
        if known is None:
            known = self._read_inode(entry.owner, path)
            self._inodes[entry.owner] = known
        children: dict[str, Node] | None = None if known.children is None else {}
        node = replace(known, name=entry.name, short_name=short, children=children)
        if children is None:
            self._links.setdefault(entry.owner, []).append(node)
        return node

    def _read_inode(self, number: int, path: str) -> Node:
        try:
            inode = self._volume.table.load(number)
            self._refuse(inode, path)
            return self._convert(inode, path)
        except DamagedInputError as exc:
            params = {**exc.params, "reason": f"{exc.params.get('reason', '')} (file {path})"}
            raise DamagedInputError(**params) from exc

    def _refuse(self, inode: Inode, path: str) -> None:
        where = f"{self._volume.access.name}: {path}"
        if inode.attributes & ENCRYPTED or any(s.encrypted for s in inode.streams.values()):
            raise UnsupportedInputError(
                path=where,
                reason="It is encrypted with EFS, so its content cannot be kept.",
                remedy="Decrypt it in the guest (cipher /d), or leave it out.",
            )

    def _convert(self, inode: Inode, path: str) -> Node:
        streams = {name: self._add(stream) for name, stream in sorted(inode.streams.items())}
        self._note_dropped(inode, path)
        return Node(
            name="",
            attributes=visible_attributes(inode),
            creation_time=inode.creation_time,
            access_time=inode.access_time,
            write_time=inode.write_time,
            security=self._volume.descriptor(inode),
            data=streams.pop("", NO_BLOB),
            named_streams=tuple(streams.items()),
            reparse=self._reparse(inode, path),
            object_id=self._volume.object_id(inode),
            children={} if inode.is_directory else None,
        )

    def _reparse(self, inode: Inode, path: str) -> Reparse | None:
        found = self._volume.reparse_data(inode)
        if found is None:
            return None
        tag, reserved, data = found
        if tag == _REPARSE_TAG_DEDUP:
            raise UnsupportedInputError(
                path=f"{self._volume.access.name}: {path}",
                reason="It is deduplicated: its content lies in a chunk store that a layer cannot keep.",
                remedy="Undo it in the guest (Start-DedupJob -Type Unoptimization), or leave the file out.",
            )
        return Reparse(tag, reserved | REPARSE_NOT_FIXED, self._sink.add([data], len(data)))

    def _add(self, stream: Stream) -> bytes:
        if stream.size_bytes == 0:
            return NO_BLOB
        return self._sink.add(self._counted(stream), stream.size_bytes)

    def _counted(self, stream: Stream) -> Iterator[bytes]:
        for chunk in read_chunks(self._volume.access, stream):
            yield chunk
            check_canceled(self._progress)
            self._done_bytes += len(chunk)
            self._progress.advance(self._done_bytes)

    # --- what a WIM cannot keep ---

    def _note_dropped(self, inode: Inode, path: str) -> None:
        note = self._volume.note_dropped
        if inode.ea is not None:
            note(f"{path}: extended attributes ($EA) are not kept")
        if inode.case_sensitive:
            note(f"{path}: the mark that names in this folder differ by case is not kept")
        if inode.reparse is not None and not inode.attributes & REPARSE_POINT:
            note(f"{path}: reparse data of a file that is not marked as a reparse point is not kept")

    def _note_orphans(self) -> None:
        orphans = self._volume.paths.orphans()
        for number in orphans[:_MAX_ORPHANS_NAMED]:
            names = self._volume.paths.names_of(number)
            name = f" ({names[0].name})" if names else ""
            self._volume.note_dropped(f"file record {number}{name}: no folder holds it, it is left out")
        if len(orphans) > _MAX_ORPHANS_NAMED:
            more = len(orphans) - _MAX_ORPHANS_NAMED
            self._volume.note_dropped(f"{more} more file records that no folder holds are left out")

    def _number_links(self) -> None:
        """Number the groups of names of one file.

        A WIM has no room for the group of a reparse point, so its names become files of their own.
        """
        group = 0
        for number, nodes in self._links.items():
            if len(nodes) < 2:
                continue
            if nodes[0].reparse is not None:
                what = f"file record {number} ({nodes[0].name})"
                self._volume.note_dropped(f"{what}: that several names are one reparse point is not kept")
                continue
            group += 1
            for node in nodes:
                node.link_group = group


def visible_attributes(inode: Inode) -> int:
    """Return the attributes as libntfs-3g shows them: the folder bit by the record, NORMAL for none."""
    bits = inode.attributes | DIRECTORY if inode.is_directory else inode.attributes & ~DIRECTORY
    return bits or NORMAL


def _folders_above(paths: Collection[str]) -> frozenset[str]:
    found = {""}
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(found)
