"""Which inodes may differ between two states of a volume: by their records, and by the blocks they own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ext4.files import Files, is_short_link
from sekiso.disks.ext4.inodes import Inode, decode_inode
from sekiso.disks.ext4.layout import EXTENT_MAGIC, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Flag

#: Fields of an inode that say nothing of its content: last access, version, checksum.
_BOOKKEEPING = (
    *(slice(0x08, 0x0C), slice(0x8C, 0x90), slice(0x24, 0x28), slice(0x98, 0x9C)),
    *(slice(0x7C, 0x7E), slice(0x82, 0x84)),
)


@dataclass(frozen=True, slots=True)
class Touched:
    """Parts of a volume that may differ, as sorted ranges that do not overlap.

    Attributes:
        starts: first byte of each range.
        ends: first byte after each range.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of the bytes may differ."""
        index = int(np.searchsorted(self.ends, start, side="right"))
        return index < len(self.starts) and int(self.starts[index]) < end

    def parts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts (start, end) of a range that may differ."""
        index = int(np.searchsorted(self.ends, start, side="right"))
        while index < len(self.starts) and int(self.starts[index]) < end:
            yield max(start, int(self.starts[index])), min(end, int(self.ends[index]))
            index += 1


def merge_ranges(ranges: Sequence[ByteRange]) -> Touched:
    """Sort ranges and join those that meet."""
    starts, ends = list[int](), list[int]()
    for item in sorted((r.start, r.end) for r in ranges if r.length > 0):
        if ends and item[0] <= ends[-1]:
            ends[-1] = max(ends[-1], item[1])
        else:
            starts.append(item[0])
            ends.append(item[1])
    return Touched(np.array(starts, np.int64), np.array(ends, np.int64))


def comparable(base: Files, modified: Files) -> bool:
    """Whether inodes with the same number lie in the same place, so that tables can be compared."""
    one, two = base.sb, modified.sb
    if (one.uuid, one.block_size, one.inode_size, one.inodes_per_group) != (
        *(two.uuid, two.block_size, two.inode_size, two.inodes_per_group),
    ):
        return False
    common = min(one.groups_count, two.groups_count)
    return bool((base.groups.inode_table[:common] == modified.groups.inode_table[:common]).all())


def changed_records(base: Files, modified: Files, touched: Touched | None) -> set[int]:
    """Return the numbers of the inodes whose records differ in more than bookkeeping."""
    found: set[int] = set()
    sb = modified.sb
    for group in range(max(base.sb.groups_count, sb.groups_count)):
        if touched is not None and group < min(base.sb.groups_count, sb.groups_count):
            start = int(modified.groups.inode_table[group]) * sb.block_size
            if not touched.overlaps(start, start + sb.inodes_per_group * sb.inode_size):
                continue
        one, two = _records(base, group), _records(modified, group)
        rows = max(len(one), len(two))
        different = (_blank(one, rows) != _blank(two, rows)).any(axis=1)
        found.update((np.flatnonzero(different) + group * sb.inodes_per_group + 1).tolist())
    return found


def _records(files: Files, group: int) -> NDArray[np.uint8]:
    if group >= files.sb.groups_count:
        return np.zeros((0, files.sb.inode_size), np.uint8)
    return files.tables.records(group)


