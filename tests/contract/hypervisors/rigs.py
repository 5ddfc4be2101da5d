"""Hosts for the contract suite: the same guests, scripted in memory and real under QEMU."""

from __future__ import annotations

import enum
import subprocess
from pathlib import Path
from typing import Protocol

from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.facts import DiskAttachment, DiskController, DiskFile, MachineSpec, NetworkAdapter
from sekiso.hypervisors.memory import GuestEvent, MemoryDriver, MemoryHost
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.model.machine import DiskFormat, Generation
from tests.support import micro_guest

MARK = b"LAYER-MARK"


class Guest(enum.StrEnum):
    """What a guest does."""

    HALTS = "halts"
    """Says GUEST-UP and powers off."""
    STAYS = "stays"
    """Says GUEST-UP and ignores the power button."""
    WORKS = "works"
    """Says GUEST-UP, writes MARK to its disk, says MARKED, tells of its disks, obeys the power button."""


class Rig(Protocol):
    """A host with a driver."""

    driver: HypervisorDriver
    folder: Path

    def reopen(self) -> HypervisorDriver:
        """Return a new driver object on the same host, as after a restart of the agent."""
        ...

    def guest_disk(self, guest: Guest, generation: Generation) -> DiskFile:
        """Return a disk of this test that boots a guest."""
        ...


class MemoryRig:
    """In memory: the guest is told by the name of the boot disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._host = MemoryHost(guest=self._act)
        self.driver: HypervisorDriver = MemoryDriver(self._host)

    def reopen(self) -> HypervisorDriver:
        return MemoryDriver(self._host)

    def guest_disk(self, guest: Guest, generation: Generation) -> DiskFile:
        path = self.folder / f"{guest}.{_format(generation)}"
        path.write_bytes(b"boot disk")
        return DiskFile(path, _format(generation))

    def _act(self, host: MemoryHost, machine_id: str, event: GuestEvent) -> None:
        disks = host.machines[machine_id].spec.disks
        names = " ".join(d.path.name for d in disks)
        guest = next((g for g in Guest if g.value in names), None)
        if event is GuestEvent.STARTED and guest:
            host.guest_says(machine_id, "GUEST-UP\n")
            if guest is Guest.HALTS:
                host.guest_powers_off(machine_id)
        if guest is Guest.WORKS:
            if event is GuestEvent.STARTED:
                disks[0].path.write_bytes(MARK)
                host.guest_says(machine_id, "MARKED\n")
            host.guest_says(machine_id, f"DISKS={len(disks)}\n")
        if event is GuestEvent.BUTTON and guest is not Guest.STAYS:
            host.guest_powers_off(machine_id)


#: What the working guest does; its disk is on SCSI, the mark lies behind everything the boot loader reads.
#: The script lies on the disk too, so it must not hold the mark itself.
WORK = """
printf 'LAYER-%s' MARK | dd of=/dev/sda bs=512 seek=120000 conv=notrunc,sync 2>/dev/null
sync
say GUEST-UP
say MARKED
last=
while true; do
  now=$(ls /sys/block | wc -w)
  [ "$now" != "$last" ] && say DISKS=$now
  last=$now
  sleep 0.2
done
"""


class QemuRig:
    """Real guests; their disks are built once for all tests."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self._cache = cache
        self._storage = folder / "storage"
        self.driver: HypervisorDriver = QemuDriver(self._storage)

    def reopen(self) -> HypervisorDriver:
        return QemuDriver(self._storage)

    def guest_disk(self, guest: Guest, generation: Generation) -> DiskFile:
        raw = self._cache / f"{guest}-{generation.value}.raw"
        if not raw.is_file():
            if guest is Guest.WORKS:
                micro_guest.micro(raw, generation, commands=WORK)
            else:
                micro_guest.nano(raw, generation, says="GUEST-UP", stays=guest is Guest.STAYS)
        path = self.folder / f"{guest}.{_format(generation)}"
        return DiskFile(micro_guest.convert(raw, path, _format(generation)), _format(generation))


def _format(generation: Generation) -> DiskFormat:
    return DiskFormat.VHD if generation is Generation.ONE else DiskFormat.VHDX


def blank_disk(path: Path, disk_format: DiskFormat = DiskFormat.VHDX) -> DiskFile:
    """Make an empty disk of 8 MiB."""
    driver = {DiskFormat.VHD: "vpc"}.get(disk_format, disk_format.value)
    subprocess.run(["qemu-img", "create", "-q", "-f", driver, path, "8M"], check=True)
    return DiskFile(path, disk_format)


def boot_from(disk: DiskFile, generation: Generation) -> DiskAttachment:
    """Return the attachment of a boot disk as Hyper-V demands it."""
    controller = DiskController.IDE if generation is Generation.ONE else DiskController.SCSI
    return DiskAttachment(disk.path, disk.format, controller, boot_order=0)


def small(name: str, generation: Generation, *disks: DiskAttachment) -> MachineSpec:
    """Return a small machine on a switch that leads nowhere."""
    return MachineSpec(
        name,
        generation,
        cpus=1,
        memory_bytes=256 << 20,
        adapters=(NetworkAdapter("Isolated"),),
        disks=disks,
    )
