"""Which file records and which clusters differ between two states of one volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ntfs import scan
from sekiso.disks.ntfs.extents import HOLE
from sekiso.disks.ntfs.inode import FileTable
from sekiso.disks.ntfs.paths import FIRST_USER_RECORD
from sekiso.disks.ntfs.records import Bytes2D, Ints, Records
from sekiso.model.progress import Progress, check_canceled

#: Attributes whose clusters make up what a file is; indexes and bitmaps only repeat what files say.
CONTENT_KINDS = (
    scan.OBJECT_ID,
    scan.SECURITY_DESCRIPTOR,
    scan.DATA,
    scan.REPARSE_POINT,
    scan.EA,
    scan.ATTRIBUTE_LIST,
)
_STEP_ROWS = 4096
_PIECE_CLUSTERS_BYTES = 4 << 20
_SI_VALUE = 24  # where the value of $STANDARD_INFORMATION begins in its attribute, as Windows writes it


class TouchedClusters:
    """Ranges of clusters that may differ, for quick questions."""

    def __init__(self, starts: Ints, ends: Ints) -> None:
        self.starts, self.ends = _merged(starts, ends)

    @classmethod
    def from_ranges(cls, ranges: Sequence[ByteRange], cluster_bytes: int) -> TouchedClusters:
        """Take the clusters that byte ranges of the volume touch."""
        starts = np.array([item.start // cluster_bytes for item in ranges], np.int64)
        ends = np.array([-(-item.end // cluster_bytes) for item in ranges], np.int64)
        kept = starts < ends
        return cls(starts[kept], ends[kept])

    def hit(self, first: Ints, count: Ints) -> npt.NDArray[np.bool_]:
        """Return for each extent whether any of its clusters is touched."""
        if not len(self.starts):
            return np.zeros(len(first), bool)
        index = np.searchsorted(self.ends, first, side="right")
        inside = index < len(self.starts)
        return inside & (self.starts[np.minimum(index, len(self.starts) - 1)] < first + count)

    def parts(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return the touched ranges (start, end) within one extent."""
        found: list[tuple[int, int]] = []
        index = int(np.searchsorted(self.ends, first, side="right"))
        while index < len(self.starts) and int(self.starts[index]) < first + count:
            found.append((max(first, int(self.starts[index])), min(first + count, int(self.ends[index]))))
            index += 1
        return found


