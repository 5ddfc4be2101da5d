"""Security descriptors: $Secure by id, and those that a file has of its own."""

from __future__ import annotations

import struct

from sekiso.disks.ntfs.content import Stream
from sekiso.disks.ntfs.geometry import VolumeBytes
from sekiso.disks.ntfs.records import read_extents

SECURE_RECORD = 9
_BLOCK_BYTES = 256 << 10
_HEADER_BYTES = 20
_MAX_SDS_BYTES = 64 << 20
_MAX_DESCRIPTOR_BYTES = 64 << 10
_SELF_RELATIVE = 0x8000


class SecurityStore:
    """The descriptors of $Secure by their ids.

    Source: Linux-NTFS documentation, "$Secure": `$SDS` holds entries of hash, id, offset and length, aligned
    to 16 bytes, in blocks of 256 KiB of which every second is the copy of the one before.
    """

    def __init__(self, access: VolumeBytes, sds: Stream | None) -> None:
        self._access = access
        self._sds = sds
        self._known: dict[int, bytes | None] = {}
        self._places = {} if sds is None or sds.value is not None else self._index(sds)

    def ids(self) -> frozenset[int]:
        """Return every id that has a descriptor."""
        return frozenset(self._places)

    def get(self, security_id: int) -> bytes | None:
        """Return a descriptor, or None if there is none of that id or both its copies are damaged."""
        if security_id not in self._known:
            self._known[security_id] = self._read(security_id)
        return self._known[security_id]

    def _index(self, sds: Stream) -> dict[int, tuple[int, int]]:
        if sds.size_bytes > _MAX_SDS_BYTES:
            raise self._access.damaged(0, "The list of security descriptors is too long.")
        places: dict[int, tuple[int, int]] = {}
        for block in range(0, sds.size_bytes, 2 * _BLOCK_BYTES):
            self._index_block(sds, block, block, places)
            if block + _BLOCK_BYTES < sds.size_bytes:
                self._index_block(sds, block + _BLOCK_BYTES, block, places)
        return places

    def _index_block(self, sds: Stream, start: int, primary: int, places: dict[int, tuple[int, int]]) -> None:
        data = read_extents(self._access, sds.extents, start, min(_BLOCK_BYTES, sds.size_bytes - start))
        at = 0
        while at + _HEADER_BYTES <= len(data):
            _, security_id, offset, length = struct.unpack_from("<IIQI", data, at)
            if offset != primary + at or not _HEADER_BYTES < length <= min(
                len(data) - at, _MAX_DESCRIPTOR_BYTES
            ):
                break
            places.setdefault(security_id, (offset, length))
            at += (length + 15) & ~15

    def _read(self, security_id: int) -> bytes | None:
        place = self._places.get(security_id)
        if place is None or self._sds is None:
            return None
        offset, length = place
        for copy in (offset, offset + _BLOCK_BYTES):
            if copy + length > self._sds.size_bytes:
                continue
            entry = read_extents(self._access, self._sds.extents, copy, length)
            stored_hash, stored_id = struct.unpack_from("<II", entry)
            body = entry[_HEADER_BYTES:]
            if stored_id == security_id and stored_hash == descriptor_hash(body):
                return trim_descriptor(body)
        return None


def descriptor_hash(body: bytes) -> int:
    """Return the hash that $Secure keeps beside a descriptor.

    Source: Linux-NTFS documentation, "$Secure", "Security descriptor hash".
    """
    value = 0
    for (word,) in struct.iter_unpack("<I", body[: len(body) & ~3]):
        value = (word + (value << 3 | value >> 29)) & 0xFFFFFFFF
    return value


def trim_descriptor(body: bytes) -> bytes | None:
    """Return a self-relative descriptor without what follows its last part; None if it is not well formed.

    Source: [MS-DTYP] 2.4.6.
    """
    if len(body) < _HEADER_BYTES or body[0] != 1:
        return None
    control, *places = struct.unpack_from("<HIIII", body, 2)
    if not control & _SELF_RELATIVE:
        return None
    end = _HEADER_BYTES
    for index, place in enumerate(places):
        if place == 0:
            continue
        if place < _HEADER_BYTES or place + 8 > len(body):
            return None
        # owner and group are SIDs, SACL and DACL are lists that begin with revision, pad, size
        is_sid = index < 2
        size = 8 + 4 * body[place + 1] if is_sid else struct.unpack_from("<H", body, place + 2)[0]
        end = max(end, place + size)
    return body[:end] if end <= len(body) else None
