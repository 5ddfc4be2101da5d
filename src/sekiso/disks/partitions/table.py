"""What a partition table is, and the type identifiers that Sekiso meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sekiso.disks.blocks import BlockReader, SliceBlocks

Scheme = Literal["mbr", "gpt", "none"]

# GPT types, lower case. Source: UEFI specification, table "Defined GPT Partition Entry - Partition Type
# GUIDs"; Microsoft, PARTITION_INFORMATION_GPT; Discoverable Partitions Specification.
GPT_ESP: Final = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
GPT_BIOS_BOOT: Final = "21686148-6449-6e6f-744e-656564454649"
GPT_MICROSOFT_RESERVED: Final = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
GPT_BASIC_DATA: Final = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
GPT_WINDOWS_RECOVERY: Final = "de94bba4-06d1-4d40-a16a-bfd50179d6ac"
GPT_LINUX: Final = "0fc63daf-8483-4772-8e79-3d69d8477de4"
GPT_LINUX_ROOT_X86_64: Final = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
GPT_LINUX_SWAP: Final = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
# MBR types, two hexadecimal digits.
MBR_NTFS: Final = "07"
MBR_FAT32_LBA: Final = "0c"
MBR_WINDOWS_RECOVERY: Final = "27"
MBR_LINUX_SWAP: Final = "82"
MBR_LINUX: Final = "83"
MBR_GPT_PROTECTIVE: Final = "ee"
MBR_ESP: Final = "ef"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes:
        number: as the operating systems count: from 1; logical partitions of an MBR from 5.
        first_lba: first sector.
        sectors: length in sectors.
        type_id: GPT: type GUID in lower case; MBR: two hexadecimal digits.
        unique_id: GPT: unique GUID in lower case; MBR: signature and number, as Linux's PARTUUID.
        name: GPT: name; MBR: empty.
        bootable: MBR: the active flag; GPT: the legacy-boot attribute.
        attributes: GPT: the 64 attribute bits; MBR: 0.
    """

    number: int
    first_lba: int
    sectors: int
    type_id: str
    unique_id: str = ""
    name: str = ""
    bootable: bool = False
    attributes: int = 0

    @property
    def last_lba(self) -> int:
        """Last sector."""
        return self.first_lba + self.sectors - 1


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """A disk's partitions, in the order of their numbers.

    Attributes:
        scheme: `mbr`, `gpt`, or `none` for a disk without a table.
        disk_id: GPT: disk GUID in lower case; MBR: signature as eight hexadecimal digits; else empty.
        partitions: the partitions; an MBR's extended partition itself is left out.
        disk_bytes: size of the disk.
        sector_bytes: unit of the sector numbers.
        notes: things worth telling (a broken primary table, a hybrid MBR).
    """

    scheme: Scheme
    disk_id: str
    partitions: tuple[Partition, ...]
    disk_bytes: int
    sector_bytes: int = 512
    notes: tuple[str, ...] = ()

    def offset_bytes(self, partition: Partition) -> int:
        """Where a partition begins, in bytes."""
        return partition.first_lba * self.sector_bytes

    def size_bytes(self, partition: Partition) -> int:
        """Length of a partition in bytes."""
        return partition.sectors * self.sector_bytes

    def open(self, blocks: BlockReader, partition: Partition) -> SliceBlocks:
        """Return the content of a partition of the disk `blocks`."""
        return SliceBlocks(
            blocks,
            self.offset_bytes(partition),
            self.size_bytes(partition),
            label=f"partition {partition.number}",
        )
