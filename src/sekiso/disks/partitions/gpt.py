"""GUID partition tables: reading with the backup in reserve, and packing.

Source: UEFI specification, chapter 5 (GUID Partition Table Disk Layout).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from sekiso.disks.blocks import BlockReader
from sekiso.disks.partitions.table import Partition, PartitionTable
from sekiso.errors import DamagedInputError

SIGNATURE = b"EFI PART"
ENTRY_COUNT = 128
ENTRY_BYTES = 128
_HEADER = struct.Struct("<8sIIII4Q16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_HEADER_BYTES = 92
_MAX_TABLE_BYTES = 1 << 20
_LEGACY_BOOT = 1 << 2
_NIL = bytes(16)


@dataclass(frozen=True, slots=True)
class GptHeader:
    """An intact header and the entries it vouches for."""

    at_lba: int
    other_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_id: uuid.UUID
    partitions: tuple[Partition, ...]


def read_gpt(blocks: BlockReader, sector_bytes: int) -> tuple[GptHeader, tuple[str, ...]]:
    """Return the table in force, and notes.

    Raises:
        DamagedInputError: primary and backup are both broken.
    """
    last_lba = blocks.size_bytes // sector_bytes - 1
    primary = _read_header(blocks, 1, sector_bytes)
    backup = _read_header(blocks, last_lba, sector_bytes)
    notes: list[str] = []
    if primary is None:
        if backup is None:
            raise DamagedInputError(
                path=blocks.name,
                offset=sector_bytes,
                reason="The primary partition table (GPT) and its backup are both broken.",
            )
        return backup, ("The primary partition table (GPT) is broken; its backup was used.",)
    if backup is None:
        elsewhere = primary.other_lba not in (1, last_lba)
        moved = _read_header(blocks, primary.other_lba, sector_bytes) if elsewhere else None
        notes.append(
            "The disk was enlarged: the backup partition table (GPT) is not at its end."
            if moved
            else "The backup partition table (GPT) is missing or broken."
        )
    elif backup.partitions != primary.partitions or backup.disk_id != primary.disk_id:
        notes.append("The primary partition table (GPT) and its backup differ; the primary was used.")
    return primary, tuple(notes)


def _read_header(blocks: BlockReader, lba: int, sector_bytes: int) -> GptHeader | None:
    """Return the header at `lba`, None if it or its entries are broken."""
    if lba < 1 or (lba + 1) * sector_bytes > blocks.size_bytes:
        return None
    raw = blocks.read(lba * sector_bytes, sector_bytes)
    if raw[:8] != SIGNATURE:
        return None
    (
        _signature, _revision, size, crc, _reserved, my_lba, other, first, last, guid,
        table_lba, count, entry_bytes, table_crc,
    ) = _HEADER.unpack_from(raw)  # fmt: skip
    if not _HEADER_BYTES <= size <= sector_bytes or my_lba != lba:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != crc:
        return None
    if entry_bytes < ENTRY_BYTES or entry_bytes % 8 or count * entry_bytes > _MAX_TABLE_BYTES:
        return None
    table = blocks.read(table_lba * sector_bytes, count * entry_bytes)
    if len(table) != count * entry_bytes or zlib.crc32(table) != table_crc:
        return None
    partitions = _parse_entries(table, entry_bytes)
    return GptHeader(lba, other, first, last, uuid.UUID(bytes_le=guid), partitions)


def _parse_entries(table: bytes, entry_bytes: int) -> tuple[Partition, ...]:
    found: list[Partition] = []
    for number, at in enumerate(range(0, len(table), entry_bytes), 1):
        kind, unique, first, last, attributes, name = _ENTRY.unpack_from(table, at)
        if kind == _NIL:
            continue
        found.append(
            Partition(
                number=number,
                first_lba=first,
                sectors=last - first + 1,
                type_id=str(uuid.UUID(bytes_le=kind)),
                unique_id=str(uuid.UUID(bytes_le=unique)),
                name=name.decode("utf-16-le", "replace").split("\0", 1)[0],
                bootable=bool(attributes & _LEGACY_BOOT),
                attributes=attributes,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class GptLayout:
    """Where the parts of a table lie on a disk of a certain size.

    Attributes:
        table_sectors: length of the entries.
        last_lba: last sector of the disk, where the backup header lies.
        first_usable_lba: first sector that partitions may use.
        last_usable_lba: last sector that partitions may use.
    """

    table_sectors: int
    last_lba: int
    first_usable_lba: int
    last_usable_lba: int

    @staticmethod
    def of(disk_bytes: int, sector_bytes: int) -> GptLayout:
        """Return the layout with the usual 128 entries."""
        table = -(-ENTRY_COUNT * ENTRY_BYTES // sector_bytes)
        last = disk_bytes // sector_bytes - 1
        return GptLayout(table, last, 2 + table, last - table - 1)


def pack_gpt(table: PartitionTable) -> tuple[bytes, bytes]:
    """Return what stands from LBA 1 on (header, entries) and at the end of the disk (entries, header)."""
    layout = GptLayout.of(table.disk_bytes, table.sector_bytes)
    entries = bytearray(ENTRY_COUNT * ENTRY_BYTES)
    for p in table.partitions:
        attributes = p.attributes | (_LEGACY_BOOT if p.bootable else 0)
        _ENTRY.pack_into(
            entries, (p.number - 1) * ENTRY_BYTES,
            uuid.UUID(p.type_id).bytes_le, uuid.UUID(p.unique_id).bytes_le,
            p.first_lba, p.last_lba, attributes, p.name.encode("utf-16-le"),
        )  # fmt: skip
    body = bytes(entries).ljust(layout.table_sectors * table.sector_bytes, b"\0")
    crc = zlib.crc32(bytes(entries))
    backup_table = layout.last_lba - layout.table_sectors
    primary = _pack_header(table, layout, 1, layout.last_lba, 2, crc)
    backup = _pack_header(table, layout, layout.last_lba, 1, backup_table, crc)
    return primary + body, body + backup


def _pack_header(
    table: PartitionTable, layout: GptLayout, lba: int, other: int, entries_lba: int, entries_crc: int
) -> bytes:
    raw = bytearray(table.sector_bytes)
    _HEADER.pack_into(
        raw, 0, SIGNATURE, 0x00010000, _HEADER_BYTES, 0, 0, lba, other,
        layout.first_usable_lba, layout.last_usable_lba, uuid.UUID(table.disk_id).bytes_le,
        entries_lba, ENTRY_COUNT, ENTRY_BYTES, entries_crc,
    )  # fmt: skip
    struct.pack_into("<I", raw, 16, zlib.crc32(bytes(raw[:_HEADER_BYTES])))
    return bytes(raw)
