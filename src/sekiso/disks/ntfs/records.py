"""The master file table in bulk: file records in use, as one array, with their fixups undone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sekiso.disks.ntfs.extents import HOLE, Extent, decode_mapping_pairs
from sekiso.disks.ntfs.geometry import VolumeBytes
from sekiso.errors import UnsupportedInputError

Bytes2D = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

RECORD_NUMBER_MASK = (1 << 48) - 1
_PIECE_BYTES = 8 << 20
_MAX_TABLE_BYTES = 8 << 30
_STRIDE = 512
_FILE, _BAAD = 0x454C4946, 0x44414142  # the signatures as numbers
_AT_ATTRIBUTE_LIST, _AT_DATA, _AT_END = 0x20, 0x80, 0xFFFFFFFF


@dataclass(frozen=True)
class Records:
    """The file records that are in use.

    Attributes:
        numbers: record number of each row, ascending.
        rows: one record per row, fixups undone.
        base: record number of the base record that a row extends; 0 for a base record.
        base_sequence: sequence number that the base record must have.
        sequence: sequence number of each row.
        directory: whether the row is marked as a folder.
        torn: record numbers that were only partly written, or marked as such by a check.
        extents: where the table lies.
        slots: how many records the table has room for.
    """

    numbers: Ints
    rows: Bytes2D
    base: Ints
    base_sequence: Ints
    sequence: Ints
    directory: npt.NDArray[np.bool_]
    torn: tuple[int, ...]
    extents: tuple[Extent, ...]
    slots: int

    def row_of(self, number: int) -> int:
        """Return the row of a record, or -1 if it is not in use."""
        row = int(np.searchsorted(self.numbers, number))
        return row if row < len(self.numbers) and int(self.numbers[row]) == number else -1

    def rows_of(self, numbers: Ints) -> Ints:
        """Return the row of each record, -1 where it is not in use."""
        if not len(self.numbers):
            return np.full(len(numbers), -1, np.int64)
        rows = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[rows] == numbers, rows, -1)


def u16(rows: Bytes2D, offset: int) -> Ints:
    """Return the 16-bit number at one offset of every row."""
    return rows[:, offset].astype(np.int64) | rows[:, offset + 1].astype(np.int64) << 8


def u48(rows: Bytes2D, offset: int) -> Ints:
    """Return the 48-bit number at one offset of every row."""
    return np.ascontiguousarray(rows[:, offset : offset + 8]).view("<i8").reshape(-1) & RECORD_NUMBER_MASK


def load_records(access: VolumeBytes) -> Records:
    """Read the whole master file table.

    Raises:
        DamagedInputError: the table cannot be found or lies partly outside the volume.
        UnsupportedInputError: it is longer than Sekiso handles.
    """
    extents, size_bytes = _locate_table(access)
    record_bytes = access.geometry.record_size_bytes
    slots = size_bytes // record_bytes
    if slots * record_bytes > _MAX_TABLE_BYTES:
        raise UnsupportedInputError(
            path=access.name,
            reason=f"The volume has room for {slots} files in its file table, more than Sekiso handles.",
            remedy="Copy the content to a new volume with fewer files.",
        )
    kept: list[Bytes2D] = []
    numbers: list[Ints] = []
    torn: list[int] = []
    step = max(1, _PIECE_BYTES // record_bytes)
    for first in range(0, slots, step):
        count = min(step, slots - first)
        piece = read_extents(access, extents, first * record_bytes, count * record_bytes)
        rows = np.frombuffer(bytearray(piece), np.uint8).reshape(count, record_bytes)
        used, bad = _undo_fixups(rows)
        kept.append(rows[used])
        numbers.append(used + first)
        torn.extend(int(n) + first for n in bad)
    rows = np.concatenate(kept) if kept else np.zeros((0, record_bytes), np.uint8)
    return Records(
        numbers=np.concatenate(numbers) if numbers else np.zeros(0, np.int64),
        rows=rows,
        base=u48(rows, 32),
        base_sequence=u16(rows, 38),
        sequence=u16(rows, 16),
        directory=(rows[:, 22] & 2) != 0,
        torn=tuple(torn),
        extents=extents,
        slots=slots,
    )


def read_extents(access: VolumeBytes, extents: Sequence[Extent], offset: int, length: int) -> bytes:
    """Return bytes of an attribute by its extents; holes read as zeros.

    Raises:
        DamagedInputError: the extents end before that.
    """
    size = access.geometry.cluster_size_bytes
    parts: list[bytes] = []
    for vcn, lcn, clusters in extents:
        start, end = max(offset, vcn * size), min(offset + length, (vcn + clusters) * size)
        if start < end:
            hole = lcn == HOLE
            parts.append(
                bytes(end - start) if hole else access.read(lcn * size + start - vcn * size, end - start)
            )
    data = b"".join(parts)
    if len(data) != length:
        raise access.damaged(0, "An attribute has fewer clusters than its size needs.")
    return data


def _undo_fixups(rows: Bytes2D) -> tuple[Ints, Ints]:
    """Put the saved ends of sectors of file records back in place.

    Returns:
        The rows that are in use and whole, and the rows that are torn.
    """
    signature = np.ascontiguousarray(rows[:, :4]).view("<u4").reshape(-1)
    used = np.nonzero((signature == _FILE) & ((rows[:, 22] & 1) == 1))[0].astype(np.int64)
    whole = undo_block_fixups(rows, used)
    torn = np.concatenate([np.nonzero(signature == _BAAD)[0], used[~whole]])
    return used[whole], np.sort(torn).astype(np.int64)


def undo_block_fixups(rows: Bytes2D, chosen: Ints) -> npt.NDArray[np.bool_]:
    """Put the saved ends of sectors back in place, in some rows of an array.

    Returns:
        For each chosen row whether it is whole: each of its sectors was written by the same write.

    Source: Linux-NTFS documentation, "Fixup"; the stride is 512 bytes for every sector size.
    """
    count = rows.shape[1] // _STRIDE
    at, entries = u16(rows, 4)[chosen], u16(rows, 6)[chosen]
    sound = (entries == count + 1) & (at >= 40) & (at % 2 == 0) & (at + 2 * (count + 1) <= _STRIDE - 2)
    good, at = chosen[sound], at[sound]
    whole = np.ones(len(good), bool)
    for sector in range(1, count + 1):
        tail = sector * _STRIDE - 2
        for byte in (0, 1):
            whole &= rows[good, tail + byte] == rows[good, at + byte]
    for sector in range(1, count + 1):
        tail = sector * _STRIDE - 2
        for byte in (0, 1):
            rows[good, tail + byte] = rows[good, at + 2 * sector + byte]
    result = np.zeros(len(chosen), bool)
    result[np.nonzero(sound)[0]] = whole
    return result


# --- finding the table: record 0 describes it, perhaps with extension records that lie in itself ---


def _locate_table(access: VolumeBytes) -> tuple[tuple[Extent, ...], int]:
    geometry = access.geometry
    start = geometry.mft_lcn * geometry.cluster_size_bytes
    record = _single_record(access, access.read(start, geometry.record_size_bytes), start)
    extents: list[Extent] = []
    size_bytes = -1
    listed: bytes | None = None
    for kind, at, length in _attributes(access, record, start):
        if kind == _AT_DATA and record[at + 9] == 0:
            extents = _data_extents(access, record, (at, length), offset=start, vcn=0)
            size_bytes = struct.unpack_from("<Q", record, at + 48)[0]
        elif kind == _AT_ATTRIBUTE_LIST:
            listed = _list_content(access, record, at, length, start)
    if size_bytes < 0 or not extents:
        raise access.damaged(start, "The master file table does not describe itself.")
    if listed is not None:
        _extend_table(access, extents, listed)
    room = sum(e.clusters for e in extents) * geometry.cluster_size_bytes
    if any(e.lcn == HOLE for e in extents) or size_bytes > room:
        raise access.damaged(start, "The master file table is longer than its clusters.")
    return tuple(extents), size_bytes


def _single_record(access: VolumeBytes, data: bytes, offset: int) -> bytes:
    rows = np.frombuffer(bytearray(data), np.uint8).reshape(1, -1)
    used, _ = _undo_fixups(rows)
    if not len(used):
        raise access.damaged(offset, "A record of the master file table itself is torn or not in use.")
    return rows.tobytes()


def _attributes(access: VolumeBytes, record: bytes, offset: int) -> list[tuple[int, int, int]]:
    """Return type, offset and length of every attribute of one record."""
    found: list[tuple[int, int, int]] = []
    at = struct.unpack_from("<H", record, 20)[0]
    while at + 4 <= len(record):
        kind = struct.unpack_from("<I", record, at)[0]
        if kind == _AT_END:
            return found
        length = struct.unpack_from("<I", record, at + 4)[0] if at + 8 <= len(record) else 0
        if length < 24 or at + length > len(record):
            break
        found.append((kind, at, length))
        at += length
    raise access.damaged(offset, "A record of the master file table itself has a broken attribute.")


def _data_extents(
    access: VolumeBytes, record: bytes, place: tuple[int, int], *, offset: int, vcn: int
) -> list[Extent]:
    at, length = place
    if length < 64 or record[at + 8] != 1 or struct.unpack_from("<Q", record, at + 16)[0] != vcn:
        raise access.damaged(offset, "The extents of the master file table are not in order.")
    pairs = record[at + struct.unpack_from("<H", record, at + 32)[0] : at + length]
    try:
        return decode_mapping_pairs(pairs, vcn, access.geometry.cluster_count)
    except ValueError as exc:
        raise access.damaged(offset, str(exc)) from exc


def _list_content(access: VolumeBytes, record: bytes, at: int, length: int, offset: int) -> bytes:
    if record[at + 8] == 0:
        size, value = struct.unpack_from("<IH", record, at + 16)
        if value + size > length:
            raise access.damaged(offset, "The attribute list of the master file table is cut off.")
        return record[at + value : at + value + size]
    extents = _data_extents(access, record, (at, length), offset=offset, vcn=0)
    size = struct.unpack_from("<Q", record, at + 48)[0]
    if size > 256 << 10:
        raise access.damaged(offset, "The attribute list of the master file table is too long.")
    return read_extents(access, extents, 0, size)


def _extend_table(access: VolumeBytes, extents: list[Extent], listed: bytes) -> None:
    """Follow the attribute list of the table: each part must lie in what is known already.

    Source: Linux-NTFS documentation, "$ATTRIBUTE_LIST".
    """
    size = access.geometry.record_size_bytes
    seen = {0}
    for kind, vcn, number in attribute_list_entries(listed):
        if kind != _AT_DATA or number in seen or vcn == 0:
            continue
        seen.add(number)
        data = read_extents(access, extents, number * size, size)
        record = _single_record(access, data, number * size)
        known = extents[-1].vcn + extents[-1].clusters
        for found, at, length in _attributes(access, record, number * size):
            if found == _AT_DATA and record[at + 9] == 0:
                extents += _data_extents(access, record, (at, length), offset=number * size, vcn=known)


def attribute_list_entries(content: bytes) -> list[tuple[int, int, int]]:
    """Return type, lowest VCN and record number of every entry of an attribute list.

    A broken entry ends the list.
    """
    found: list[tuple[int, int, int]] = []
    at = 0
    while at + 26 <= len(content):
        kind, length = struct.unpack_from("<IH", content, at)
        if length < 26:
            break
        vcn, reference = struct.unpack_from("<QQ", content, at + 8)
        found.append((kind, vcn, reference & RECORD_NUMBER_MASK))
        at += length
    return found
