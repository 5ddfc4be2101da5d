"""The kernels of a tree, and the settings its administrator gave GRUB.

Source: grub-mkconfig(8) and /etc/default/grub; initramfs.conf(5).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cmp_to_key

from sekiso.guests.edits import FileAccess
from sekiso.guests.linux.versions import compare_versions

#: Kernel options that name disks or file systems of the machine a layer came from.
_STALE = re.compile(r"(?:root|rootflags|rootfstype|resume|resume_offset|cryptdevice|BOOT_IMAGE)=|ro\Z|rw\Z")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel that can be started.

    Attributes:
        version: `6.1.0-50-cloud-amd64`.
        image: its path.
        initrd: path of its initramfs.
    """

    version: str
    image: str
    initrd: str


def find_kernels(files: FileAccess) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """Return the kernels that can be started, newest first, and why others cannot."""
    found: list[Kernel] = []
    problems: list[str] = []
    for name in files.list("/boot"):
        # The name goes into the boot menu: nothing that GRUB would take for its own syntax may pass.
        if not re.fullmatch(r"vmlinuz-[\w.+~-]+", name, re.ASCII) or not files.exists(f"/boot/{name}"):
            continue
        version = name.removeprefix("vmlinuz-")
        initrd = f"/boot/initrd.img-{version}"
        if not files.exists(initrd):
            problems.append(f"Kernel {version} has no initramfs ({initrd}) and is left out of the boot menu.")
        elif not files.exists(f"/lib/modules/{version}"):
            problems.append(f"Kernel {version} has no modules and is left out of the boot menu.")
        else:
            found.append(Kernel(version, f"/boot/{name}", initrd))
    found.sort(key=cmp_to_key(lambda a, b: compare_versions(b.version, a.version)))
    return tuple(found), tuple(problems)


def driver_warnings(files: FileAccess, kernels: tuple[Kernel, ...]) -> tuple[str, ...]:
    """Return what may keep the kernels from finding their disk on Hyper-V, full sentences."""
    out: list[str] = []
    modules = initramfs_setting(files, "MODULES")
    if modules == "dep":
        out.append(
            "The initramfs was made with MODULES=dep and holds the drivers of its own machine only. Set "
            "MODULES=most in /etc/initramfs-tools/initramfs.conf and run update-initramfs -u -k all."
        )
    elif modules == "list":
        named = (files.read("/etc/initramfs-tools/modules") or b"").decode("utf-8", "replace").split()
        if "hv_storvsc" not in named:
            out.append(
                "The initramfs holds listed modules only (MODULES=list), and hv_storvsc is not among them. "
                "Add it to /etc/initramfs-tools/modules and run update-initramfs -u -k all."
            )
    for kernel in kernels:
        config = files.read(f"/boot/config-{kernel.version}")
        if config is not None and not re.search(rb"^CONFIG_HYPERV_STORAGE=[ym]$", config, re.MULTILINE):
            out.append(f"Kernel {kernel.version} was built without Hyper-V storage drivers.")
    return tuple(out)


def initramfs_setting(files: FileAccess, name: str) -> str:
    """Return a setting of initramfs-tools; later files win. Empty if it is not set."""
    folder = "/etc/initramfs-tools"
    paths = [f"{folder}/initramfs.conf", *(f"{folder}/conf.d/{n}" for n in files.list(f"{folder}/conf.d"))]
    value = ""
    for path in paths:
        value = assignments(files.read(path)).get(name, value)
    return value


@dataclass(frozen=True, slots=True)
class GrubSettings:
    """What the administrator set for GRUB.

    Attributes:
        options: kernel options, without those that name disks of another machine.
        timeout_s: seconds the menu waits.
        distributor: name for the menu.
    """

    options: tuple[str, ...]
    timeout_s: int
    distributor: str


def grub_settings(files: FileAccess, *, os_name: str) -> GrubSettings:
    """Return the settings from `/etc/default/grub` and `/etc/default/grub.d/*.cfg`."""
    paths = ["/etc/default/grub"]
    paths += [f"/etc/default/grub.d/{n}" for n in files.list("/etc/default/grub.d") if n.endswith(".cfg")]
    values: dict[str, str] = {}
    for path in paths:
        values |= assignments(files.read(path), values)
    options = " ".join(values.get(n, "") for n in ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"))
    timeout = values.get("GRUB_TIMEOUT", "5")
    return GrubSettings(
        options=tuple(o for o in dict.fromkeys(options.split()) if not _STALE.match(o)),
        timeout_s=int(timeout) if re.fullmatch(r"\d{1,4}", timeout) else 5,
        distributor=_plain(os_name),
    )


def assignments(content: bytes | None, known: dict[str, str] | None = None) -> dict[str, str]:
    """Return the plain assignments of a shell file; what would have to be run is left out.

    Args:
        content: the file.
        known: variables that `$NAME` in a value may refer to.
    """
    out: dict[str, str] = {}
    for line in (content or b"").decode("utf-8", "replace").split("\n"):
        found = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if found is None or "`" in line or "$(" in line:
            continue
        try:
            words = shlex.split(found.group(2), comments=True)
        except ValueError:
            continue
        scope = {**(known or {}), **out}
        value = words[0] if words else ""
        out[found.group(1)] = re.sub(
            r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", lambda m, s=scope: s.get(m.group(1), ""), value
        )
    return out


def _plain(text: str) -> str:
    return re.sub(r"[^\w .()+/-]", "", text) or "Linux"
