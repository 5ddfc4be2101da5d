"""`/etc/fstab`: read, and written anew for another disk.

Source: fstab(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: File systems that lie on no disk of the machine.
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "virtiofs", "sshfs"})
KERNEL = frozenset(
    {
        *(
            "proc",
            "sysfs",
            "tmpfs",
            "devpts",
            "devtmpfs",
            "debugfs",
            "tracefs",
            "securityfs",
            "cgroup",
            "cgroup2",
        ),
        *("hugetlbfs", "mqueue", "overlay", "none", "bpf", "configfs", "efivarfs", "ramfs", "squashfs"),
    }
)


@dataclass(frozen=True, slots=True)
class FstabEntry:
    """One line of fstab.

    Attributes:
        spec: device, `UUID=…`, `LABEL=…`, server path.
        mount_point: where; `none` for swap.
        filesystem: type.
        options: mount options.
        line: the line itself.
    """

    spec: str
    mount_point: str
    filesystem: str
    options: tuple[str, ...]
    line: str

    @property
    def is_swap(self) -> bool:
        """Whether it is swap space."""
        return self.filesystem == "swap"

    @property
    def is_local_device(self) -> bool:
        """Whether it is a file system on a block device."""
        if self.filesystem in REMOTE or self.filesystem in KERNEL or "bind" in self.options:
            return False
        return bool(re.match(r"(?:UUID|LABEL|PARTUUID|PARTLABEL)=|/dev/", self.spec, re.IGNORECASE))

    @property
    def is_optional(self) -> bool:
        """Whether the machine starts without it."""
        return "nofail" in self.options or "noauto" in self.options


def parse_fstab(content: bytes | None) -> tuple[FstabEntry, ...]:
    """Return the entries of an fstab; comments and malformed lines are left out."""
    out: list[FstabEntry] = []
    for line in (content or b"").decode("utf-8", "replace").split("\n"):
        columns = line.split()
        if len(columns) < 3 or line.lstrip().startswith("#"):
            continue
        spec, point, kind = (_unescape(c) for c in columns[:3])
        options = tuple(columns[3].split(",")) if len(columns) > 3 else ("defaults",)
        out.append(FstabEntry(spec.strip('"'), _normal(point), kind, options, line))
    return tuple(out)


def rewrite_fstab(
    content: bytes | None, *, root_uuid: str, esp_uuid: str | None
) -> tuple[bytes, tuple[str, ...]]:
    """Return the fstab of an image and, in words, what was left out of the old one.

    Args:
        content: the fstab of the tree.
        root_uuid: UUID of the new root file system.
        esp_uuid: `XXXX-XXXX` of the ESP, or None without one.
    """
    entries = {entry.line: entry for entry in parse_fstab(content)}
    root = next((e for e in entries.values() if e.mount_point == "/"), None)
    options = ",".join(root.options) if root else "errors=remount-ro"
    kept: list[str] = []
    dropped: list[str] = []
    for line in (content or b"").decode("utf-8", "replace").rstrip("\n").split("\n"):
        entry = entries.get(line)
        why = "" if entry is None else _why_dropped(entry)
        if entry is None and not line.strip():
            continue
        if why and entry is not None:
            dropped.append(f"{entry.spec} on {entry.mount_point}: {why}")
        else:
            kept.append(line)
    lines = [f"UUID={root_uuid} / ext4 {options} 0 1"]
    if esp_uuid is not None:
        lines.append(f"UUID={esp_uuid} /boot/efi vfat umask=0077,nofail 0 1")
    return ("\n".join([*lines, *kept]) + "\n").encode(), tuple(dropped)


def _why_dropped(entry: FstabEntry) -> str:
    if entry.mount_point == "/":
        return "the root has a new identifier"
    if entry.mount_point == "/boot/efi":
        return "the EFI system partition is made anew"
    if not entry.is_local_device:
        return ""
    if entry.is_swap:
        return "the image has no swap partition"
    return "" if entry.is_optional else "its content is part of the image's one file system"


def _normal(point: str) -> str:
    return point if not point.startswith("/") else "/" + point.strip("/")


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8) & 0xFF), text)
