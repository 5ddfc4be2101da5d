"""QEMU's command line for a machine; pure. No secret is ever part of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    MachineSpec,
    NetworkAdapter,
    SwitchFacts,
    SwitchKind,
)
from sekiso.hypervisors.qemu import accel
from sekiso.hypervisors.qemu.qmp import SCREEN_NAME, SOCKET_NAME
from sekiso.model.machine import DiskFormat, Generation

DRIVERS = {
    DiskFormat.VHD: "vpc",
    DiskFormat.VHDX: "vhdx",
    DiskFormat.RAW: "raw",
    DiskFormat.QCOW2: "qcow2",
}
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def build(
    machine_id: str,
    spec: MachineSpec,
    *,
    folder: Path,
    accelerator: str,
    firmware: Path | None,
    switches: Mapping[str, SwitchFacts],
    cables: Mapping[int, int],
    bases: Mapping[Path, DiskFile],
) -> list[str]:
    """Return the command line; sockets and logs in it are relative to the machine's folder.

    Args:
        machine_id: identifier, also the machine's SMBIOS UUID.
        spec: what it is made of; slots and hardware addresses filled in.
        folder: its folder, QEMU's working directory.
        accelerator: `kvm` or `tcg`.
        firmware: UEFI code file for generation 2.
        switches: the host's switches by name.
        cables: by number of the adapter, the descriptor of its connection to a private switch or bridge.
        bases: base of each packaging disk.
    """
    argv = [
        *(accel.PROGRAM, "-name", f"guest={_quote(spec.name)}", "-uuid", machine_id),
        *("-pidfile", str(folder / "qemu.pid"), "-nodefaults", "-no-user-config", "-sandbox", _SANDBOX),
        *("-display", "none", "-vnc", f"unix:{SCREEN_NAME}"),
        *(
            "-chardev",
            f"socket,id=qmp,path={SOCKET_NAME},server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
        ),
        *("-chardev", "file,id=com1,path=console.log,append=on", "-serial", "chardev:com1"),
        *("-chardev", "file,id=com2,path=report.log,append=on", "-serial", "chardev:com2"),
        *("-rtc", "base=utc", "-boot", "strict=on"),
        *("-m", f"{spec.memory_bytes >> 20}M", "-smp", str(spec.cpus)),
        *accel.arguments(accelerator),
        *("-device", f"VGA,edid=on,xres={spec.video.width_px},yres={spec.video.height_px}"),
    ]
    argv += _board(spec, folder, firmware)
    argv += ["-device", "virtio-scsi-pci,id=scsi0"]
    for index, disk in enumerate(spec.disks):
        argv += ["-blockdev", json.dumps(block_node(disk, bases))]
        argv += ["-device", json.dumps(disk_device(disk, boot_index=_boot_index(spec.disks, index)))]
    for index, adapter in enumerate(spec.adapters):
        argv += _adapter(index, adapter, switches, cables)
    if spec.tpm:
        argv += ["-chardev", "socket,id=tpm,path=tpm.sock", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        argv += ["-device", "tpm-crb,tpmdev=tpm0"]
    return argv


def _quote(text: str) -> str:
    return text.replace(",", ",,")


def _board(spec: MachineSpec, folder: Path, firmware: Path | None) -> list[str]:
    if spec.generation is Generation.ONE:
        return ["-machine", "pc,hpet=off"]
    code = {"driver": "raw", "node-name": "code", "read-only": True, "file": _file(str(firmware))}
    variables = {"driver": "raw", "node-name": "nvram", "file": _file(str(folder / "nvram.fd"))}
    argv = ["-blockdev", json.dumps(code), "-blockdev", json.dumps(variables)]
    smm = "on" if spec.secure_boot else "off"
    argv += ["-machine", f"q35,smm={smm},hpet=off,pflash0=code,pflash1=nvram"]
    if spec.secure_boot:
        # Only code in system management mode may write the variables; sleep to memory would leave it.
        argv += [
            "-global",
            "driver=cfi.pflash01,property=secure,value=on",
            "-global",
            "ICH9-LPC.disable_s3=1",
        ]
    return argv


def _file(path: str) -> dict[str, object]:
    return {"driver": "file", "filename": path}


def node_name(disk: DiskAttachment) -> str:
    """Return the name of a disk's block node, which is also its device's identifier."""
    return f"{disk.controller.value}{disk.slot}"


def block_node(disk: DiskAttachment, bases: Mapping[Path, DiskFile]) -> dict[str, object]:
    """Return how QEMU opens a disk: locked, and with exactly the bases that we know of."""
    node = open_disk(DiskFile(disk.path, disk.format), bases, read_only=disk.read_only)
    return {"node-name": node_name(disk), "discard": "unmap", **node}


def open_disk(disk: DiskFile, bases: Mapping[Path, DiskFile], *, read_only: bool) -> dict[str, object]:
    """Return the block node of a disk with its bases, without a name."""
    node: dict[str, object] = {
        "driver": DRIVERS[disk.format],
        "read-only": read_only,
        "file": {**_file(str(disk.path)), "discard": "unmap", "locking": "on", "read-only": read_only},
    }
    if disk.format is DiskFormat.QCOW2:
        base = bases.get(disk.path.resolve())
        # Said outright, so that a foreign file can never make QEMU open what its header names.
        node["backing"] = None if base is None else open_disk(base, bases, read_only=True)
    return node


def disk_device(disk: DiskAttachment, *, boot_index: int | None) -> dict[str, object]:
    """Return the device of a disk."""
    slot = disk.slot or 0
    device: dict[str, object] = {"drive": node_name(disk), "id": f"dev-{node_name(disk)}"}
    if disk.controller is DiskController.IDE:
        device |= {"driver": "ide-hd", "bus": f"ide.{slot // 2}", "unit": slot % 2}
    else:
        device |= {"driver": "scsi-hd", "bus": "scsi0.0", "channel": 0, "scsi-id": slot, "lun": 0}
    if boot_index is not None:
        device["bootindex"] = boot_index
    return device


def _boot_index(disks: Sequence[DiskAttachment], index: int) -> int | None:
    order = sorted((d.boot_order, n) for n, d in enumerate(disks) if d.boot_order is not None)
    places = {n: place for place, (_, n) in enumerate(order)}
    return places.get(index)


def _adapter(
    index: int,
    adapter: NetworkAdapter,
    switches: Mapping[str, SwitchFacts],
    cables: Mapping[int, int],
) -> list[str]:
    netdev = json.dumps(_netdev(index, adapter, switches, cables))
    # An empty romfile: nobody boots from the network.
    device = {"driver": "virtio-net-pci", "netdev": f"net{index}", "mac": adapter.mac, "romfile": ""}
    return ["-netdev", netdev, "-device", json.dumps(device)]


def _netdev(
    index: int, adapter: NetworkAdapter, switches: Mapping[str, SwitchFacts], cables: Mapping[int, int]
) -> dict[str, object]:
    name = f"net{index}"
    if adapter.switch is None:
        # A hub with nobody else on it is a cable that is not plugged in.
        return {"type": "hubport", "id": name, "hubid": 1000 + index}
    kind = switches[adapter.switch].kind
    if kind is SwitchKind.PRIVATE:
        address = {"type": "fd", "str": str(cables[index])}
        return {"type": "stream", "id": name, "server": False, "addr": address}
    if kind in (SwitchKind.INTERNAL, SwitchKind.EXTERNAL):
        return {"type": "tap", "id": name, "fd": str(cables[index])}
    return {"type": "user", "id": name, "restrict": kind is not SwitchKind.DEFAULT}
