"""What changed between two states of one NTFS volume, at a cost in proportion to the change.

No time stamp is trusted: file records are compared byte by byte, and the clusters that were written are
traced back to the files they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ntfs.compare import (
    TouchedClusters,
    differing_clusters,
    differing_files,
    owners_of_clusters,
)
from sekiso.disks.ntfs.content import Stream, read_all, read_chunks
from sekiso.disks.ntfs.extents import HOLE
from sekiso.disks.ntfs.inode import Inode
from sekiso.disks.ntfs.paths import FIRST_USER_RECORD, ROOT_RECORD, NameEntry
from sekiso.disks.ntfs.scan import DOS
from sekiso.disks.ntfs.tree import visible_attributes
from sekiso.disks.ntfs.volume import NtfsVolume
from sekiso.disks.volume import VolumeChanges
from sekiso.errors import UnsupportedInputError
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.wim.tree import ARCHIVE, NORMAL

_MAX_EA_BYTES = 64 << 10
_COMPARE_BYTES = 1 << 20


def changes_between(
    base: NtfsVolume,
    modified: NtfsVolume,
    touched: Sequence[ByteRange] | None = None,
    *,
    progress: Progress = NO_PROGRESS,
) -> VolumeChanges:
    """Find what changed between two states of one volume.

    A file is changed if a WIM entry of it would differ in anything but the last access and the archive bit:
    content, streams, attributes, creation or write time, security, reparse point, object id, short name,
    new names. For a folder the write time counts as little, it follows its content. A file that only lost
    a name is not changed, the lost name is deleted. A name whose letters only changed their case is
    changed, not deleted; what lies below it is neither. A changed root is the path `/`.

    Args:
        base: the earlier state.
        modified: the later state of the same volume.
        touched: the parts of the volume that may have been written since, such as the allocated clusters of
            an overlay; None if that is not known, then the content of all files is compared.
        progress: asked whether the work was canceled.

    Raises:
        DamagedInputError: a volume is damaged.
        UnsupportedInputError: the two are not states of one volume.
        CanceledError: the work was canceled.
    """
    _require_same_volume(base, modified)
    base.table.require_sound()
    modified.table.require_sound()
    return _Finder(base, modified, touched, progress).find()


def _require_same_volume(base: NtfsVolume, modified: NtfsVolume) -> None:
    ours, theirs = base.access.geometry, modified.access.geometry
    same = (ours.serial_number, ours.cluster_size_bytes, ours.record_size_bytes) == (
        theirs.serial_number,
        theirs.cluster_size_bytes,
        theirs.record_size_bytes,
    )
    if not same:
        raise UnsupportedInputError(
            path=modified.access.name,
            reason=f"It is not a later state of the volume in {base.access.name}: it was formatted anew.",
            remedy="Capture against the disk that the machine was started from.",
        )


class _Finder:
    """One comparison; collects paths while it runs."""

    def __init__(
        self,
        base: NtfsVolume,
        modified: NtfsVolume,
        touched: Sequence[ByteRange] | None,
        progress: Progress,
    ) -> None:
        self._base = base
        self._modified = modified
        self._compared_bytes = 0
        self._changed: set[str] = set()
        self._moved: list[int] = []
        self._lost: dict[str, NameEntry] = {}
        self._progress = progress
        cluster_bytes = modified.access.geometry.cluster_size_bytes
        known = None if touched is None else TouchedClusters.from_ranges(touched, cluster_bytes)
        self._known = known
        self._touched = known or TouchedClusters(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def find(self) -> VolumeChanges:
        for number in sorted(self._candidates()):
            check_canceled(self._progress)
            if number >= FIRST_USER_RECORD or number == ROOT_RECORD:
                self._classify(number)
        for folder in self._moved:
            path = self._modified.paths.folder_path(folder)
            if path is not None:
                self._changed.update(self._below(folder, path))
        deleted, replaced = self._deletions()
        return VolumeChanges(
            changed=tuple(sorted(self._changed)),
            deleted=tuple(sorted(deleted)),
            replaced=tuple(sorted(replaced)),
            compared_bytes=self._compared_bytes,
        )

    def _candidates(self) -> set[int]:
        base, modified = self._base.table, self._modified.table
        if self._known is None:
            self._touched, self._compared_bytes = differing_clusters(base, modified, self._progress)
        found = differing_files(base, modified, self._known)
        found |= owners_of_clusters(modified, self._touched)
        return found | self._reassigned_descriptors()

    def _reassigned_descriptors(self) -> set[int]:
        """Return the files whose security id stands for another descriptor than before."""
        base, modified = self._base.security, self._modified.security
        changed = {i for i in base.ids() & modified.ids() if base.get(i) != modified.get(i)}
        if not changed:
            return set()
        table = self._modified.table
        numbers = table.records.numbers[table.records.base == 0].tolist()
        return {n for n in numbers if n >= FIRST_USER_RECORD and table.load(n).security_id in changed}

    # --- one file ---

    def _classify(self, number: int) -> None:
        before = self._base.table.load(number) if self._base.table.exists(number) else None
        after = self._modified.table.load(number) if self._modified.table.exists(number) else None
        if before is not None and after is not None and _identity(before) == _identity(after):
            self._compare(before, after)
            return
        if before is not None:
            self._lose(number)
        if after is not None:
            self._changed.update(path for path, _ in self._modified.paths.paths_of(number))

    def _lose(self, number: int) -> None:
        for path, entry in self._base.paths.paths_of(number):
            self._lost[path] = entry

    def _compare(self, before: Inode, after: Inode) -> None:
        number = after.number
        old, new = self._links(self._base, number), self._links(self._modified, number)
        for link in old.keys() - new.keys():
            self._lost.update((path, e) for path, e in self._base.paths.paths_of(number) if _link(e) == link)
        gained = new.keys() - old.keys()
        kept_short_names = all(new[link] == old[link] for link in new.keys() & old.keys())
        moved = any(not self._is_new_case_only(link, old) for link in gained)
        if after.is_directory and moved:
            self._moved.append(number)
        if gained or not kept_short_names or self._is_changed(before, after):
            self._mark(number)

    def _mark(self, number: int) -> None:
        if number == ROOT_RECORD:
            self._changed.add("/")
        self._changed.update(path for path, _ in self._modified.paths.paths_of(number))

    def _is_new_case_only(self, link: tuple[int, int, str], old: dict[tuple[int, int, str], str]) -> bool:
        fold = self._modified.paths.fold
        return any(other[:2] == link[:2] and fold(other[2]) == fold(link[2]) for other in old)

    @staticmethod
    def _links(volume: NtfsVolume, number: int) -> dict[tuple[int, int, str], str]:
        """Return every name of a file with the short name that goes with it."""
        entries = volume.paths.names_of(number)
        shorts = {entry.parent: entry.name for entry in entries if entry.namespace & DOS}
        return {
            _link(e): shorts.get(e.parent, "") if e.namespace & 1 else ""
            for e in entries
            if e.namespace != DOS
        }

    def _is_changed(self, before: Inode, after: Inode) -> bool:
        if self._metadata(self._base, before) != self._metadata(self._modified, after):
            return True
        if before.streams.keys() != after.streams.keys():
            return True
        return any(self._content_differs(old, after.streams[name]) for name, old in before.streams.items())

    @staticmethod
    def _metadata(volume: NtfsVolume, inode: Inode) -> tuple[object, ...]:
        attributes = visible_attributes(inode) & ~ARCHIVE
        ea = b"" if inode.ea is None else read_all(volume.access, inode.ea, _MAX_EA_BYTES)
        return (
            attributes or NORMAL,
            inode.creation_time,
            0 if inode.is_directory else inode.write_time,
            inode.case_sensitive,
            volume.descriptor(inode),
            volume.reparse_data(inode),
            volume.object_id(inode),
            ea,
        )

    # --- content ---

    def _content_differs(self, old: Stream, new: Stream) -> bool:
        if old.size_bytes != new.size_bytes:
            return True
        if old.value is not None and new.value is not None:
            return old.value != new.value
        if (old.extents, old.initialized_bytes, old.unit_clusters) == (
            new.extents,
            new.initialized_bytes,
            new.unit_clusters,
        ):
            return self._clusters_differ(new)
        return self._all_differs(old, new)

    def _clusters_differ(self, stream: Stream) -> bool:
        """Compare just the touched clusters of a stream that lies where it lay before."""
        size = self._modified.access.geometry.cluster_size_bytes
        # compressed data may fill its clusters to the end; the rest of a plain stream's last one is waste
        end = 1 << 62 if stream.unit_clusters else min(stream.initialized_bytes, stream.size_bytes)
        for vcn, lcn, clusters in stream.extents:
            if lcn == HOLE:
                continue
            for first, last in self._touched.parts(lcn, clusters):
                at = first * size
                length = min((last - first) * size, end - (vcn + first - lcn) * size)
                if length > 0 and self._bytes_differ(at, length):
                    return True
        return False

    def _bytes_differ(self, at: int, length: int) -> bool:
        for offset in range(at, at + length, _COMPARE_BYTES):
            count = min(_COMPARE_BYTES, at + length - offset)
            self._compared_bytes += count
            check_canceled(self._progress)
            if self._base.access.read(offset, count) != self._modified.access.read(offset, count):
                return True
        return False

    def _all_differs(self, old: Stream, new: Stream) -> bool:
        """Compare the content of streams of equal length that are laid out differently."""
        ours = _even_pieces(read_chunks(self._base.access, old))
        theirs = _even_pieces(read_chunks(self._modified.access, new))
        for left, right in zip(ours, theirs, strict=True):
            self._compared_bytes += len(left)
            check_canceled(self._progress)
            if left != right:
                return True
        return False

    # --- paths ---

    def _below(self, folder: int, path: str) -> Iterator[str]:
        """Yield every path below a folder of the later state."""
        stack = [(folder, path)]
        while stack:
            number, at = stack.pop()
            for entry, _ in self._modified.paths.children(number, at):
                where = f"{at}/{entry.name}"
                yield where
                if self._is_folder(self._modified, entry.owner):
                    stack.append((entry.owner, where))

    @staticmethod
    def _is_folder(volume: NtfsVolume, number: int) -> bool:
        row = volume.table.records.row_of(number)
        return row >= 0 and bool(volume.table.records.directory[row])

    def _deletions(self) -> tuple[set[str], set[str]]:
        """Sort lost paths into those that are gone and folders that were made anew in their place."""
        gone: set[str] = set()
        replaced: set[str] = set()
        for path, entry in self._lost.items():
            now = self._modified.paths.lookup(path)
            if now is None:
                gone.add(path)
            elif self._is_folder(self._base, entry.owner) and self._is_another(entry, now):
                self._note_replaced(now, replaced)
        return {path for path in gone if self._is_topmost(path, gone)}, replaced

    def _note_replaced(self, now: NameEntry, replaced: set[str]) -> None:
        if self._is_folder(self._modified, now.owner):
            path = self._modified.paths.folder_path(now.owner)
            if path is not None:
                replaced.add(path)

    def _is_another(self, before: NameEntry, now: NameEntry) -> bool:
        """Whether two names of the two states belong to different files."""
        if before.owner != now.owner:
            return True
        old, new = self._base.table.load(before.owner), self._modified.table.load(now.owner)
        return _identity(old) != _identity(new)

    def _is_topmost(self, path: str, gone: set[str]) -> bool:
        """Whether the folder above a lost path is still the same folder."""
        parent = path.rpartition("/")[0]
        while parent:
            if parent in gone:
                return False
            before, now = self._base.paths.lookup(parent), self._modified.paths.lookup(parent)
            if before is None or now is None or self._is_another(before, now):
                return False
            parent = parent.rpartition("/")[0]
        return True


def _identity(inode: Inode) -> tuple[int, bool]:
    return inode.sequence, inode.is_directory


def _link(entry: NameEntry) -> tuple[int, int, str]:
    return entry.parent, entry.parent_sequence, entry.name


def _even_pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of one length, so that two streams can be held side by side."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _COMPARE_BYTES:
            yield bytes(waiting[:_COMPARE_BYTES])
            del waiting[:_COMPARE_BYTES]
    if waiting:
        yield bytes(waiting)
