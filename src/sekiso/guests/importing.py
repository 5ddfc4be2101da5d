"""How the volumes of a disk become an OS layer: what lies on it, and what a guest family makes of that."""

from __future__ import annotations

from dataclasses import dataclass

from sekiso.disks.volume import Volume
from sekiso.errors import UnsupportedInputError
from sekiso.guests.exclusions import Exclusion
from sekiso.model.layer import BootFacts


@dataclass(frozen=True)
class DiskVolume:
    """One partition of a disk (or the whole disk when it has no partition table).

    Attributes:
        index: partition number, from 1; 0 for an unpartitioned disk.
        first_byte: where it starts on the disk.
        size_bytes: its length.
        type_id: GPT type GUID in lower case, or the MBR type as two lower-case hex digits (`83`).
        partition_guid: unique GUID in lower case (GPT), or `ssssssss-nn` as Linux names it (MBR).
        name: GPT partition name, may be empty.
        active: MBR boot flag.
        signature: what lies in it by its magic numbers, as blkid names it (`ext4`, `ntfs`, `vfat`, `xfs`,
            `btrfs`, `LVM2_member`, `crypto_LUKS`, `linux_raid_member`, `swap`, `BitLocker`, …), or empty.
        volume: the opened file system; None where there is no reader or opening it was refused.
        problem: why it could not be opened, in words; empty when `volume` is set or there is no reader.
    """

    index: int
    first_byte: int
    size_bytes: int
    type_id: str = ""
    partition_guid: str = ""
    name: str = ""
    active: bool = False
    signature: str = ""
    volume: Volume | None = None
    problem: str = ""


@dataclass(frozen=True)
class DiskContents:
    """What lies on a disk that is to be imported.

    Attributes:
        name: path of the disk file, for messages.
        scheme: `gpt`, `mbr` or `none`.
        volumes: its partitions in order of their place on the disk.
        boot_sectors: the first sector up to the first partition, at most 1 MiB (boot code lives there).
    """

    name: str
    scheme: str
    volumes: tuple[DiskVolume, ...]
    boot_sectors: bytes = b""


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """One volume of the disk that becomes part of the layer's tree.

    Attributes:
        index: `DiskVolume.index`.
        mount_point: where its content goes; `/` for the root.
        reason: why.
    """

    index: int
    mount_point: str
    reason: str


@dataclass(frozen=True, slots=True)
class SkippedVolume:
    """One volume that does not become part of the layer, and why."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a disk cannot be imported.

    Attributes:
        code: stable name (`lvm`, `luks`, `btrfs`, `no-os`, `dirty`, …).
        reason: what is wrong, a full sentence.
        remedy: what a person can do about it, a full sentence.
    """

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """How a disk becomes an OS layer: one flattened tree.

    Attributes:
        os_name: the operating system found (`Debian GNU/Linux 12 (bookworm)`), empty if none.
        mounts: the volumes to read, the root first, then by depth of mount point.
        skipped: the other volumes, with reasons.
        boot: facts for the manifest; None if the disk is refused.
        exclusions: what of the tree is left out.
        refusals: why it cannot be imported; empty when it can.
        notes: facts a person should know, full sentences.
    """

    os_name: str
    mounts: tuple[MountedVolume, ...]
    skipped: tuple[SkippedVolume, ...]
    boot: BootFacts | None
    exclusions: tuple[Exclusion, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()

    def require(self, name: str) -> BootFacts:
        """Return the boot facts, or refuse the disk called `name`.

        Raises:
            UnsupportedInputError: the plan has refusals.
        """
        if self.refusals or self.boot is None:
            reasons = " ".join(item.reason for item in self.refusals)
            remedies = " ".join(dict.fromkeys(item.remedy for item in self.refusals))
            raise UnsupportedInputError(path=name, reason=reasons, remedy=remedies)
        return self.boot
