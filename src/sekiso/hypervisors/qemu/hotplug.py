"""Plugging SCSI disks into a running machine and out of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from sekiso.hypervisors.errors import HypervisorError
from sekiso.hypervisors.facts import DiskAttachment, DiskFile
from sekiso.hypervisors.qemu.cmdline import block_node, disk_device, node_name
from sekiso.hypervisors.qemu.qmp import Qmp

_UNPLUG_S = 15.0


def plug(qmp: Qmp, disk: DiskAttachment, bases: Mapping[Path, DiskFile]) -> None:
    """Open a disk and show it to the guest.

    Raises:
        HypervisorError: QEMU refused; nothing is left open.
    """
    qmp.execute("blockdev-add", **block_node(disk, bases))
    try:
        qmp.execute("device_add", **disk_device(disk, boot_index=None))
    except HypervisorError:
        qmp.execute("blockdev-del", node_name=node_name(disk))
        raise


def unplug(qmp: Qmp, disk: DiskAttachment, machine: str) -> None:
    """Take a disk from the guest and close it; harmless for what is not plugged in.

    Raises:
        HypervisorError: the disk did not come free in time.
    """
    device = disk_device(disk, boot_index=None)["id"]
    deadline = time.monotonic() + _UNPLUG_S
    if device in _names(qmp.execute("qom-list", path="/machine/peripheral"), "name"):
        qmp.execute("device_del", id=device)
    while node_name(disk) in _names(qmp.execute("query-named-block-nodes", flat=True), "node-name"):
        try:
            qmp.execute("blockdev-del", node_name=node_name(disk))
        except HypervisorError as error:
            # In use until the controller has let go of it.
            if time.monotonic() >= deadline:
                raise HypervisorError(
                    machine=machine, operation="detach a disk", reason=str(error.params["reason"])
                ) from error
            time.sleep(0.05)


def _names(items: list[dict[str, object]], key: str) -> list[object]:
    return [item.get(key) for item in items]