def _blank(records: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """Return a copy with the bookkeeping zeroed, lengthened by empty records to `rows`."""
    copy = np.zeros((rows, records.shape[1]), np.uint8)
    copy[: len(records)] = records
    for part in _BOOKKEEPING:
        copy[:, part] = 0
    return copy


def owners_of(files: Files, touched: Touched) -> set[int]:
    """Return the inodes that own blocks (content, extent trees, attributes) in the touched parts.

    No time stamp is trusted: every extent of every inode in use is looked at.
    """
    found: set[int] = set()
    size = files.sb.block_size
    for group in range(files.sb.groups_count):
        records = files.tables.records(group)
        first = group * files.sb.inodes_per_group + 1
        starts, lengths, owners = _simple_runs(records, first)
        hits = _overlapping(touched, starts * size, (starts + lengths) * size)
        found.update(owners[hits].tolist())
        for inode in _complex_inodes(files, records, first):
            if inode.number not in found and _owns(files, inode, touched):
                found.add(inode.number)
    return found


def _overlapping(touched: Touched, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    index = np.searchsorted(touched.ends, starts, side="right")
    inside = index < len(touched.starts)
    result = np.zeros(len(starts), np.bool_)
    result[inside] = touched.starts[index[inside]] < ends[inside]
    return result


def _simple_runs(
    records: NDArray[np.uint8], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the extents that lie in inode records, and the blocks of attributes: start, length, owner."""
    simple = np.flatnonzero(_in_use(records) & _is_simple(records))
    numbers = simple + first
    starts, lengths, owners = [_acl_blocks(records[simple])], [np.ones(len(simple), np.int64)], [numbers]
    count = _u16(records[simple], 0x2A)
    for position in range(4):
        at = 0x28 + 12 + 12 * position
        rows = records[simple]
        length = _u16(rows, at + 4)
        length = np.where(length > 32768, length - 32768, length)
        start = _u32(rows, at + 8) | _u16(rows, at + 6) << 32
        starts.append(start)
        lengths.append(np.where(position < count, length, 0))
        owners.append(numbers)
    all_lengths = np.concatenate(lengths)
    kept = (all_lengths > 0) & (np.concatenate(starts) > 0)
    return np.concatenate(starts)[kept], all_lengths[kept], np.concatenate(owners)[kept]


def _in_use(records: NDArray[np.uint8]) -> NDArray[np.bool_]:
    kind = _u16(records, 0x00) & S_IFMT
    content = (kind == S_IFREG) | (kind == S_IFDIR) | (kind == S_IFLNK)
    return (_u16(records, 0x1A) > 0) & (content | (_acl_blocks(records) > 0))


def _is_simple(records: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which inodes have all their extents in the record (or no extents at all but attributes)."""
    extents = (_u32(records, 0x20) & Flag.EXTENTS) != 0
    return extents & (_u16(records, 0x28) == EXTENT_MAGIC) & (_u16(records, 0x2E) == 0)


def _complex_inodes(files: Files, records: NDArray[np.uint8], first: int) -> Iterator[Inode]:
    for index in np.flatnonzero(_in_use(records) & ~_is_simple(records)).tolist():
        inode = decode_inode(first + index, records[index].tobytes(), files.sb)
        if inode.number >= files.sb.first_ordinary_inode or inode.number == 2:
            yield inode


def _owns(files: Files, inode: Inode, touched: Touched) -> bool:
    """Whether an inode with an extent tree, a block map or attributes owns touched blocks."""
    size = files.sb.block_size
    blocks = [inode.acl_block] if inode.acl_block else []
    runs = []
    has_map = inode.kind in (S_IFREG, S_IFDIR, S_IFLNK) and not inode.flags & Flag.INLINE_DATA
    if has_map and not is_short_link(inode):
        runs = files.map.runs(inode, meta=blocks)
    return any(touched.overlaps(b * size, (b + 1) * size) for b in blocks) or any(
        touched.overlaps(r.physical * size, (r.physical + r.length) * size) for r in runs
    )


def _acl_blocks(records: NDArray[np.uint8]) -> NDArray[np.int64]:
    return _u32(records, 0x68) | _u16(records, 0x76) << 32


def _u16(records: NDArray[np.uint8], offset: int) -> NDArray[np.int64]:
    return records[:, offset].astype(np.int64) | records[:, offset + 1].astype(np.int64) << 8


def _u32(records: NDArray[np.uint8], offset: int) -> NDArray[np.int64]:
    return _u16(records, offset) | _u16(records, offset + 2) << 16
