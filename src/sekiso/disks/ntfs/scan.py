"""All attributes of all file records at once: their headers, names of files and extents as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sekiso.disks.ntfs.records import Bytes2D, Ints, Records

STANDARD_INFORMATION = 0x10
ATTRIBUTE_LIST = 0x20
FILE_NAME = 0x30
OBJECT_ID = 0x40
SECURITY_DESCRIPTOR = 0x50
VOLUME_NAME = 0x60
VOLUME_INFORMATION = 0x70
DATA = 0x80
INDEX_ROOT = 0x90
INDEX_ALLOCATION = 0xA0
BITMAP = 0xB0
REPARSE_POINT = 0xC0
EA_INFORMATION = 0xD0
EA = 0xE0
LOGGED_UTILITY_STREAM = 0x100
_END = 0xFFFFFFFF

POSIX, WIN32, DOS, WIN32_AND_DOS = range(4)
_RESIDENT_HEADER, _NONRESIDENT_HEADER = 24, 64


@dataclass(frozen=True)
class Attributes:
    """Headers of all attributes, ordered by row and place in the record.

    Attributes:
        row: row of `Records` it lies in.
        kind: attribute type.
        offset: where it begins in the record.
        length: its length in the record.
        nonresident: whether its content lies in clusters.
        first: index of the first attribute of each row, and one more for the end.
        broken: rows whose attributes break the format.
    """

    row: Ints
    kind: Ints
    offset: Ints
    length: Ints
    nonresident: npt.NDArray[np.bool_]
    first: Ints
    broken: Ints


@dataclass(frozen=True)
class Names:
    """All names of files.

    Attributes:
        owner: record number of the file.
        parent: record number of the folder.
        parent_sequence: sequence number that the folder must have.
        namespace: POSIX, WIN32, DOS or WIN32_AND_DOS.
        row: row of `Records` the name lies in.
        offset: where its text begins in the record.
        length: length of its text in UTF-16 units.
    """

    owner: Ints
    parent: Ints
    parent_sequence: Ints
    namespace: Ints
    row: Ints
    offset: Ints
    length: Ints


@dataclass(frozen=True)
class OwnedExtents:
    """Extents of content and the files they belong to.

    Attributes:
        owner: record number of the file.
        lcn: first cluster on the volume.
        clusters: how many.
    """

    owner: Ints
    lcn: Ints
    clusters: Ints


def gather(rows: Bytes2D, row: Ints, offset: Ints, width: int) -> Ints:
    """Return the little-endian number of `width` bytes (at most 7) at an offset of each given row."""
    value = np.zeros(len(row), np.int64)
    for byte in range(width):
        value |= rows[row, offset + byte].astype(np.int64) << (8 * byte)
    return value


def scan_attributes(records: Records) -> Attributes:
    """Walk the attributes of all records in step.

    A row whose attributes are not well formed is named in `broken` and has none of the rest.

    Source: Linux-NTFS documentation, "FILE record" and "Attribute header".
    """
    rows = records.rows
    size = rows.shape[1]
    row = np.arange(len(rows), dtype=np.int64)
    at = gather(rows, row, np.full(len(row), 20, np.int64), 2)
    used = np.minimum(gather(rows, row, np.full(len(row), 24, np.int64), 4), size)
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    broken: list[Ints] = [row[(at < 42) | (at % 4 != 0)]]
    keep = (at >= 42) & (at % 4 == 0)
    row, at, used = row[keep], at[keep], used[keep]
    while len(row):
        room = at + 4 <= used
        broken.append(row[~room])
        row, at, used = row[room], at[room], used[room]
        kind = gather(rows, row, at, 4)
        more = kind != _END
        row, at, used, kind = row[more], at[more], used[more], kind[more]
        fits = at + _RESIDENT_HEADER <= used
        length = np.where(fits, gather(rows, row, np.minimum(at + 4, size - 4), 4), 0)
        sound = (length >= _RESIDENT_HEADER) & (length % 4 == 0) & (at + length <= used)
        broken.append(row[~sound])
        row, at, used, kind, length = row[sound], at[sound], used[sound], kind[sound], length[sound]
        sound = _header_is_sound(rows, row, at, length)
        broken.append(row[~sound])
        row, at, used, kind, length = row[sound], at[sound], used[sound], kind[sound], length[sound]
        parts.append((row, kind, at, length))
        at = at + length
    return _assemble(records, parts, np.unique(np.concatenate(broken)))


def _header_is_sound(rows: Bytes2D, row: Ints, at: Ints, length: Ints) -> npt.NDArray[np.bool_]:
    nonresident = rows[row, at + 8] != 0
    name_end = gather(rows, row, at + 10, 2) + 2 * rows[row, at + 9].astype(np.int64)
    named = rows[row, at + 9] != 0
    value_end = gather(rows, row, at + 16, 4) + gather(rows, row, at + 20, 2)
    sound = ~named | (name_end <= length)
    return sound & np.where(nonresident, length >= _NONRESIDENT_HEADER, value_end <= length)


def _assemble(records: Records, parts: list[tuple[Ints, Ints, Ints, Ints]], broken: Ints) -> Attributes:
    if not parts:
        none = np.zeros(0, np.int64)
        parts = [(none, none, none, none)]
    row, kind, offset, length = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.argsort(row, kind="stable")
    order = order[~np.isin(row[order], broken)]
    row, kind, offset, length = row[order], kind[order], offset[order], length[order]
    return Attributes(
        row=row,
        kind=kind,
        offset=offset,
        length=length,
        nonresident=records.rows[row, offset + 8] != 0,
        first=np.searchsorted(row, np.arange(len(records.rows) + 1)),
        broken=broken,
    )


def owners_of(records: Records, row: Ints) -> Ints:
    """Return the record number of the file each row belongs to; -1 if it extends a record that is gone."""
    base = records.base[row]
    extends = base != 0
    base_row = records.rows_of(base)
    alive = (base_row >= 0) & (records.sequence[base_row] == records.base_sequence[row])
    alive &= records.base[base_row] == 0
    return np.where(extends, np.where(alive, base, -1), records.numbers[row])


def scan_names(records: Records, attributes: Attributes) -> tuple[Names, Ints]:
    """Return all names of files, and the rows with a name that breaks the format."""
    chosen = attributes.kind == FILE_NAME
    row, at = attributes.row[chosen], attributes.offset[chosen]
    rows = records.rows
    value = at + gather(rows, row, at + 20, 2)
    size = gather(rows, row, at + 16, 4)
    fits = ~attributes.nonresident[chosen] & (size >= 66)
    safe = np.where(fits, value, 0)
    length = rows[row, safe + 64].astype(np.int64)
    namespace = rows[row, safe + 65].astype(np.int64)
    sound = fits & (length > 0) & (66 + 2 * length <= size) & (namespace <= WIN32_AND_DOS)
    bad = row[~sound]
    owner = owners_of(records, row)
    keep = sound & (owner >= 0)
    row, value = row[keep], value[keep]
    names = Names(
        owner=owner[keep],
        parent=gather(rows, row, value, 6),
        parent_sequence=gather(rows, row, value + 6, 2),
        namespace=namespace[keep],
        row=row,
        offset=value + 66,
        length=length[keep],
    )
    return names, bad


def scan_extents(records: Records, attributes: Attributes, kinds: tuple[int, ...]) -> OwnedExtents:
    """Return the extents of all attributes of some kinds, decoded in step.

    Extents that leave the volume are returned as they are; an attribute that is not well formed just ends.
    """
    chosen = attributes.nonresident & np.isin(attributes.kind, np.asarray(kinds, np.int64))
    row, start = attributes.row[chosen], attributes.offset[chosen]
    rows = records.rows
    end = start + attributes.length[chosen]
    at = start + gather(rows, row, start + 32, 2)
    owner = owners_of(records, row)
    lcn = np.zeros(len(row), np.int64)
    found: list[tuple[Ints, Ints, Ints]] = []
    alive = (at < end) & (owner >= 0)
    while True:
        row, at, end, owner, lcn = (a[alive] for a in (row, at, end, owner, lcn))
        if not len(row):
            break
        header = rows[row, at].astype(np.int64)
        length_bytes, offset_bytes = header & 15, header >> 4
        alive = (header != 0) & (length_bytes > 0) & (length_bytes <= 7) & (offset_bytes <= 7)
        alive &= at + 1 + length_bytes + offset_bytes <= end
        length_bytes, offset_bytes = np.where(alive, length_bytes, 0), np.where(alive, offset_bytes, 0)
        clusters = _signed(rows, row, at + 1, length_bytes)
        lcn = lcn + _signed(rows, row, at + 1 + length_bytes, offset_bytes)
        alive &= clusters > 0
        placed = alive & (offset_bytes > 0)
        found.append((owner[placed], lcn[placed], clusters[placed]))
        at = at + 1 + length_bytes + offset_bytes
        alive &= at < end
    if not found:
        none = np.zeros(0, np.int64)
        found = [(none, none, none)]
    columns = [np.concatenate([part[i] for part in found]) for i in range(3)]
    return OwnedExtents(*columns)


def _signed(rows: Bytes2D, row: Ints, at: Ints, width: Ints) -> Ints:
    """Return the signed little-endian number of 0 to 7 bytes at an offset of each given row."""
    value = np.zeros(len(row), np.int64)
    top = rows.shape[1] - 1
    for byte in range(7):
        more = byte < width
        digit = rows[row, np.minimum(at + byte, top)].astype(np.int64)
        value |= np.where(more, digit << (8 * byte), 0)
    shift = 64 - 8 * np.maximum(width, 1)
    return np.where(width > 0, (value << shift) >> shift, 0)
