"""What drivers are told and what they report, in Hyper-V's terms."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from sekiso.model.machine import DiskFormat, Firmware, Generation, SecureBootTemplate


class MachineState(enum.StrEnum):
    """State of a machine. Source: Hyper-V's VMState; states that pass in moments join their neighbours."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    SAVED = "saved"
    CRITICAL = "critical"

    @property
    def active(self) -> bool:
        """Whether the machine holds its disks and memory."""
        return self not in (MachineState.OFF, MachineState.SAVED)


class SwitchKind(enum.StrEnum):
    """What a virtual switch connects.

    DEFAULT is address translation to the host's network ("Default Switch"): a guest on it reaches the host
    itself, so it is never for packaging machines. ISOLATED gives a guest an address and nothing to talk to.
    PRIVATE joins machines with each other only, INTERNAL also with the host, EXTERNAL with a real network.
    """

    DEFAULT = "default"
    ISOLATED = "isolated"
    PRIVATE = "private"
    INTERNAL = "internal"
    EXTERNAL = "external"


class DiskController(enum.StrEnum):
    """Kind of controller a disk hangs on."""

    IDE = "ide"
    SCSI = "scsi"


class GuestPort(enum.StrEnum):
    """Serial ports through which a guest speaks: COM1 carries its console, COM2 Sekiso's guest report.

    UEFI firmware writes its own messages to both, so a reader of reports looks for its own lines in the text.
    """

    CONSOLE = "console"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class SwitchFacts:
    """A virtual switch of the host.

    Attributes:
        name: its name, unique on the host.
        kind: what it connects.
        reaches_host: whether a guest on it can reach the host; such a switch is not for packaging machines.
    """

    name: str
    kind: SwitchKind
    reaches_host: bool


@dataclass(frozen=True, slots=True)
class HostVolume:
    """A place of the host where disks can lie.

    Attributes:
        path: its root.
        size_bytes: its size.
        free_bytes: what an ordinary user may still write.
    """

    path: Path
    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host is and can do (AG-3).

    Attributes:
        name: host name.
        hypervisor: `Hyper-V` or `QEMU`.
        version: version of the hypervisor.
        acceleration: how guests are run: `hyper-v`, `kvm` or `tcg` (emulated, many times slower).
        cpus: logical processors.
        memory_bytes: memory of the host.
        disk_formats: formats that can be attached.
        packaging_format: format in which `create_packaging_disk` writes.
        secure_boot: whether generation 2 machines can use Secure Boot.
        tpm: whether generation 2 machines can have a TPM.
        volumes: where disks can lie.
    """

    name: str
    hypervisor: str
    version: str
    acceleration: str
    cpus: int
    memory_bytes: int
    disk_formats: tuple[DiskFormat, ...]
    packaging_format: DiskFormat
    secure_boot: bool
    tpm: bool
    volumes: tuple[HostVolume, ...]


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A disk as a file.

    Attributes:
        path: absolute path.
        format: format of the file.
    """

    path: Path
    format: DiskFormat


@dataclass(frozen=True, slots=True)
class DiskAttachment:
    """A disk file on a controller of a machine.

    Attributes:
        path: absolute path of the file.
        format: its format.
        controller: IDE (generation 1 only) or SCSI.
        read_only: the guest cannot write; several machines may share such a disk.
        boot_order: place in the boot order, lowest first; None = not tried.
        slot: place on the controller (IDE 0–3, SCSI 0–63); the driver chooses when left out.
    """

    path: Path
    format: DiskFormat
    controller: DiskController
    read_only: bool = False
    boot_order: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkAdapter:
    """A network adapter of a machine.

    Attributes:
        switch: name of the switch it is plugged into; None = not connected.
        mac: hardware address as `00:15:5d:01:02:03`; the driver chooses when left out.
        name: its name in Hyper-V Manager.
    """

    switch: str | None = None
    mac: str | None = None
    name: str = "Network Adapter"


@dataclass(frozen=True, slots=True)
class Video:
    """Largest picture of the machine's screen.

    Attributes:
        width_px: width in pixels.
        height_px: height in pixels.
    """

    width_px: int = 1024
    height_px: int = 768


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What a machine is made of.

    Attributes:
        name: its name, unique on the host.
        generation: 1 = BIOS, 2 = UEFI.
        cpus: virtual processors.
        memory_bytes: start-up memory, whole MiB.
        adapters: network adapters.
        disks: disks, in no special order.
        secure_boot: the firmware starts signed boot loaders only (generation 2).
        secure_boot_template: whose signatures it trusts; matters with Secure Boot only.
        tpm: the machine has a TPM 2.0 (generation 2).
        video: its screen.
        folder: where the machine's own files go, a folder absent or empty; None = the driver's choice.
    """

    name: str
    generation: Generation
    cpus: int = 4
    memory_bytes: int = 8192 << 20
    adapters: tuple[NetworkAdapter, ...] = ()
    disks: tuple[DiskAttachment, ...] = ()
    secure_boot: bool = False
    secure_boot_template: SecureBootTemplate = SecureBootTemplate.MICROSOFT_WINDOWS
    tpm: bool = False
    video: Video = field(default_factory=Video)
    folder: Path | None = None

    @property
    def firmware(self) -> Firmware:
        """Firmware that the machine starts with (CC-3)."""
        if self.generation is Generation.ONE:
            return Firmware.BIOS
        return Firmware.UEFI_SECURE_BOOT if self.secure_boot else Firmware.UEFI


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine as the hypervisor knows it.

    Attributes:
        id: its identifier; stays the same when the machine is renamed.
        spec: what it is made of, with everything filled in that the driver chose.
        state: what it is doing.
        uptime_s: seconds since it was started; 0 when it is off.
        folder: where its own files lie.
    """

    id: str
    spec: MachineSpec
    state: MachineState
    uptime_s: float
    folder: Path

    @property
    def name(self) -> str:
        """Name of the machine."""
        return self.spec.name

    @property
    def generation(self) -> Generation:
        """Generation of the machine."""
        return self.spec.generation

    @property
    def disks(self) -> tuple[DiskAttachment, ...]:
        """Disks attached to the machine."""
        return self.spec.disks


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """A machine that new machines can be made after (CC-4).

    Attributes:
        id: identifier of the machine.
        name: its name.
        firmware: firmware that machines made from it have.
        cpus: virtual processors.
        memory_bytes: start-up memory.
        switches: switches of its adapters, unconnected ones left out.
    """

    id: str
    name: str
    firmware: Firmware
    cpus: int
    memory_bytes: int
    switches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestMessages:
    """What a guest wrote to a serial port.

    Attributes:
        text: the text; bytes that are not UTF-8 replaced.
        next_offset: hand this to the next call to read on.
    """

    text: str
    next_offset: int
