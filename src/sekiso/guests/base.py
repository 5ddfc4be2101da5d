"""What the compositing engine asks of a guest family: edits, merges, import, capture, boot.

All paths here are absolute, `/`-separated, in the spelling of the tree (`/etc/passwd`,
`/Windows/System32/config/SOFTWARE`), and name the entry itself: the engine applies an edit without
following symbolic links, so a family only edits below folders that are real folders.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

from sekiso.disks.volume import Volume
from sekiso.errors import UnsupportedInputError
from sekiso.model.layer import BootFacts, GuestFamily
from sekiso.model.machine import Generation

# --- edits ---


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Make a regular file, or replace the content and metadata of one. Folders above it are made (0755 root).

    Attributes:
        path: where.
        content: all of its bytes.
        mode: permission bits (no type bits); Windows families ignore mode, uid and gid.
        uid: numeric owner.
        gid: numeric group.
        reason: why, in a sentence, shown in the plan.
        xattrs: extended attributes (name, value).
    """

    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    reason: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class WriteSymlink:
    """Make a symbolic link, replacing whatever file or link is there."""

    path: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make a folder, or set the metadata of one that exists (its content stays)."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file, a link, or a folder with all below it; harmless when it is not there."""

    path: str
    reason: str = ""


TreeEdit: TypeAlias = WriteFile | WriteSymlink | MakeFolder | Remove


# --- reading a composed tree ---


class FileAccess(Protocol):
    """Reads a (composed) tree. Symbolic links are followed inside the tree, in every part of a path.

    Families with case-insensitive names (`GuestFamilySupport.case_sensitive` false) are read that way.
    """

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file; None if it is absent or something else."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the path leads to anything (a link that leads nowhere does not)."""
        ...

    def list(self, path: str) -> Sequence[str]:
        """Return the names in a folder, sorted; empty if it is no folder. Dangling links are named too."""
        ...

    def link_target(self, path: str) -> str | None:
        """Return the target of a symbolic link (its last part is not followed); None if it is none."""
        ...


# --- structured merges ---


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What one layer did to one structured file.

    Attributes:
        layer: name of the layer version, for conflicts.
        base: the file in the base that the layer was captured against; None = it was not there.
        content: the file as the layer left it; None = the layer removed it.
    """

    layer: str
    base: bytes | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class KeyConflict:
    r"""One key that two layers (or a layer and the newer OS) hold differently.

    Attributes:
        path: the structured file.
        key: what inside it (`package nginx`, `user web`, `HKLM\Software\X value Y`).
        layers: the layers that disagree, lowest priority first; `OS` stands for the current OS content.
        winner: the one whose content stays (the last of `layers`, unless `detail` says why not).
        detail: what the disagreement is and what follows from it, in plain words.
    """

    path: str
    key: str
    layers: tuple[str, ...]
    winner: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of a structured merge.

    Attributes:
        content: the merged file; None = it is not in the result.
        conflicts: every disagreement, in the order found.
    """

    content: bytes | None
    conflicts: tuple[KeyConflict, ...] = ()


class StructuredMerger(Protocol):
    """Merges one kind of file by its content instead of overwriting it."""

    @property
    def name(self) -> str:
        """Stable short name (`dpkg-status`)."""
        ...

    def claims(self, path: str) -> bool:
        """Whether this merger handles the file at `path`."""
        ...

    def merge(self, path: str, current: bytes | None, changes: Sequence[LayerChange]) -> Merged:
        """Apply each layer's difference (its base → its content) to what the OS layer holds now.

        Args:
            path: path of the file.
            current: its content in the OS layer now; None = not there.
            changes: the layers that have the file, from low to high priority.

        Returns:
            The merged content with every conflict: on a key that two layers change differently the
            later wins. Without changes the result is `current`.

        Raises:
            DamagedInputError: a content breaks its own format so that merging would lose data.
        """
        ...


# --- import ---


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
class Exclusion:
    """Something that is left out of a layer.

    Attributes:
        pattern: absolute path; `*` and `?` match within one name, `**` matches any number of names. A
            matched folder is left out with all below it; `/tmp/**` keeps the folder and drops its content.
        reason: why, a full sentence.
        source: which rule says so (`FHS 3.0, 3.18`, `systemd.machine-id`, …).
    """

    pattern: str
    reason: str
    source: str


class ExclusionMatcher:
    """Answers whether a path is excluded, and by which rule."""

    def __init__(self, exclusions: Iterable[Exclusion], *, case_sensitive: bool = True) -> None:
        self.exclusions = tuple(exclusions)
        self._flags = 0 if case_sensitive else re.IGNORECASE

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = [f"({_glob(item.pattern)})" for item in self.exclusions]
        return re.compile(
            "(?:" + "|".join(parts) + r")(?:/.*)?\Z" if parts else r"\Zx", self._flags | re.DOTALL
        )

    def __contains__(self, path: object) -> bool:
        """Whether a path is left out."""
        return isinstance(path, str) and self.match(path) is not None

    def match(self, path: str) -> Exclusion | None:
        """Return the rule that leaves `path` out (itself or a folder above it), or None."""
        found = self._pattern.match(path)
        if found is None or found.lastindex is None:
            return None
        return self.exclusions[found.lastindex - 1]


def _glob(pattern: str) -> str:
    out = ""
    for token in re.split(r"(\*\*|\*|\?)", pattern):
        out += {"**": ".+", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return out


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


# --- boot ---


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


# --- the family ---


class GuestFamilySupport(Protocol):
    """Everything that is special about one family of guest operating systems."""

    @property
    def family(self) -> GuestFamily:
        """Which family this is."""
        ...

    @property
    def case_sensitive(self) -> bool:
        """Whether two names that differ in case only are two files."""
        ...

    @property
    def root_filesystems(self) -> tuple[str, ...]:
        """File systems its root volume may have, as blkid names them."""
        ...

    def pending_work(self, read: Callable[[str], bytes | None]) -> tuple[str, ...]:
        """Return what is unfinished on a disk at rest, one full sentence each (LY-8); empty when nothing is.

        Args:
            read: returns the content of a file by path, None if it is absent.
        """
        ...

    def mergers(self) -> Sequence[StructuredMerger]:
        """Return the mergers; the first that claims a path has it."""
        ...

    def recognise(self, disk: DiskContents) -> ImportPlan:
        """Find the operating system on a disk and how its volumes form one tree.

        Raises:
            DamagedInputError: a volume is damaged.
        """
        ...

    def import_edits(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return what an import adds to the tree: the guest tools."""
        ...

    def capture_exclusions(self) -> tuple[Exclusion, ...]:
        """Return what a capture of a packaging disk leaves out."""
        ...

    def generalize(self, files: FileAccess, generalization: Generalization) -> tuple[TreeEdit, ...]:
        """Return what gives an image no identity of its own, or (`NONE`) only what must never be shared."""
        ...

    def post_merge(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return the edits for files that derive from the whole tree (caches, indexes)."""
        ...

    def boot_plan(self, files: FileAccess, request: BootRequest) -> BootPlan:
        """Work out how the tree boots on a disk of a generation.

        Raises:
            UnsupportedInputError: the tree lacks what it needs to boot; the remedy names it.
            ToolMissingError: a program that makes boot files is not installed.
        """
        ...