def _merged(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Sort ranges and join those that overlap or touch."""
    if not len(starts):
        return starts, ends
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    new = np.ones(len(starts), bool)
    new[1:] = starts[1:] > ends[:-1]
    last = np.append(np.nonzero(new)[0][1:] - 1, len(starts) - 1)
    return starts[new], ends[last]


def differing_files(base: FileTable, modified: FileTable, touched: TouchedClusters | None) -> set[int]:
    """Return the record numbers of files whose file records differ in more than bookkeeping.

    Left out of account are the log sequence number, fixups, last access and the change journal's number.

    Args:
        base: the earlier state.
        modified: the later state.
        touched: clusters that may differ; None = any may.
    """
    common, in_base, in_modified = np.intersect1d(
        base.records.numbers, modified.records.numbers, assume_unique=True, return_indices=True
    )
    if touched is not None and base.records.extents == modified.records.extents:
        keep = _records_in(modified, common, touched)
        in_base, in_modified = in_base[keep], in_modified[keep]
    changed = _unequal_rows(base.records, modified.records, in_base, in_modified)
    files: set[int] = set()
    sides = ((base, in_base[changed]), (modified, in_modified[changed]))
    for table, rows in sides:
        other = modified if table is base else base
        gone = np.nonzero(~np.isin(table.records.numbers, other.records.numbers, assume_unique=True))[0]
        owners = scan.owners_of(table.records, np.concatenate([rows, gone]))
        files.update(owners[owners >= 0].tolist())
    return files


def _records_in(table: FileTable, numbers: Ints, touched: TouchedClusters) -> npt.NDArray[np.bool_]:
    """Return which file records lie in touched clusters."""
    record, cluster = table.access.geometry.record_size_bytes, table.access.geometry.cluster_size_bytes
    first, last = numbers * record // cluster, (numbers * record + record - 1) // cluster
    vcns = np.array([extent.vcn for extent in table.records.extents], np.int64)
    lcns = np.array([extent.lcn for extent in table.records.extents], np.int64)
    hit = np.zeros(len(numbers), bool)
    one = np.ones(len(numbers), np.int64)
    for vcn in (first, last):
        index = np.searchsorted(vcns, vcn, side="right") - 1
        hit |= touched.hit(lcns[index] + vcn - vcns[index], one)
    # a record longer than two clusters has clusters between the first and the last
    return hit | (last - first > 1)


def _unequal_rows(base: Records, modified: Records, in_base: Ints, in_modified: Ints) -> Ints:
    found: list[Ints] = []
    for start in range(0, len(in_base), _STEP_ROWS):
        step = slice(start, start + _STEP_ROWS)
        ours, theirs = _plain(base.rows[in_base[step]]), _plain(modified.rows[in_modified[step]])
        found.append(np.nonzero((ours != theirs).any(axis=1))[0] + start)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _plain(rows: Bytes2D) -> npt.NDArray[np.uint64]:
    """Blank what is bookkeeping in a copy of some records, and return them as 64-bit numbers."""
    size = rows.shape[1]
    rows[:, 8:16] = 0  # log sequence number
    every = np.arange(len(rows))
    at = scan.gather(rows, every, np.full(len(rows), 4, np.int64), 2)
    for byte in range(2 * (size // 512 + 1)):
        rows[every, np.minimum(at + byte, size - 1)] = 0
    # $STANDARD_INFORMATION comes first; last access lies at 24 in it, the journal's number at 64
    first = scan.gather(rows, every, np.full(len(rows), 20, np.int64), 2)
    fits = first + _SI_VALUE + 72 <= size
    first = np.where(fits, first, 0)
    usual = fits & (scan.gather(rows, every, first, 4) == scan.STANDARD_INFORMATION)
    usual &= rows[every, first + 20] == _SI_VALUE
    chosen, place = every[usual], first[usual] + _SI_VALUE
    long = scan.gather(rows, chosen, first[usual] + 16, 4) >= 72
    for byte in range(8):
        rows[chosen, place + 24 + byte] = 0
        rows[chosen[long], place[long] + 64 + byte] = 0
    return np.ascontiguousarray(rows).view(np.uint64)


def owners_of_clusters(table: FileTable, touched: TouchedClusters) -> set[int]:
    """Return the record numbers of the files whose content lies in touched clusters."""
    found = scan.scan_extents(table.records, table.attributes, CONTENT_KINDS)
    hit = touched.hit(found.lcn, found.clusters) & (found.owner >= FIRST_USER_RECORD)
    return set(np.unique(found.owner[hit]).tolist())


def differing_clusters(
    base: FileTable, modified: FileTable, progress: Progress
) -> tuple[TouchedClusters, int]:
    """Compare the clusters of all files of the later state with what lies there in the earlier one.

    This is for callers that do not know which parts of the volume were written.

    Returns:
        The clusters that differ, and how many bytes were compared.

    Raises:
        DamagedInputError: a volume ends early.
        CanceledError: the work was canceled.
    """
    size = modified.access.geometry.cluster_size_bytes
    limit = min(base.access.geometry.cluster_count, modified.access.geometry.cluster_count)
    owned = scan.scan_extents(modified.records, modified.attributes, CONTENT_KINDS)
    chosen = (owned.lcn > HOLE) & (owned.lcn < limit) & (owned.owner >= FIRST_USER_RECORD)
    lcn = owned.lcn[chosen]
    starts, ends = _merged(lcn, np.minimum(lcn + owned.clusters[chosen], limit))
    found: list[Ints] = []
    compared = 0
    step = max(1, _PIECE_CLUSTERS_BYTES // size)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for at in range(start, end, step):
            check_canceled(progress)
            count = min(step, end - at)
            ours, theirs = base.access.read_clusters(at, count), modified.access.read_clusters(at, count)
            compared += count * size
            if ours != theirs:
                found.append(_unequal_clusters(ours, theirs, size) + at)
    different = np.concatenate(found) if found else np.zeros(0, np.int64)
    return TouchedClusters(different, different + 1), compared


def _unequal_clusters(ours: bytes, theirs: bytes, size: int) -> Ints:
    left = np.frombuffer(ours, np.uint64).reshape(-1, size // 8)
    right = np.frombuffer(theirs, np.uint64).reshape(-1, size // 8)
    return np.nonzero((left != right).any(axis=1))[0].astype(np.int64)
