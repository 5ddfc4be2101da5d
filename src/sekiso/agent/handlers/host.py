"""`host.inventory`: what the agent reports of its host (AG-3)."""

from __future__ import annotations

import os

from sekiso.agent.contract import InventoryParams
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.opening import account_name
from sekiso.agent.places import TASKS, is_id, is_own_machine
from sekiso.hypervisors.facts import MachineFacts
from sekiso.model.connector import AgentInventory, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.machine import DiskFormat
from sekiso.model.storage_path import HostPlatform

#: Accounts below are those of the system, above those of people. Source: login.defs(5), UID_MIN.
_FIRST_PERSON = 1000
_ATTACHABLE = (DiskFormat.VHD, DiskFormat.VHDX)


def inventory(command: Command, params: InventoryParams) -> AgentInventory:
    """Report the host; machines that Sekiso itself made are left out of the templates."""
    host = command.host
    facts = host.driver.host()
    return AgentInventory(
        agent_version=host.settings.agent_version,
        host_name=facts.name,
        platform=HostPlatform.POSIX,
        hypervisor=facts.hypervisor,
        hypervisor_version=facts.version,
        account=account_name(),
        machine_account=os.geteuid() < _FIRST_PERSON,
        cpus=facts.cpus,
        memory_mb=facts.memory_bytes >> 20,
        disk_formats=tuple(f for f in facts.disk_formats if f in _ATTACHABLE),
        offload=True,
        switches=tuple(SwitchItem(s.name, s.kind.value, s.reaches_host) for s in host.driver.list_switches()),
        template_vms=tuple(_template(m) for m in host.driver.list_machines() if not _is_own(m)),
        volumes=tuple(VolumeItem(str(v.path), v.size_bytes, v.free_bytes) for v in facts.volumes),
    )


def _is_own(machine: MachineFacts) -> bool:
    # Machines of boot tests live for minutes, on a disk in the scratch of their task.
    above = [p for d in machine.disks for p in d.path.parents]
    tested = any(p.parent.name == TASKS and is_id(p.name) for p in above)
    return tested or is_own_machine(machine.folder)


def _template(machine: MachineFacts) -> TemplateVm:
    spec = machine.spec
    return TemplateVm(
        id=machine.id,
        name=machine.name,
        firmware=spec.firmware,
        cpus=spec.cpus,
        memory_mb=spec.memory_bytes >> 20,
        adapters=tuple(a.switch for a in spec.adapters),
        disks=tuple(str(d.path) for d in spec.disks),
    )
