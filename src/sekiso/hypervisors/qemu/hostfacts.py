"""What the host is and can do."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

from sekiso import process
from sekiso.hypervisors.facts import HostFacts, HostVolume
from sekiso.hypervisors.qemu import accel, cmdline, firmware, tpm
from sekiso.hypervisors.qemu.storage import Storage
from sekiso.model.machine import DiskFormat


def host_facts(storage: Storage) -> HostFacts:
    """Return what the host of a storage path is and can do.

    Raises:
        ToolMissingError: QEMU is not installed.
    """
    version = process.run([accel.PROGRAM, "--version"], timeout_s=30).text
    found = re.search(r"version (\S+)", version)
    return HostFacts(
        name=socket.gethostname(),
        hypervisor="QEMU",
        version=found[1] if found else version.strip(),
        acceleration=accel.choose(storage.root),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_formats=tuple(cmdline.DRIVERS),
        packaging_format=DiskFormat.QCOW2,
        secure_boot=firmware.available(),
        tpm=tpm.available(),
        volumes=_volumes(storage.path),
    )


def _volumes(storage: Path) -> tuple[HostVolume, ...]:
    """Return the storage path first, then what is mounted from real devices."""
    places = [storage]
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, place, *_ = line.split(" ")
        if device.startswith("/dev/"):
            # Source: fstab(5): blanks are written as octal escapes.
            places.append(Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), place)))
    found: dict[Path, HostVolume] = {}
    for place in places:
        if place.is_dir() and place not in found:
            usage = shutil.disk_usage(place)
            found[place] = HostVolume(place, usage.total, usage.free)
    return tuple(found.values())
