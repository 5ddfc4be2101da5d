"""One file of the volume: everything its base record and extension records say."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sekiso.disks.ntfs import scan
from sekiso.disks.ntfs.content import Stream, read_all
from sekiso.disks.ntfs.extents import HOLE, MAX_VCN, Extent, decode_mapping_pairs
from sekiso.disks.ntfs.geometry import VolumeBytes
from sekiso.disks.ntfs.records import Records, attribute_list_entries, load_records

_COMPRESSED, _ENCRYPTED, _SPARSE = 0x00FF, 0x4000, 0x8000
_LIST_LIMIT_BYTES = 256 << 10
#: Names are read in bulk; indexes only repeat what the files say.
_NOT_CONTENT = (scan.FILE_NAME, scan.INDEX_ROOT, scan.INDEX_ALLOCATION, scan.BITMAP)


@dataclass(slots=True)
class Inode:
    """What one file is.

    Attributes:
        number: record number.
        sequence: how often the record was used.
        is_directory: whether it is a folder.
        creation_time: FILETIME, likewise the next three.
        write_time: last change of content.
        change_time: last change of anything.
        access_time: last access.
        attributes: Windows file attributes, as stored.
        security_id: id of the security descriptor in $Secure; 0 if it has its own.
        case_sensitive: whether names in the folder differ by case.
        streams: content by name, the unnamed one under the empty name.
        reparse: reparse point with its header, if any.
        object_id: content of $OBJECT_ID, if any.
        security: its own security descriptor, if any.
        ea: OS/2 extended attributes, if any.
        utility_streams: names of logged utility streams (`$EFS`, `$TXF_DATA`).
    """

    number: int
    sequence: int
    is_directory: bool
    creation_time: int = 0
    write_time: int = 0
    change_time: int = 0
    access_time: int = 0
    attributes: int = 0
    security_id: int = 0
    case_sensitive: bool = False
    streams: dict[str, Stream] = field(default_factory=dict[str, Stream])
    reparse: Stream | None = None
    object_id: Stream | None = None
    security: Stream | None = None
    ea: Stream | None = None
    utility_streams: tuple[str, ...] = ()


@dataclass(slots=True)
class _Piece:
    flags: int
    value: bytes | None
    lowest: int = 0
    highest: int = -1
    extents: tuple[Extent, ...] = ()
    size_bytes: int = 0
    initialized_bytes: int = 0
    unit_exponent: int = 0


class FileTable:
    """The master file table with its attributes, ready for questions about single files."""

    def __init__(self, access: VolumeBytes) -> None:
        self.access = access
        self.records: Records = load_records(access)
        self.attributes = scan.scan_attributes(self.records)
        self.names, self._bad_names = scan.scan_names(self.records, self.attributes)

    @cached_property
    def _extensions(self) -> dict[int, list[int]]:
        """Rows of the extension records of each base record."""
        rows = np.nonzero(self.records.base != 0)[0]
        owners = scan.owners_of(self.records, rows)
        found: dict[int, list[int]] = {}
        for row, owner in zip(rows.tolist(), owners.tolist(), strict=True):
            if owner >= 0:
                found.setdefault(owner, []).append(row)
        return found

    def offset_of(self, number: int) -> int:
        """Return where a record lies on the volume, for messages."""
        size = self.access.geometry.cluster_size_bytes
        at = number * self.access.geometry.record_size_bytes
        for vcn, lcn, clusters in self.records.extents:
            if vcn * size <= at < (vcn + clusters) * size:
                return lcn * size + at - vcn * size
        return 0

    def require_sound(self) -> None:
        """Refuse a table with records that cannot be read: a file might be missing from the result.

        Raises:
            DamagedInputError: a record is torn or its attributes are broken.
        """
        if self.records.torn:
            number = self.records.torn[0]
            count = len(self.records.torn)
            raise self.access.damaged(
                self.offset_of(number),
                f"{count} file record(s) were only partly written, the first is number {number}.",
            )
        for rows, what in ((self.attributes.broken, "attributes"), (self._bad_names, "names")):
            if len(rows):
                number = int(self.records.numbers[rows[0]])
                reason = f"{len(rows)} file record(s) have broken {what}, the first is number {number}."
                raise self.access.damaged(self.offset_of(number), reason)

    def exists(self, number: int) -> bool:
        """Whether a file with this record number is in use."""
        row = self.records.row_of(number)
        return row >= 0 and int(self.records.base[row]) == 0

    def load(self, number: int) -> Inode:
        """Return one file.

        Raises:
            DamagedInputError: it is not in use, or its records are broken.
        """
        row = self.records.row_of(number)
        if row < 0 or int(self.records.base[row]) != 0:
            raise self.access.damaged(self.offset_of(number), f"File record {number} is not in use.")
        try:
            return self._load(number, row)
        except (ValueError, struct.error) as exc:
            reason = f"File record {number}: {exc}"
            raise self.access.damaged(self.offset_of(number), reason) from exc

    def streams_of(self, number: int, kind: int) -> dict[str, Stream]:
        """Return the attributes of one kind of a file by name; empty if it is not in use.

        Raises:
            DamagedInputError: its records are broken.
        """
        row = self.records.row_of(number)
        if row < 0:
            return {}
        try:
            pieces = self._pieces([row, *self._extensions.get(number, ())], kind)
            return {name: self._join(parts) for (_, name), parts in pieces.items()}
        except (ValueError, struct.error) as exc:
            reason = f"File record {number}: {exc}"
            raise self.access.damaged(self.offset_of(number), reason) from exc

    def _load(self, number: int, row: int) -> Inode:
        records = self.records
        inode = Inode(number, int(records.sequence[row]), bool(records.directory[row]))
        rows = [row, *self._extensions.get(number, ())]
        pieces = self._pieces(rows, None)
        for (kind, name), parts in pieces.items():
            self._put(inode, kind, name, self._join(parts))
        listed = pieces.get((scan.ATTRIBUTE_LIST, ""))
        if listed is not None or len(rows) > 1:
            self._check_list(number, rows, listed)
        return inode

    def _pieces(self, rows: Sequence[int], wanted: int | None) -> dict[tuple[int, str], list[_Piece]]:
        """Return the attribute records of one file by kind and name: of one kind, or all that make it."""
        found: dict[tuple[int, str], list[_Piece]] = {}
        first = self.attributes.first
        for row in rows:
            record = self.records.rows[row].tobytes()
            if row in self._broken:
                raise ValueError("Its attributes are broken.")
            for index in range(int(first[row]), int(first[row + 1])):
                kind = int(self.attributes.kind[index])
                if kind in _NOT_CONTENT if wanted is None else kind != wanted:
                    continue
                name, piece = self._piece(record, int(self.attributes.offset[index]), index)
                found.setdefault((kind, name), []).append(piece)
        return found

    @cached_property
    def _broken(self) -> frozenset[int]:
        return frozenset(self.attributes.broken.tolist())

    def _piece(self, record: bytes, at: int, index: int) -> tuple[str, _Piece]:
        length = int(self.attributes.length[index])
        name_length, name_at, flags = struct.unpack_from("<BHH", record, at + 9)
        name = record[at + name_at : at + name_at + 2 * name_length].decode("utf-16-le", "surrogatepass")
        if not self.attributes.nonresident[index]:
            size, value_at = struct.unpack_from("<IH", record, at + 16)
            value = record[at + value_at : at + value_at + size]
            return name, _Piece(flags, value, size_bytes=size, initialized_bytes=size)
        lowest, highest, pairs_at, exponent = struct.unpack_from("<QqHH", record, at + 16)
        data_size, initialized = struct.unpack_from("<QQ", record, at + 48)
        if lowest > MAX_VCN or pairs_at < 40:
            raise ValueError("An attribute begins at an impossible cluster.")
        pairs = record[at + pairs_at : at + length]
        extents = decode_mapping_pairs(pairs, lowest, self.access.geometry.cluster_count)
        return name, _Piece(
            flags, None, lowest, highest, tuple(extents), data_size, initialized, exponent & 0xFF
        )

    def _join(self, parts: list[_Piece]) -> Stream:
        """Make one stream of the pieces of an attribute; they must follow each other without a gap."""
        parts.sort(key=lambda piece: piece.lowest)
        first = parts[0]
        if first.value is not None:
            if len(parts) > 1:
                raise ValueError("An attribute is there twice.")
            return Stream(first.size_bytes, first.value, encrypted=bool(first.flags & _ENCRYPTED))
        extents: list[Extent] = []
        vcn = 0
        for piece in parts:
            if piece.value is not None or piece.lowest != vcn:
                raise ValueError("An attribute has a gap between its extents, or is there twice.")
            extents += piece.extents
            vcn = extents[-1].vcn + extents[-1].clusters if extents else 0
            if piece.extents and piece.highest + 1 != vcn:
                raise ValueError("An attribute has other extents than its header says.")
        return self._stream(first, tuple(extents), vcn)

    def _stream(self, first: _Piece, extents: tuple[Extent, ...], clusters: int) -> Stream:
        size = self.access.geometry.cluster_size_bytes
        if first.size_bytes > clusters * size or first.initialized_bytes > first.size_bytes:
            raise ValueError("An attribute is longer than its clusters.")
        holes = any(extent.lcn == HOLE for extent in extents)
        unit = 0
        if first.flags & _COMPRESSED and first.unit_exponent:
            if (
                first.flags & _COMPRESSED != 1
                or first.unit_exponent > 8
                or size << first.unit_exponent > 2 << 20
            ):
                raise ValueError("An attribute is compressed in an unknown way.")
            unit = 1 << first.unit_exponent
        elif holes and not first.flags & (_SPARSE | _COMPRESSED):
            raise ValueError("An attribute that is not sparse has a hole.")
        encrypted = bool(first.flags & _ENCRYPTED)
        return Stream(first.size_bytes, None, extents, first.initialized_bytes, unit, encrypted)

    def _put(self, inode: Inode, kind: int, name: str, stream: Stream) -> None:
        if kind == scan.STANDARD_INFORMATION:
            _standard_information(inode, stream)
        elif kind == scan.DATA:
            inode.streams[name] = stream
        elif kind == scan.REPARSE_POINT:
            inode.reparse = stream
        elif kind == scan.OBJECT_ID:
            inode.object_id = stream
        elif kind == scan.SECURITY_DESCRIPTOR:
            inode.security = stream
        elif kind == scan.EA:
            inode.ea = stream
        elif kind == scan.LOGGED_UTILITY_STREAM:
            inode.utility_streams = (*inode.utility_streams, name)

    def _check_list(self, number: int, rows: Sequence[int], listed: list[_Piece] | None) -> None:
        """Hold the attribute list against the extension records that are there."""
        content = b"" if listed is None else read_all(self.access, self._join(listed), _LIST_LIMIT_BYTES)
        named = {record for _, _, record in attribute_list_entries(content)} | {number}
        there = {int(self.records.numbers[row]) for row in rows}
        if named != there:
            odd = sorted(named ^ there)[0]
            raise ValueError(f"Its attribute list and its extension records disagree about record {odd}.")


def _standard_information(inode: Inode, stream: Stream) -> None:
    """Take over times and attributes.

    Source: Linux-NTFS documentation, "$STANDARD_INFORMATION"; the version number 1 marks a folder whose
    names differ by case since Windows 10 1803.
    """
    value = stream.value
    if value is None or len(value) < 48:
        raise ValueError("The standard information is not where it must be.")
    times = struct.unpack_from("<QQQQ", value)
    inode.creation_time, inode.write_time, inode.change_time, inode.access_time = times
    inode.attributes, _, version = struct.unpack_from("<III", value, 32)
    inode.case_sensitive = inode.is_directory and version == 1
    if len(value) >= 72:
        inode.security_id = struct.unpack_from("<I", value, 52)[0]
