"""The index of object ids, which alone knows where an object was born."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from sekiso.disks.ntfs import scan
from sekiso.disks.ntfs.content import read_all
from sekiso.disks.ntfs.inode import FileTable
from sekiso.disks.ntfs.records import RECORD_NUMBER_MASK, undo_block_fixups

#: Object id, birth volume id, birth object id, domain id.
OBJECT_ID_BYTES = 64
_INDEX_LIMIT_BYTES = 64 << 20
_ROOT_LIMIT_BYTES = 64 << 10
_KEY_BYTES, _DATA_BYTES = 16, 56
_LAST_ENTRY = 2


def read_births(table: FileTable, index_record: int) -> dict[tuple[int, int], bytes]:
    """Return the 48 bytes of birth ids of every file by its record number and sequence number.

    Args:
        table: the volume's file table.
        index_record: record number of `$Extend/$ObjId`.

    Raises:
        DamagedInputError: the index is broken or too long.

    Source: Linux-NTFS documentation, "$ObjId" and "Index header".
    """
    access = table.access
    births: dict[tuple[int, int], bytes] = {}
    root = table.streams_of(index_record, scan.INDEX_ROOT).get("$O")
    if root is None:
        return births
    content = read_all(access, root, _ROOT_LIMIT_BYTES)
    if len(content) < 32:
        return births
    block_bytes = struct.unpack_from("<I", content, 8)[0]
    _collect(content, 16, births)
    blocks = table.streams_of(index_record, scan.INDEX_ALLOCATION).get("$O")
    if blocks is not None and 512 <= block_bytes <= 1 << 16 and block_bytes % 512 == 0:
        data = read_all(access, blocks, _INDEX_LIMIT_BYTES)
        for at in range(0, len(data) - block_bytes + 1, block_bytes):
            block = _whole_block(data[at : at + block_bytes])
            if block is not None:
                _collect(block, 24, births)
    return births


def _whole_block(block: bytes) -> bytes | None:
    """Return an index block with its fixups undone, None if it is none or torn."""
    if block[:4] != b"INDX":
        return None
    rows = np.frombuffer(bytearray(block), np.uint8).reshape(1, -1)
    return rows.tobytes() if bool(undo_block_fixups(rows, np.zeros(1, np.int64))[0]) else None


def _collect(node: bytes, header: int, births: dict[tuple[int, int], bytes]) -> None:
    for value in _entries(node, header):
        reference = struct.unpack_from("<Q", value)[0]
        births.setdefault((reference & RECORD_NUMBER_MASK, reference >> 48), value[8:_DATA_BYTES])


def _entries(node: bytes, header: int) -> Iterator[bytes]:
    """Yield the data of every entry of an index node whose header lies at `header`."""
    first, used = struct.unpack_from("<II", node, header)
    at, end = header + first, min(header + used, len(node))
    while at + 16 <= end:
        data_at, data_bytes = struct.unpack_from("<HH", node, at)
        length, _, flags = struct.unpack_from("<HHH", node, at + 8)
        if flags & _LAST_ENTRY or length < 16 or at + length > end:
            return
        if data_bytes >= _DATA_BYTES and data_at + data_bytes <= length:
            yield node[at + data_at : at + data_at + data_bytes]
        at += length
