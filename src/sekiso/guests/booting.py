"""What makes a composed tree start: partitions, boot code, the EFI system partition, edits of the tree."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from sekiso.guests.edits import TreeEdit
from sekiso.model.layer import BootFacts
from sekiso.model.machine import Generation


class Generalization(enum.StrEnum):
    """Whether an image is made anonymous so that many machines can start from it (IM-1)."""

    NONE = "none"
    OFFLINE = "offline"


class PartitionScheme(enum.StrEnum):
    """Partition table of a disk."""

    MBR = "mbr"
    GPT = "gpt"


class PartitionRole(enum.StrEnum):
    """What a partition of an image is for."""

    ESP = "esp"
    MSR = "msr"
    BOOT = "boot"
    ROOT = "root"


@dataclass(frozen=True, slots=True)
class DiskIdentifiers:
    """The identifiers an image's disk will carry; chosen by the engine before anything is written.

    Attributes:
        disk_signature: 32-bit MBR disk signature.
        disk_guid: GPT disk GUID, lower case.
        esp_guid: GPT GUID of the ESP.
        msr_guid: GPT GUID of the reserved partition (Windows).
        root_guid: GPT GUID of the root partition.
        root_filesystem: identifier of the root file system in its own notation (ext4: a UUID in lower
            case; NTFS: 16 upper-case hexadecimal digits).
        esp_volume_id: 32-bit serial number of the ESP's FAT.
    """

    disk_signature: int
    disk_guid: str
    esp_guid: str
    msr_guid: str
    root_guid: str
    root_filesystem: str
    esp_volume_id: int


@dataclass(frozen=True, slots=True)
class BootRequest:
    """What the engine wants to be bootable.

    Attributes:
        generation: Hyper-V generation.
        identifiers: what the disk will be called.
        title: name of the image, for boot menus.
        sector_size_bytes: logical sector size of the disk.
        root_first_lba: first sector of the root partition, where it is known already; else None.
        facts: what the OS layer remembers of its source disk, or None.
    """

    generation: Generation
    identifiers: DiskIdentifiers
    title: str = ""
    sector_size_bytes: int = 512
    root_first_lba: int | None = None
    facts: BootFacts | None = None


@dataclass(frozen=True, slots=True)
class WantedPartition:
    """One partition the image needs, in order on the disk.

    Attributes:
        role: what it is for.
        filesystem: `vfat`, `ext4`, `ntfs`, or empty for none.
        size_bytes: its size; None = all the rest of the disk.
        type_id: GPT type GUID in lower case, or MBR type as two hex digits.
        name: GPT partition name.
        label: label of its file system.
        active: MBR boot flag.
        reason: why it is wanted.
    """

    role: PartitionRole
    filesystem: str
    size_bytes: int | None
    type_id: str
    name: str = ""
    label: str = ""
    active: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DiskBytes:
    """Bytes that go to a fixed place outside every partition (boot code in the gap after the MBR)."""

    first_lba: int
    content: bytes = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EspFile:
    """One file of the EFI system partition; folders above it are made.

    Attributes:
        path: `/EFI/BOOT/BOOTX64.EFI`.
        content: all of its bytes.
        reason: why.
    """

    path: str
    content: bytes = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BootPlan:
    """All that makes a composed tree boot.

    Attributes:
        scheme: partition table.
        partitions: in order on the disk; exactly one root, without a size.
        first_partition_lba: where the first partition begins (2048, leaving room for a boot loader).
        mbr_boot_code: at most 440 bytes for the start of sector 0; None = zeros.
        gap: bytes between sector 0 and the first partition (GPT: never below its entries).
        root_boot_code: first sectors of the root volume; the engine keeps the volume's own BPB; None = as
            the formatter made them.
        esp_files: content of the ESP.
        edits: changes of the tree (`/etc/fstab`, boot menu, BCD store).
        secure_boot: whether this starts with Secure Boot enforced.
        reasons: what was decided and why, full sentences.
        warnings: what may keep it from starting, full sentences.
    """

    scheme: PartitionScheme
    partitions: tuple[WantedPartition, ...]
    edits: tuple[TreeEdit, ...]
    first_partition_lba: int = 2048
    mbr_boot_code: bytes | None = field(default=None, repr=False)
    gap: tuple[DiskBytes, ...] = ()
    root_boot_code: bytes | None = field(default=None, repr=False)
    esp_files: tuple[EspFile, ...] = ()
    secure_boot: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
