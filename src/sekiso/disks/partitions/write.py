"""Write partition tables and boot code into a raw disk file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sekiso.disks.blocks import BlockReader
from sekiso.disks.fileio import write_all
from sekiso.disks.partitions.gpt import SIGNATURE, pack_gpt
from sekiso.disks.partitions.mbr import (
    BOOT_CODE_BYTES,
    ENTRIES_OFFSET,
    MAGIC,
    PROTECTIVE,
    SIGNATURE_OFFSET,
    pack_entry,
)
from sekiso.disks.partitions.table import Partition, PartitionTable
from sekiso.errors import RuleError

#: Boot code behind the MBR is looked for up to here; the usual first partition begins there.
_MAX_GAP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BootCode:
    """Code that the firmware of a generation 1 machine starts, outside of any partition.

    Attributes:
        mbr: the 440 bytes at the start of the disk.
        gap: what follows the first sector, up to the first partition, zeros at its end left out.
    """

    mbr: bytes
    gap: bytes


def write_partition_table(path: Path, table: PartitionTable) -> None:
    """Write a table into a raw disk file; the boot code in its first 440 bytes is kept.

    Raises:
        RuleError: the file has another size than the table's disk, or the table has logical partitions.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size != table.disk_bytes:
            raise RuleError(
                field="disk_bytes", reason="The table was laid out for a disk of another size.", remedy=""
            )
        if table.scheme == "gpt":
            _write_gpt(fd, table)
        else:
            _write_mbr(fd, table)
    finally:
        os.close(fd)


def _boot_record(fd: int, disk_signature: int, entries: bytes) -> None:
    sector = bytearray(os.pread(fd, 512, 0))
    sector[SIGNATURE_OFFSET:ENTRIES_OFFSET] = disk_signature.to_bytes(4, "little") + bytes(2)
    sector[ENTRIES_OFFSET:510] = entries.ljust(64, b"\0")
    sector[510:512] = MAGIC
    write_all(fd, bytes(sector), 0)


def _write_mbr(fd: int, table: PartitionTable) -> None:
    entries = bytearray(64)
    for p in table.partitions:
        if p.number > 4:
            raise RuleError(field="partitions", reason="Logical partitions are not written.", remedy="")
        entries[16 * (p.number - 1) : 16 * p.number] = _mbr_entry(p)
    _boot_record(fd, int(table.disk_id, 16), bytes(entries))
    last = (table.disk_bytes // table.sector_bytes - 1) * table.sector_bytes
    for at in (table.sector_bytes, last):
        if os.pread(fd, 8, at) == SIGNATURE:  # an older GPT would confuse readers
            write_all(fd, bytes(8), at)


def _mbr_entry(p: Partition) -> bytes:
    return pack_entry(
        status=0x80 if p.bootable else 0,
        type_code=int(p.type_id, 16),
        first_lba=p.first_lba,
        sectors=p.sectors,
    )


def _write_gpt(fd: int, table: PartitionTable) -> None:
    """Backup first, then the primary, then the protective MBR that makes both count."""
    start, end = pack_gpt(table)
    sectors = table.disk_bytes // table.sector_bytes
    write_all(fd, end, sectors * table.sector_bytes - len(end))
    write_all(fd, start, table.sector_bytes)
    # Source: UEFI specification, "Protective MBR": 1 to the end of the disk, at most 0xFFFFFFFF sectors.
    entry = bytearray(
        pack_entry(status=0, type_code=PROTECTIVE, first_lba=1, sectors=min(sectors - 1, 0xFFFFFFFF))
    )
    entry[1:4] = b"\x00\x02\x00"
    if sectors - 1 > 1024 * 255 * 63:
        entry[5:8] = b"\xff\xff\xff"
    _boot_record(fd, 0, bytes(entry))


def write_boot_code(
    path: Path, mbr_code: bytes, *, gap: bytes = b"", gap_limit_bytes: int = _MAX_GAP_BYTES
) -> None:
    """Write the boot code of a generation 1 disk; the partition table is kept.

    Args:
        path: a raw disk file.
        mbr_code: at most 440 bytes for the first sector.
        gap: what follows from the second sector on (GRUB's core, for example).
        gap_limit_bytes: where the first partition begins.

    Raises:
        RuleError: the code is too long.
    """
    if len(mbr_code) > BOOT_CODE_BYTES:
        raise RuleError(field="mbr_code", reason="The boot code has more than 440 bytes.", remedy="")
    if 512 + len(gap) > gap_limit_bytes:
        raise RuleError(
            field="gap", reason="The boot code does not fit in front of the first partition.", remedy=""
        )
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        write_all(fd, mbr_code.ljust(BOOT_CODE_BYTES, b"\0"), 0)
        if gap:
            write_all(fd, gap, 512)
    finally:
        os.close(fd)


def read_boot_code(blocks: BlockReader, table: PartitionTable) -> BootCode:
    """Return the boot code of a disk, so that it can be kept with a layer.

    The gap of a GPT disk is empty: its table lies there.
    """
    mbr = blocks.read(0, BOOT_CODE_BYTES)
    if table.scheme != "mbr":
        return BootCode(mbr, b"")
    first = min((table.offset_bytes(p) for p in table.partitions), default=512)
    gap = blocks.read(512, max(0, min(first, _MAX_GAP_BYTES) - 512))
    return BootCode(mbr, gap.rstrip(b"\0"))
