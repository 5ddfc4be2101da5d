"""Finding a Linux system on a disk: which volume is the root, and what is mounted where in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from sekiso.disks.volume import Volume
from sekiso.guests.importing import (
    DiskContents,
    DiskVolume,
    ImportPlan,
    MountedVolume,
    Refusal,
    SkippedVolume,
)
from sekiso.guests.linux import grub_bios, grub_efi
from sekiso.guests.linux.exclusions import IMPORT_EXCLUSIONS
from sekiso.guests.linux.fstab import FstabEntry, parse_fstab
from sekiso.model.layer import BootFacts
from sekiso.model.machine import Generation

ESP_TYPES = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef")
SUPPORTED = ("ext4",)

#: What a person can do about each kind of volume that cannot be read.
FOREIGN: dict[str, tuple[str, str, str]] = {
    "LVM2_member": (
        "lvm",
        "Partition {n} belongs to LVM, whose logical volumes are not supported.",
        "Move the system to plain partitions with ext4, then import it again.",
    ),
    "crypto_LUKS": (
        "luks",
        "Partition {n} is encrypted with LUKS.",
        "Import a disk that is not encrypted; encrypt the published machine instead.",
    ),
    "linux_raid_member": (
        "raid",
        "Partition {n} belongs to a software RAID.",
        "Import a disk whose file systems lie on plain partitions.",
    ),
    "btrfs": (
        "btrfs",
        "Partition {n} is formatted with btrfs.",
        "Install the system on ext4, then import it again.",
    ),
    "xfs": (
        "xfs",
        "Partition {n} is formatted with XFS.",
        "Install the system on ext4, then import it again.",
    ),
    "zfs_member": (
        "zfs",
        "Partition {n} belongs to a ZFS pool.",
        "Install the system on ext4, then import it again.",
    ),
}


def recognise(disk: DiskContents) -> ImportPlan:
    """Find the Linux system on a disk; see `GuestFamilySupport.recognise`.

    Raises:
        DamagedInputError: a volume is damaged.
    """
    roots = [(item, item.volume) for item in disk.volumes if item.volume is not None and _is_root(item)]
    if len(roots) != 1:
        return _refused(_why_no_root(disk, [item for item, _ in roots]))
    root, volume = roots[0]
    release = os_release(volume.read_file("/etc/os-release") or volume.read_file("/usr/lib/os-release"))
    name = release.get("PRETTY_NAME") or release.get("NAME") or "Linux"
    refusals = _family_refusals(volume, name)
    mounts, skipped, more, notes = _mounts(disk, root, parse_fstab(volume.read_file("/etc/fstab")))
    refusals += more
    notes += _boot_notes([_by_index(disk, m.index) for m in mounts])
    facts = None if refusals else _facts(disk, volume, [_by_index(disk, m.index) for m in mounts])
    return ImportPlan(
        os_name=name,
        mounts=tuple(mounts),
        skipped=tuple(skipped),
        boot=facts,
        exclusions=IMPORT_EXCLUSIONS,
        refusals=tuple(refusals),
        notes=tuple(notes),
    )


def os_release(content: bytes | None) -> dict[str, str]:
    """Return the assignments of an os-release file.

    Source: os-release(5).
    """
    out: dict[str, str] = {}
    for line in (content or b"").decode("utf-8", "replace").split("\n"):
        key, sign, value = line.partition("=")
        if sign and re.fullmatch(r"[A-Z0-9_]+", key.strip()):
            try:
                out[key.strip()] = "".join(shlex.split(value))
            except ValueError:
                out[key.strip()] = value.strip().strip("\"'")
    return out


def _is_root(item: DiskVolume) -> bool:
    volume = item.volume
    if volume is None or volume.facts.filesystem not in SUPPORTED:
        return False
    return volume.read_file("/etc/fstab") is not None and any(
        volume.read_file(name) is not None
        for name in ("/etc/os-release", "/usr/lib/os-release", "/etc/debian_version", "/var/lib/dpkg/status")
    )


def _refused(refusals: Sequence[Refusal]) -> ImportPlan:
    return ImportPlan("", (), (), None, (), tuple(refusals))


def _why_no_root(disk: DiskContents, roots: Sequence[DiskVolume]) -> list[Refusal]:
    if roots:
        numbers = ", ".join(str(item.index) for item in roots)
        return [
            Refusal(
                "several-systems",
                f"The disk holds more than one Linux system: partitions {numbers}.",
                "Import a disk with one system only.",
            )
        ]
    problems = [r for item in disk.volumes if (r := _problem(item)) is not None]
    return problems or [
        Refusal(
            "no-os",
            "No Linux system was found on the disk: no ext4 volume has /etc/fstab and /etc/os-release.",
            "Choose the disk that the machine starts from.",
        )
    ]


def _problem(item: DiskVolume) -> Refusal | None:
    """Say why a Linux volume cannot be read; None if it can be, or has nothing to do with Linux."""
    if item.problem and item.signature in ("ext2", "ext3", "ext4"):
        return Refusal(
            "dirty",
            f"Partition {item.index} cannot be read: {item.problem}",
            "Start the machine once, shut it down cleanly, then import the disk again.",
        )
    if item.volume is None and item.signature in FOREIGN:
        code, reason, remedy = FOREIGN[item.signature]
        return Refusal(code, reason.format(n=item.index), remedy)
    return None


def _family_refusals(root: Volume, name: str) -> list[Refusal]:
    if (
        root.read_file("/var/lib/dpkg/status") is not None
        or root.read_file("/etc/debian_version") is not None
    ):
        return []
    return [
        Refusal(
            "not-debian",
            f"{name} does not belong to the Debian family.",
            "Use Debian, Ubuntu, or a system made from them.",
        )
    ]


def _mounts(
    disk: DiskContents, root: DiskVolume, entries: Sequence[FstabEntry]
) -> tuple[list[MountedVolume], list[SkippedVolume], list[Refusal], list[str]]:
    mounts = [MountedVolume(root.index, "/", "It holds /etc/fstab and /etc/os-release.")]
    refusals: list[Refusal] = []
    notes: list[str] = []
    for entry in entries:
        if entry.mount_point == "/" or not entry.is_local_device or entry.is_swap:
            continue
        if entry.mount_point in ("/boot/efi", "/efi"):
            continue
        found = find_device(disk, entry.spec)
        if found is not None and found.volume is not None:
            mounts.append(
                MountedVolume(found.index, entry.mount_point, f"/etc/fstab mounts it at {entry.mount_point}.")
            )
        elif entry.is_optional:
            notes.append(
                f"{entry.spec} at {entry.mount_point} is optional in /etc/fstab and is not imported."
            )
        else:
            refusals.append(_unmountable(entry, found))
    mounts.sort(key=lambda m: (m.mount_point.count("/") if m.mount_point != "/" else 0, m.mount_point))
    used = {m.index for m in mounts}
    skipped = [_skipped(item) for item in disk.volumes if item.index not in used]
    return mounts, skipped, refusals, notes


def _unmountable(entry: FstabEntry, found: DiskVolume | None) -> Refusal:
    if found is not None and (problem := _problem(found)) is not None:
        return problem
    return Refusal(
        "missing-volume",
        f"/etc/fstab mounts {entry.spec} at {entry.mount_point}, but this disk has no such readable volume.",
        "Take the line out of /etc/fstab or add the option nofail, or move its content to the system disk.",
    )


def _skipped(item: DiskVolume) -> SkippedVolume:
    if item.type_id in ESP_TYPES or item.signature == "vfat":
        return SkippedVolume(item.index, "The EFI system partition is made anew for every image.")
    if item.signature == "swap":
        return SkippedVolume(item.index, "Swap space holds nothing to keep.")
    what = item.signature or "no known content"
    return SkippedVolume(item.index, f"The system does not mount it at its start ({what}).")


def find_device(disk: DiskContents, spec: str) -> DiskVolume | None:
    """Return the volume that an fstab device names, or None if this disk does not hold it."""
    tag, sign, value = spec.partition("=")
    by = re.match(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)", spec)
    if by is not None:
        tag, sign, value = by.group(1), "=", by.group(2)
    if sign:
        value = value.strip('"').lower()
        keys: dict[str, Callable[[DiskVolume], str]] = {
            "uuid": lambda i: i.volume.facts.uuid if i.volume else "",
            "label": lambda i: i.volume.facts.label if i.volume else "",
            "partuuid": lambda i: i.partition_guid,
            "partlabel": lambda i: i.name,
        }
        key = keys.get(tag.lower())
        return next((i for i in disk.volumes if key is not None and key(i).lower() == value), None)
    partition = re.fullmatch(r"/dev/(?:(?:sd|hd|vd|xvd)a|nvme0n1p|mmcblk0p)(\d{1,3})", spec)
    return _by_index_or_none(disk, int(partition.group(1))) if partition else None


def _boot_notes(mounted: Sequence[DiskVolume]) -> list[str]:
    """Say early which generation the system has no boot files for (they lie on the root or on /usr)."""
    notes: list[str] = []
    for generation, names, packages in (
        (Generation.ONE, (f"{grub_bios.FOLDER}/boot.img",), grub_bios.PACKAGE),
        (Generation.TWO, grub_efi.SHIM, grub_efi.PACKAGES),
    ):
        paths = [p for name in names for p in (name, name.removeprefix("/usr"))]
        if not any(i.volume and i.volume.read_file(p) is not None for i in mounted for p in paths):
            notes.append(
                f"Generation {generation.value} images cannot start from this layer: "
                f"the system lacks {packages}."
            )
    return notes


def _by_index_or_none(disk: DiskContents, index: int) -> DiskVolume | None:
    return next((item for item in disk.volumes if item.index == index), None)


def _by_index(disk: DiskContents, index: int) -> DiskVolume:
    return next(item for item in disk.volumes if item.index == index)


def _facts(disk: DiskContents, root: Volume, mounted: Sequence[DiskVolume]) -> BootFacts:
    generation = Generation.TWO if any(i.type_id in ESP_TYPES for i in disk.volumes) else Generation.ONE
    return BootFacts(
        generation=generation,
        boot_loader=_loader(disk, root, generation),
        root_uuid=root.facts.uuid,
        root_label=root.facts.label,
        root_filesystem=root.facts.filesystem,
        root_size_bytes=root.facts.size_bytes,
        used_bytes=sum(i.volume.facts.used_bytes for i in mounted if i.volume is not None),
    )


def _loader(disk: DiskContents, root: Volume, generation: Generation) -> str:
    if generation is Generation.TWO:
        shim = root.read_file("/usr/lib/shim/shimx64.efi.signed") is not None
        return "shim+grub" if shim else "unknown"
    return "grub" if b"GRUB" in disk.boot_sectors[:512] else "unknown"
