"""Read the partition table of a disk, whichever kind it has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sekiso.disks.blocks import BlockReader
from sekiso.disks.partitions.gpt import SIGNATURE, read_gpt
from sekiso.disks.partitions.mbr import PROTECTIVE, MbrEntry, parse_entries, read_mbr
from sekiso.disks.partitions.table import Partition, PartitionTable
from sekiso.disks.recognise import recognise_filesystem
from sekiso.errors import DamagedInputError

_BOOT_SECTOR_FILESYSTEMS = ("ntfs", "fat", "exfat", "bitlocker", "refs")


def read_partition_table(blocks: BlockReader, *, sector_bytes: int | None = None) -> PartitionTable:
    """Return the partition table of a disk.

    Args:
        blocks: the whole disk.
        sector_bytes: sector size; found out where left out (by where the GPT lies, else 512).

    Raises:
        DamagedInputError: the table is broken, or a partition lies outside of the disk or on another.
    """
    size = sector_bytes or _find_sector_bytes(blocks)
    sector = blocks.read(0, 512)
    entries = parse_entries(sector)
    if entries is None or _is_boot_sector(blocks, entries):
        return PartitionTable("none", "", (), blocks.size_bytes, size)
    if any(e.type_code == PROTECTIVE for e in entries):
        return _gpt_table(blocks, entries, size)
    signature, partitions = read_mbr(blocks, sector, entries, size)
    notes = ()
    if blocks.read(size, 8) == SIGNATURE:
        notes = ("A GPT stands behind the MBR, but the MBR does not point to it; the MBR was used.",)
    _check_places(blocks, partitions, size, first_lba=1)
    return PartitionTable("mbr", signature, partitions, blocks.size_bytes, size, notes)


def _find_sector_bytes(blocks: BlockReader) -> int:
    own = getattr(blocks, "logical_sector_bytes", 512)
    sizes = (own, *(s for s in (512, 4096) if s != own))
    return next((s for s in sizes if blocks.read(s, 8) == SIGNATURE), own)


def _is_boot_sector(blocks: BlockReader, entries: Sequence[MbrEntry]) -> bool:
    """Whether the disk holds one file system without a table; its boot sector has the MBR's magic too."""
    if any(e.type_code == PROTECTIVE for e in entries):
        return False
    plausible = all(e.first_lba > 0 for e in entries if e.sectors and e.type_code)
    used = any(e.sectors and e.type_code for e in entries)
    return not (used and plausible) and recognise_filesystem(blocks) in _BOOT_SECTOR_FILESYSTEMS


def _gpt_table(blocks: BlockReader, entries: Sequence[MbrEntry], sector_bytes: int) -> PartitionTable:
    header, notes = read_gpt(blocks, sector_bytes)
    if any(e.type_code not in (0, PROTECTIVE) for e in entries):
        notes += ("The MBR is a hybrid; the GPT was used.",)
    usable = blocks.size_bytes // sector_bytes - 1
    if not 1 < header.first_usable_lba <= header.last_usable_lba + 1 or header.last_usable_lba > usable:
        raise DamagedInputError(
            path=blocks.name,
            offset=header.at_lba * sector_bytes,
            reason="The partition table (GPT) claims to use sectors that the disk does not have.",
        )
    _check_places(
        blocks, header.partitions, sector_bytes,
        first_lba=header.first_usable_lba, last_lba=header.last_usable_lba,
    )  # fmt: skip
    return PartitionTable(
        "gpt", str(header.disk_id), header.partitions, blocks.size_bytes, sector_bytes, notes
    )


def _check_places(
    blocks: BlockReader,
    partitions: Sequence[Partition],
    sector_bytes: int,
    *,
    first_lba: int,
    last_lba: int | None = None,
) -> None:
    last = blocks.size_bytes // sector_bytes - 1 if last_lba is None else last_lba
    for p in partitions:
        if p.sectors < 1 or p.first_lba < first_lba or p.last_lba > last:
            raise DamagedInputError(
                path=blocks.name,
                offset=p.first_lba * sector_bytes,
                reason=f"Partition {p.number} lies outside of the disk.",
            )
    ordered = sorted(partitions, key=lambda p: p.first_lba)
    for before, after in pairwise(ordered):
        if after.first_lba <= before.last_lba:
            raise DamagedInputError(
                path=blocks.name,
                offset=after.first_lba * sector_bytes,
                reason=f"Partitions {before.number} and {after.number} overlap.",
            )
