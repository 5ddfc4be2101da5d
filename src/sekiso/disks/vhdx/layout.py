"""The fixed structures of a VHDX file: identifier, headers, region tables, metadata, parent locator.

Source: [MS-VHDX] 2.2 (headers, region table), 2.6 (metadata). All integers are little-endian.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from sekiso.disks.crc32c import crc32c
from sekiso.errors import DamagedInputError, UnsupportedInputError

KIB = 1 << 10
MIB = 1 << 20
SIGNATURE = b"vhdxfile"
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
HEADER_BYTES = 4 * KIB
REGION_OFFSETS = (192 * KIB, 256 * KIB)
TABLE_BYTES = 64 * KIB
#: The first MiB belongs to the headers.
HEADER_AREA_BYTES = MIB
MAX_LOG_BYTES = 256 * MIB
#: Twice the largest disk: no valid file is longer.
MAX_FILE_BYTES = 128 << 40

BAT_REGION = uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA_REGION = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
FILE_PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
VIRTUAL_DISK_SIZE = uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
VIRTUAL_DISK_ID = uuid.UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL_SECTOR_SIZE = uuid.UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SECTOR_SIZE = uuid.UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT_LOCATOR = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
VHDX_PARENT = uuid.UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")
NIL = uuid.UUID(int=0)

_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")
_REGION = struct.Struct("<16sQII")
_ITEM = struct.Struct("<16sIII4x")
#: Item id → its exact length; None where it varies.
_KNOWN_ITEMS: dict[uuid.UUID, int | None] = {
    FILE_PARAMETERS: 8,
    VIRTUAL_DISK_SIZE: 8,
    VIRTUAL_DISK_ID: 16,
    LOGICAL_SECTOR_SIZE: 4,
    PHYSICAL_SECTOR_SIZE: 4,
    PARENT_LOCATOR: None,
}
_MAX_ITEM_BYTES = MIB

#: Reads exactly so many bytes at an offset of the file, or raises DamagedInputError.
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Header:
    """One of the two headers; the valid one with the higher sequence number is in force.

    Attributes:
        sequence: higher is newer.
        file_write_id: changes when the file is modified at all.
        data_write_id: changes when the disk's content may have changed; what a child's parent_linkage names.
        log_id: entries of the log that bear it count; nil when there is nothing to replay.
        log_offset: where the log lies.
        log_bytes: its length.
    """

    sequence: int
    file_write_id: uuid.UUID
    data_write_id: uuid.UUID
    log_id: uuid.UUID
    log_offset: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the file that a region table names."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """First byte after it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the metadata region says of the disk.

    Attributes:
        block_bytes: payload block size.
        keeps_blocks: blocks stay allocated: a fixed disk.
        has_parent: a differencing disk.
        size_bytes: virtual size.
        size_offset: where in the file the virtual size is written.
        disk_id: SCSI identifier of the disk (page 83).
        logical_sector_bytes: 512 or 4096.
        physical_sector_bytes: 512 or 4096.
        locator: the parent locator's keys and values, empty without a parent.
        notes: things worth telling.
    """

    block_bytes: int
    keeps_blocks: bool
    has_parent: bool
    size_bytes: int
    size_offset: int
    disk_id: uuid.UUID
    logical_sector_bytes: int
    physical_sector_bytes: int
    locator: dict[str, str]
    notes: tuple[str, ...] = ()


def _damaged(path: str, offset: int, reason: str) -> DamagedInputError:
    return DamagedInputError(path=path, offset=offset, reason=reason)


def checksum_of(block: bytes) -> int:
    """CRC-32C of a structure whose checksum field (bytes 4 to 7) counts as zero."""
    return crc32c(block[:4] + bytes(4) + block[8:])


def _sealed(block: bytes) -> bool:
    return checksum_of(block) == int.from_bytes(block[4:8], "little")


def seal(block: bytearray) -> bytes:
    """Fill in the checksum of a header, region table or log entry."""
    block[4:8] = checksum_of(bytes(block)).to_bytes(4, "little")
    return bytes(block)


def pack_header(header: Header) -> bytes:
    """Return the 4 KiB of a header."""
    block = bytearray(HEADER_BYTES)
    _HEADER.pack_into(
        block, 0, b"head", 0, header.sequence,
        header.file_write_id.bytes_le, header.data_write_id.bytes_le, header.log_id.bytes_le,
        0, 1, header.log_bytes, header.log_offset,
    )  # fmt: skip
    return seal(block)


def read_headers(read: ReadAt, path: str) -> tuple[Header, int, tuple[str, ...]]:
    """Return the header in force, the index of its copy (0 or 1), and notes.

    Raises:
        DamagedInputError: neither header is valid, or two different ones claim the same sequence number.
        UnsupportedInputError: the version is unknown.
    """
    blocks = [read(offset, HEADER_BYTES) for offset in HEADER_OFFSETS]
    valid = [i for i, b in enumerate(blocks) if b[:4] == b"head" and _sealed(b)]
    if not valid:
        raise _damaged(path, HEADER_OFFSETS[0], "Both headers of the VHDX file are broken.")
    sequences = {i: int.from_bytes(blocks[i][8:16], "little") for i in valid}
    current = max(valid, key=lambda i: (sequences[i], -i))
    if len(valid) == 2 and sequences[0] == sequences[1] and blocks[0] != blocks[1]:
        raise _damaged(
            path,
            HEADER_OFFSETS[1],
            "The two headers differ but have the same sequence number, so neither is newer.",
        )
    notes = () if len(valid) == 2 else (f"Header {2 - valid[0]} is broken; the other one was used.",)
    return _parse_header(blocks[current], path, HEADER_OFFSETS[current]), current, notes


def _parse_header(block: bytes, path: str, at: int) -> Header:
    _sig, _crc, sequence, file_id, data_id, log_id, log_version, version, log_bytes, log_offset = (
        _HEADER.unpack_from(block)
    )
    if version != 1 or log_version != 0:
        raise UnsupportedInputError(
            path=path,
            reason=f"The VHDX has format version {version} and log version {log_version}, not 1 and 0.",
            remedy="Convert it on a Hyper-V server with Convert-VHD.",
        )
    if log_bytes % MIB or log_offset % MIB or log_offset < HEADER_AREA_BYTES or not log_bytes:
        raise _damaged(path, at, "The log's place or length is not a multiple of 1 MiB.")
    if log_bytes > MAX_LOG_BYTES:
        raise UnsupportedInputError(
            path=path,
            reason=f"The VHDX log is {log_bytes} bytes long; up to {MAX_LOG_BYTES} are read.",
            remedy="Convert it on a Hyper-V server with Convert-VHD.",
        )
    file_id, data_id, log_id = (uuid.UUID(bytes_le=b) for b in (file_id, data_id, log_id))
    return Header(sequence, file_id, data_id, log_id, log_offset, log_bytes)


def pack_regions(bat: Region, metadata: Region) -> bytes:
    """Return the 64 KiB of a region table."""
    block = bytearray(TABLE_BYTES)
    struct.pack_into("<4sIII", block, 0, b"regi", 0, 2, 0)
    for i, (guid, region) in enumerate(((BAT_REGION, bat), (METADATA_REGION, metadata))):
        _REGION.pack_into(block, 16 + 32 * i, guid.bytes_le, region.offset, region.length, 1)
    return seal(block)


def read_regions(read: ReadAt, path: str, file_bytes: int) -> tuple[Region, Region, tuple[str, ...]]:
    """Return the BAT region, the metadata region, and notes.

    Raises:
        DamagedInputError: both tables are broken, or a region is out of place.
        UnsupportedInputError: a region that must be understood is unknown.
    """
    blocks = [read(offset, TABLE_BYTES) for offset in REGION_OFFSETS]
    valid = [i for i, b in enumerate(blocks) if b[:4] == b"regi" and _sealed(b)]
    if not valid:
        raise _damaged(path, REGION_OFFSETS[0], "Both region tables of the VHDX file are broken.")
    notes: list[str] = []
    if len(valid) == 1:
        notes.append(f"Region table {2 - valid[0]} is broken; the other one was used.")
    at = REGION_OFFSETS[valid[0]]
    found = _parse_regions(blocks[valid[0]], path, at, file_bytes, notes)
    if BAT_REGION not in found or METADATA_REGION not in found:
        raise _damaged(path, at, "The region table names no block allocation table or no metadata.")
    return found[BAT_REGION], found[METADATA_REGION], tuple(notes)


def _parse_regions(
    block: bytes, path: str, at: int, file_bytes: int, notes: list[str]
) -> dict[uuid.UUID, Region]:
    count = int.from_bytes(block[8:12], "little")
    if count > (TABLE_BYTES - 16) // 32:
        raise _damaged(path, at, f"The region table claims {count} entries, more than fit.")
    found: dict[uuid.UUID, Region] = {}
    for i in range(count):
        raw_id, offset, length, flags = _REGION.unpack_from(block, 16 + 32 * i)
        guid = uuid.UUID(bytes_le=raw_id)
        if offset % MIB or length % MIB or offset < HEADER_AREA_BYTES or not length:
            raise _damaged(path, at, f"Region {guid} is not placed on whole MiB after the headers.")
        if offset + length > file_bytes:
            raise _damaged(path, at, f"Region {guid} ends after the end of the file.")
        if guid in found:
            raise _damaged(path, at, f"Region {guid} is named twice.")
        if guid not in (BAT_REGION, METADATA_REGION):
            if flags & 1:
                raise UnsupportedInputError(
                    path=path,
                    reason=f"The file has a region of unknown kind {guid} that must be understood.",
                    remedy="Convert it on a Hyper-V server with Convert-VHD.",
                )
            notes.append(f"A region of unknown kind {guid} was ignored.")
        found[guid] = Region(offset, length)
    _refuse_overlaps(found, path, at)
    return found


def _refuse_overlaps(regions: dict[uuid.UUID, Region], path: str, at: int) -> None:
    ordered = sorted(regions.values(), key=lambda r: r.offset)
    for before, after in pairwise(ordered):
        if after.offset < before.end:
            raise _damaged(path, at, "Two regions of the file overlap.")


def read_metadata(read: ReadAt, path: str, region: Region) -> Metadata:
    """Return what the metadata region says.

    Raises:
        DamagedInputError: the table or an item is broken, missing or out of range.
        UnsupportedInputError: an item that must be understood is unknown.
    """
    notes: list[str] = []
    places = _item_places(read(region.offset, TABLE_BYTES), path, region, notes)
    items = {guid: read(*place) for guid, place in places.items()}
    for guid in _KNOWN_ITEMS.keys() - {PARENT_LOCATOR}:
        if guid not in items:
            raise _damaged(path, region.offset, f"The metadata item {guid} is missing.")
    block_bytes, flags = struct.unpack("<II", items[FILE_PARAMETERS])
    has_parent = bool(flags & 2)
    if has_parent and PARENT_LOCATOR not in items:
        raise _damaged(path, region.offset, "The disk is a differencing disk but names no parent.")
    metadata = Metadata(
        block_bytes=block_bytes,
        keeps_blocks=bool(flags & 1),
        has_parent=has_parent,
        size_bytes=int.from_bytes(items[VIRTUAL_DISK_SIZE], "little"),
        size_offset=places[VIRTUAL_DISK_SIZE][0],
        disk_id=uuid.UUID(bytes_le=items[VIRTUAL_DISK_ID]),
        logical_sector_bytes=int.from_bytes(items[LOGICAL_SECTOR_SIZE], "little"),
        physical_sector_bytes=int.from_bytes(items[PHYSICAL_SECTOR_SIZE], "little"),
        locator={},
        notes=tuple(notes),
    )
    _check_metadata(metadata, path, region.offset)
    if not has_parent:
        return metadata
    return replace(metadata, locator=parse_locator(items[PARENT_LOCATOR], path, places[PARENT_LOCATOR][0]))


def _item_places(
    table: bytes, path: str, region: Region, notes: list[str]
) -> dict[uuid.UUID, tuple[int, int]]:
    at = region.offset
    count = int.from_bytes(table[10:12], "little")
    if table[:8] != b"metadata" or count > 1023:
        raise _damaged(path, at, "The metadata table is broken.")
    places: dict[uuid.UUID, tuple[int, int]] = {}
    for i in range(count):
        raw_id, offset, length, flags = _ITEM.unpack_from(table, 32 + 32 * i)
        guid = uuid.UUID(bytes_le=raw_id)
        if guid not in _KNOWN_ITEMS or flags & 1:  # flag 1: an item of the user's own
            if flags & 4:
                raise UnsupportedInputError(
                    path=path,
                    reason=f"The metadata item {guid} is unknown and must be understood.",
                    remedy="Convert it on a Hyper-V server with Convert-VHD.",
                )
            notes.append(f"The metadata item {guid} was ignored.")
            continue
        exact = _KNOWN_ITEMS[guid]
        if offset < TABLE_BYTES or offset + length > region.length or length > _MAX_ITEM_BYTES:
            raise _damaged(path, at, f"The metadata item {guid} lies outside of its region.")
        if guid in places or (exact is not None and length != exact):
            raise _damaged(path, at, f"The metadata item {guid} is repeated or has a wrong length.")
        places[guid] = (region.offset + offset, length)
    return places


def _check_metadata(metadata: Metadata, path: str, at: int) -> None:
    block = metadata.block_bytes
    if block & (block - 1) or not MIB <= block <= 256 * MIB:
        raise _damaged(path, at, f"The block size of {block} bytes is no power of two from 1 MiB to 256 MiB.")
    for sector in (metadata.logical_sector_bytes, metadata.physical_sector_bytes):
        if sector not in (512, 4096):
            raise _damaged(path, at, f"A sector size of {sector} bytes is not allowed.")
    size = metadata.size_bytes
    if not 0 < size <= 64 << 40 or size % metadata.logical_sector_bytes:
        raise _damaged(path, at, f"The virtual size of {size} bytes is not allowed.")


def parse_locator(item: bytes, path: str, at: int) -> dict[str, str]:
    """Return the keys and values of a parent locator.

    Source: [MS-VHDX] 2.6.2.6.

    Raises:
        DamagedInputError: it is broken.
        UnsupportedInputError: the parent is of another kind than VHDX.
    """
    if len(item) < 20:
        raise _damaged(path, at, "The parent locator is too short.")
    kind = uuid.UUID(bytes_le=item[:16])
    if kind != VHDX_PARENT:
        raise UnsupportedInputError(
            path=path,
            reason=f"The disk's parent is of unknown kind {kind}.",
            remedy="Merge the disk into its parent on a Hyper-V server.",
        )
    count = int.from_bytes(item[18:20], "little")
    out: dict[str, str] = {}
    for i in range(count):
        if 20 + 12 * i + 12 > len(item):
            raise _damaged(path, at, "The parent locator has more entries than fit.")
        key_at, value_at, key_len, value_len = struct.unpack_from("<IIHH", item, 20 + 12 * i)
        if key_at + key_len > len(item) or value_at + value_len > len(item):
            raise _damaged(path, at, "An entry of the parent locator lies outside of it.")
        key = item[key_at : key_at + key_len].decode("utf-16-le", "replace")
        out[key] = item[value_at : value_at + value_len].decode("utf-16-le", "replace")
    return out


def pack_locator(entries: dict[str, str]) -> bytes:
    """Return a parent locator item with these keys and values."""
    texts = [t.encode("utf-16-le") for pair in entries.items() for t in pair]
    head = bytearray(VHDX_PARENT.bytes_le + struct.pack("<HH", 0, len(entries)))
    at = 20 + 12 * len(entries)
    for key, value in zip(texts[::2], texts[1::2], strict=True):
        head += struct.pack("<IIHH", at, at + len(key), len(key), len(value))
        at += len(key) + len(value)
    return bytes(head) + b"".join(texts)


def pack_metadata(
    *, size_bytes: int, block_bytes: int, fixed: bool, disk_id: uuid.UUID,
    logical_sector_bytes: int, physical_sector_bytes: int, locator: dict[str, str] | None = None,
) -> bytes:  # fmt: skip
    """Return the used part of a metadata region: the table and its items."""
    flags = (1 if fixed else 0) | (2 if locator else 0)
    items: list[tuple[uuid.UUID, bytes, int]] = [
        (FILE_PARAMETERS, struct.pack("<II", block_bytes, flags), 4),
        (VIRTUAL_DISK_SIZE, struct.pack("<Q", size_bytes), 6),
        (VIRTUAL_DISK_ID, disk_id.bytes_le, 6),
        (LOGICAL_SECTOR_SIZE, struct.pack("<I", logical_sector_bytes), 6),
        (PHYSICAL_SECTOR_SIZE, struct.pack("<I", physical_sector_bytes), 6),
    ]
    if locator:
        items.append((PARENT_LOCATOR, pack_locator(locator), 4))
    table = bytearray(TABLE_BYTES)
    struct.pack_into("<8sHH", table, 0, b"metadata", 0, len(items))
    body = b""
    for i, (guid, value, flag) in enumerate(items):
        _ITEM.pack_into(table, 32 + 32 * i, guid.bytes_le, TABLE_BYTES + len(body), len(value), flag)
        body += value
    return bytes(table) + body
