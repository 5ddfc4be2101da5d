"""Master boot records: reading, with logical partitions, and packing.

Source: the PC's MBR as the UEFI specification describes it (section "LBA 0 Format"); extended boot records
as Windows and Linux read them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sekiso.disks.blocks import BlockReader
from sekiso.disks.partitions.table import Partition
from sekiso.errors import DamagedInputError

ENTRIES_OFFSET = 446
SIGNATURE_OFFSET = 440
BOOT_CODE_BYTES = 440
MAGIC = b"\x55\xaa"
_ENTRY = struct.Struct("<B3sB3sII")
_EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
_MAX_LOGICAL = 256


@dataclass(frozen=True, slots=True)
class MbrEntry:
    """One of the four entries of a boot record."""

    status: int
    type_code: int
    first_lba: int
    sectors: int


def parse_entries(sector: bytes) -> tuple[MbrEntry, ...] | None:
    """Return the four entries of a boot record, None if the sector is none."""
    if len(sector) < 512 or sector[510:512] != MAGIC:
        return None
    entries: list[MbrEntry] = []
    for i in range(4):
        status, _first, code, _last, lba, count = _ENTRY.unpack_from(sector, ENTRIES_OFFSET + 16 * i)
        if status not in (0, 0x80):
            return None
        entries.append(MbrEntry(status, code, lba, count))
    return tuple(entries)


def read_mbr(
    blocks: BlockReader, sector: bytes, entries: tuple[MbrEntry, ...], sector_bytes: int
) -> tuple[str, tuple[Partition, ...]]:
    """Return signature and partitions.

    Raises:
        DamagedInputError: an extended partition's chain is broken.
    """
    signature = f"{int.from_bytes(sector[SIGNATURE_OFFSET : SIGNATURE_OFFSET + 4], 'little'):08x}"
    found: list[Partition] = []
    logical: list[Partition] = []
    for number, entry in enumerate(entries, 1):
        if entry.type_code in _EXTENDED and entry.sectors:
            logical += _read_logical(blocks, entry, signature, sector_bytes, 5 + len(logical))
        elif entry.type_code and entry.sectors:
            found.append(_partition(number, entry, entry.first_lba, signature))
    return signature, (*found, *logical)


def _partition(number: int, entry: MbrEntry, first_lba: int, signature: str) -> Partition:
    return Partition(
        number=number,
        first_lba=first_lba,
        sectors=entry.sectors,
        type_id=f"{entry.type_code:02x}",
        unique_id=f"{signature}-{number:02x}",
        bootable=entry.status == 0x80,
    )


def _read_logical(
    blocks: BlockReader, extended: MbrEntry, signature: str, sector_bytes: int, number: int
) -> list[Partition]:
    """Follow the chain of extended boot records; it must stay in its partition and come to an end."""
    found: list[Partition] = []
    seen: set[int] = set()
    base, end = extended.first_lba, extended.first_lba + extended.sectors
    at = base
    while True:
        if at in seen or not base <= at < end or len(seen) >= _MAX_LOGICAL:
            raise DamagedInputError(
                path=blocks.name,
                offset=at * sector_bytes,
                reason="The chain of logical partitions leaves its extended partition or never ends.",
            )
        seen.add(at)
        entries = parse_entries(blocks.read(at * sector_bytes, 512))
        if entries is None:
            raise DamagedInputError(
                path=blocks.name, offset=at * sector_bytes, reason="An extended boot record is broken."
            )
        first = entries[0]
        if first.type_code and first.sectors:
            found.append(_partition(number + len(found), first, at + first.first_lba, signature))
            if found[-1].last_lba >= end:
                raise DamagedInputError(
                    path=blocks.name,
                    offset=at * sector_bytes,
                    reason="A logical partition ends after its extended partition.",
                )
        following = entries[1]
        if following.type_code not in _EXTENDED or not following.sectors:
            return found
        at = base + following.first_lba


def pack_entry(*, status: int, type_code: int, first_lba: int, sectors: int) -> bytes:
    """Return one entry, with the cylinders, heads and sectors of a disk of 255 heads and 63 sectors."""
    return _ENTRY.pack(
        status, chs_bytes(first_lba), type_code, chs_bytes(first_lba + sectors - 1), first_lba, sectors
    )


def chs_bytes(lba: int) -> bytes:
    """Return the three bytes of a cylinder-head-sector address; past its limit 1023/254/63.

    The geometry is the one that BIOSes assume for large disks (255 heads, 63 sectors per track).
    """
    cylinder, rest = divmod(lba, 255 * 63)
    head, sector = divmod(rest, 63)
    sector += 1
    if cylinder > 1023:
        cylinder, head, sector = 1023, 254, 63
    return bytes((head, sector | (cylinder >> 2) & 0xC0, cylinder & 0xFF))
