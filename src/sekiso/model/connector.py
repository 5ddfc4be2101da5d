"""What agents report to connectors, and how files travel between them: data that both sides know."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sekiso.model.machine import DiskFormat, Firmware, Generation
from sekiso.model.storage_path import Drive, HostPlatform, PathKind, StoragePath, parse_storage_path


class TransferScheme(enum.StrEnum):
    """Protocol under BITS."""

    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """How files travel between appliance and agents (CC-8).

    Attributes:
        scheme: HTTP or HTTPS.
        verify: whether an expired, wrong or untrusted certificate fails the copy; False with HTTP. The
            certificate pinned at registration is trusted, self-signed or not.
    """

    scheme: TransferScheme = TransferScheme.HTTP
    verify: bool = False

    def __post_init__(self) -> None:
        if self.verify and self.scheme is TransferScheme.HTTP:
            raise ValueError("HTTP has no certificate to verify")


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """An agent registered with the appliance.

    Attributes:
        id: its identifier.
        name: its name, by default the host name.
        online: whether it is connected.
    """

    id: str
    name: str
    online: bool


@dataclass(frozen=True, slots=True)
class SwitchItem:
    """A virtual switch of the agent's host.

    Attributes:
        name: its name.
        kind: what it connects, in Hyper-V's words.
        reaches_host: whether a guest on it reaches the host.
    """

    name: str
    kind: str = ""
    reaches_host: bool = False


@dataclass(frozen=True, slots=True)
class TemplateVm:
    """A machine of the agent's host, with what decides whether it can be a template VM (CC-3, CC-4).

    Attributes:
        id: identifier of the machine.
        name: its name; Hyper-V lets several machines have one name.
        firmware: firmware that machines made from it have.
        cpus: virtual processors.
        memory_mb: start-up memory in MiB.
        adapters: the switch of each network adapter, None for an adapter that is not connected.
        disks: paths of the disks attached to it.
    """

    id: str
    name: str
    firmware: Firmware
    cpus: int
    memory_mb: int
    adapters: tuple[str | None, ...]
    disks: tuple[str, ...] = ()

    @property
    def generation(self) -> Generation:
        """Generation of the machine."""
        return Generation.ONE if self.firmware is Firmware.BIOS else Generation.TWO


@dataclass(frozen=True, slots=True)
class VolumeItem:
    r"""A place of the agent's host where disks can lie.

    Attributes:
        path: its root as written there: `C:\`, a mount folder, or a POSIX path.
        size_bytes: its size.
        free_bytes: what the agent's account may still write.
    """

    path: str
    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class AgentInventory:
    """What an agent reports of its host (AG-3). Zero or None: not reported.

    Attributes:
        agent_version: version of the agent.
        host_name: name of its host.
        platform: how paths are written there.
        hypervisor: `Hyper-V` or `QEMU`.
        hypervisor_version: its version.
        account: account that the agent runs as.
        machine_account: whether that is the account of the machine itself (AG-2).
        cpus: logical processors of the host.
        memory_mb: memory of the host in MiB.
        disk_formats: formats that its machines can have.
        offload: whether compositing can run there.
        offload_hindrance: why it cannot, a sentence; empty when it can.
        switches: virtual switches.
        template_vms: machines that could be templates, unsuitable ones too.
        volumes: where disks can lie.
        drives: drive letters that the account sees; empty on POSIX; None = not reported.
    """

    agent_version: str
    host_name: str
    platform: HostPlatform
    hypervisor: str = "Hyper-V"
    hypervisor_version: str = ""
    account: str = ""
    machine_account: bool = True
    cpus: int = 0
    memory_mb: int = 0
    disk_formats: tuple[DiskFormat, ...] = (DiskFormat.VHD, DiskFormat.VHDX)
    offload: bool = True
    offload_hindrance: str = ""
    switches: tuple[SwitchItem, ...] = ()
    template_vms: tuple[TemplateVm, ...] = ()
    volumes: tuple[VolumeItem, ...] = ()
    drives: tuple[Drive, ...] | None = None

    def find_switch(self, name: str) -> SwitchItem | None:
        """Return the switch of this name; Windows does not tell case apart."""
        return next((s for s in self.switches if s.name.casefold() == name.casefold()), None)

    def find_template_vms(self, reference: str) -> tuple[TemplateVm, ...]:
        """Return the machine with this identifier, else every machine of this name."""
        return _by_id_or_name(self.template_vms, reference)

    def volume_of(self, path: StoragePath) -> VolumeItem | None:
        """Return the volume that a local path lies on: of those that contain it, the innermost."""
        holding = [(p, v) for p, v in self._parsed_volumes() if path.is_within(p)]
        return max(holding, key=lambda item: len(item[0].names))[1] if holding else None

    def _parsed_volumes(self) -> list[tuple[StoragePath, VolumeItem]]:
        parsed = [(_volume_root(v.path, self.platform), v) for v in self.volumes]
        return [(path, volume) for path, volume in parsed if path is not None]


_Named = TypeVar("_Named", KnownAgent, TemplateVm)


def find_agents(agents: Sequence[KnownAgent], reference: str) -> tuple[KnownAgent, ...]:
    """Return the agent with this identifier, else every agent of this name."""
    return _by_id_or_name(agents, reference)


def _by_id_or_name(items: Sequence[_Named], reference: str) -> tuple[_Named, ...]:
    wanted = reference.casefold()
    by_id = tuple(item for item in items if item.id.casefold() == wanted)
    return by_id or tuple(item for item in items if item.name.casefold() == wanted)


def _volume_root(text: str, platform: HostPlatform) -> StoragePath | None:
    if platform is HostPlatform.POSIX and text == "/":
        return StoragePath(PathKind.POSIX, "", ())
    path = parse_storage_path(text, platform)
    return path if isinstance(path, StoragePath) else None
