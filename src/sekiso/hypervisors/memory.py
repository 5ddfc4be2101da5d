"""A hypervisor in memory that keeps the same rules: for trying flows and for tests, it runs no guest.

Disks are real files, machines are not. What a guest would do is scripted by the `guest` function of the
host, which hears of every event and may speak (`MemoryHost.guest_says`), write to its disks, and power itself
off (`MemoryHost.guest_powers_off`).
"""

from __future__ import annotations

import enum
import shutil
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sekiso.hypervisors.admission import (
    HostView,
    admit_disk,
    admit_machine,
    admit_merge,
    admit_packaging_disk,
    operation,
    with_disk,
    without_disk,
)
from sekiso.hypervisors.errors import DiskNotFoundError, MachineNotFoundError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskFile,
    GuestMessages,
    GuestPort,
    HostFacts,
    HostVolume,
    MachineFacts,
    MachineSpec,
    MachineState,
    SwitchFacts,
    SwitchKind,
    TemplateFacts,
)
from sekiso.hypervisors.keys import parse_keys
from sekiso.hypervisors.rules import (
    check_change,
    check_state,
    deletable_disks,
    spec_from_template,
    templates_of,
)
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

MAX_MESSAGE_BYTES = 1 << 20
_SWITCHES = (
    SwitchFacts("Default Switch", SwitchKind.DEFAULT, reaches_host=True),
    SwitchFacts("Isolated", SwitchKind.ISOLATED, reaches_host=False),
    SwitchFacts("Private", SwitchKind.PRIVATE, reaches_host=False),
)


@dataclass(slots=True)
class _Machine:
    id: str
    spec: MachineSpec
    state: MachineState = MachineState.OFF
    started: float = 0.0
    spoken: dict[GuestPort, bytearray] = field(default_factory=lambda: {p: bytearray() for p in GuestPort})
    keys: list[str] = field(default_factory=list[str])


class GuestEvent(enum.StrEnum):
    """What a scripted guest hears of."""

    STARTED = "started"
    DISKS_CHANGED = "disks-changed"
    BUTTON = "button"


#: Called with the host, the machine's identifier and the event.
Guest = Callable[["MemoryHost", str, GuestEvent], None]


def obedient_guest(host: MemoryHost, machine_id: str, event: GuestEvent) -> None:
    """Say nothing, and shut down when the power button is pressed."""
    if event is GuestEvent.BUTTON:
        host.guest_powers_off(machine_id)


class MemoryHost:
    """The pretended host: its machines outlive a driver object, as they do on a real one."""

    def __init__(self, *, guest: Guest = obedient_guest) -> None:
        """Make a host without machines.

        Args:
            guest: what every guest does.
        """
        self.guest = guest
        self.machines: dict[str, _Machine] = {}
        self.parents: dict[Path, DiskFile] = {}
        self.lock = threading.RLock()

    def guest_says(self, machine_id: str, text: str, *, port: GuestPort = GuestPort.REPORT) -> None:
        """Let a guest write to a serial port."""
        self.machines[machine_id].spoken[port] += text.encode()

    def guest_powers_off(self, machine_id: str) -> None:
        """Let a guest turn its machine off."""
        self.machines[machine_id].state = MachineState.OFF

    def keys_pressed(self, machine_id: str) -> tuple[str, ...]:
        """Return the keys that were sent to a machine."""
        return tuple(self.machines[machine_id].keys)


class MemoryDriver:
    """`HypervisorDriver` over a `MemoryHost`; the methods are documented there."""

    def __init__(self, host: MemoryHost | None = None) -> None:
        self.memory_host = host or MemoryHost()
        self._lock = self.memory_host.lock

    def host(self) -> HostFacts:
        """See `HypervisorDriver.host`."""
        usage = shutil.disk_usage("/")
        return HostFacts(
            name="memory",
            hypervisor="memory",
            version="1",
            acceleration="none",
            cpus=2,
            memory_bytes=8 << 30,
            disk_formats=tuple(DiskFormat),
            packaging_format=DiskFormat.QCOW2,
            secure_boot=True,
            tpm=True,
            volumes=(HostVolume(Path("/"), usage.total, usage.free),),
        )

    def list_switches(self) -> tuple[SwitchFacts, ...]:
        """See `HypervisorDriver.list_switches`."""
        return _SWITCHES

    def list_machines(self) -> tuple[MachineFacts, ...]:
        """See `HypervisorDriver.list_machines`."""
        with self._lock:
            found = [_facts(m) for m in self.memory_host.machines.values()]
        return tuple(sorted(found, key=lambda m: m.name))

    def list_templates(self) -> tuple[TemplateFacts, ...]:
        """See `HypervisorDriver.list_templates`."""
        return templates_of(self.list_machines())

    def create_machine(self, spec: MachineSpec) -> MachineFacts:
        """See `HypervisorDriver.create_machine`."""
        with self._lock:
            spec = admit_machine(spec, self._view())
            adapters = tuple(replace(a, mac=a.mac or _new_mac()) for a in spec.adapters)
            machine = _Machine(str(uuid.uuid4()), replace(spec, adapters=adapters))
            self.memory_host.machines[machine.id] = machine
            return _facts(machine)

    def create_machine_from_template(
        self,
        template_id: str,
        *,
        name: str,
        disks: Sequence[DiskAttachment] = (),
        folder: Path | None = None,
    ) -> MachineFacts:
        """See `HypervisorDriver.create_machine_from_template`."""
        template = self.get_machine(template_id)
        return self.create_machine(spec_from_template(template, name=name, disks=disks, folder=folder))

    def get_machine(self, machine_id: str) -> MachineFacts:
        """See `HypervisorDriver.get_machine`."""
        with self._lock:
            return _facts(self._find(machine_id))

    def start(self, machine_id: str) -> None:
        """See `HypervisorDriver.start`."""
        with self._lock:
            machine = self._find(machine_id)
            check_state(_facts(machine), "be started", MachineState.OFF)
            for disk in machine.spec.disks:
                if not disk.path.is_file():
                    raise DiskNotFoundError(path=disk.path, reason="There is no such file.")
            machine.state, machine.started = MachineState.RUNNING, time.monotonic()
        self._tell(machine_id, GuestEvent.STARTED)

    def request_shut_down(self, machine_id: str) -> None:
        """See `HypervisorDriver.request_shut_down`."""
        with self._lock:
            machine = self._find(machine_id)
            check_state(_facts(machine), "be shut down", MachineState.RUNNING)
        self._tell(machine_id, GuestEvent.BUTTON)

    def turn_off(self, machine_id: str, *, timeout_s: float = 30.0) -> None:
        """See `HypervisorDriver.turn_off`."""
        with self._lock:
            self._find(machine_id).state = MachineState.OFF

    def delete_machine(self, machine_id: str, *, delete_disks: bool) -> None:
        """See `HypervisorDriver.delete_machine`."""
        with self._lock:
            facts = _facts(self._find(machine_id))
            check_state(facts, "be deleted", MachineState.OFF, MachineState.SAVED)
            bases = [d.path.resolve() for d in self.memory_host.parents.values()]
            doomed = deletable_disks(facts, self.list_machines(), bases) if delete_disks else ()
            for path in doomed:
                path.unlink(missing_ok=True)
                self.memory_host.parents.pop(path.resolve(), None)
            del self.memory_host.machines[machine_id]

    def attach_disk(self, machine_id: str, disk: DiskAttachment) -> DiskAttachment:
        """See `HypervisorDriver.attach_disk`."""
        with self._lock:
            machine = self._find(machine_id)
            placed = admit_disk(_facts(machine), disk, self._view())
            machine.spec = with_disk(machine.spec, placed)
        self._tell(machine_id, GuestEvent.DISKS_CHANGED)
        return placed

    def detach_disk(self, machine_id: str, path: Path) -> None:
        """See `HypervisorDriver.detach_disk`."""
        with self._lock:
            machine = self._find(machine_id)
            spec, disk = without_disk(_facts(machine), path)
            check_change(_facts(machine), disk, operation("detach", disk))
            machine.spec = spec
        self._tell(machine_id, GuestEvent.DISKS_CHANGED)

    def create_packaging_disk(self, boot_disk: DiskFile, path: Path) -> DiskFile:
        """See `HypervisorDriver.create_packaging_disk`."""
        with self._lock:
            target = path.with_name(path.name + ".qcow2")
            admit_packaging_disk(boot_disk, target, self._view())
            target.write_bytes(b"")
            self.memory_host.parents[target.resolve()] = boot_disk
            return DiskFile(target, DiskFormat.QCOW2)

    def merge_packaging_disk(
        self, packaging_disk: Path, target: DiskFile, *, progress: Progress = NO_PROGRESS
    ) -> None:
        """See `HypervisorDriver.merge_packaging_disk`."""
        with self._lock:
            base = admit_merge(packaging_disk, target.path, self._view())
            check_canceled(progress)
            target.path.write_bytes(base.read_bytes() + packaging_disk.read_bytes())

    def screenshot(self, machine_id: str) -> bytes:
        """See `HypervisorDriver.screenshot`."""
        with self._lock:
            machine = self._find(machine_id)
            check_state(_facts(machine), "show its screen", MachineState.RUNNING, MachineState.PAUSED)
            return _png(machine.spec.video.width_px, machine.spec.video.height_px)

    def guest_messages(self, machine_id: str, port: GuestPort, *, since: int = 0) -> GuestMessages:
        """See `HypervisorDriver.guest_messages`."""
        with self._lock:
            spoken = self._find(machine_id).spoken[port]
            since = min(max(0, since), len(spoken))
            part = bytes(spoken[since : since + MAX_MESSAGE_BYTES])
            return GuestMessages(part.decode(errors="replace"), since + len(part))

    def send_keys(self, machine_id: str, keys: Sequence[str]) -> None:
        """See `HypervisorDriver.send_keys`."""
        parse_keys(keys)
        with self._lock:
            machine = self._find(machine_id)
            check_state(_facts(machine), "take keys", MachineState.RUNNING)
            machine.keys += keys

    def _tell(self, machine_id: str, event: GuestEvent) -> None:
        if self.get_machine(machine_id).state.active:
            self.memory_host.guest(self.memory_host, machine_id, event)

    def _find(self, machine_id: str) -> _Machine:
        try:
            return self.memory_host.machines[machine_id]
        except KeyError:
            raise MachineNotFoundError(machine=machine_id) from None

    def _view(self) -> HostView:
        return HostView(self.list_machines(), _SWITCHES, tuple(DiskFormat), self._parent_of)

    def _parent_of(self, path: Path) -> Path | None:
        base = self.memory_host.parents.get(path.resolve())
        return None if base is None else base.path


def _facts(machine: _Machine) -> MachineFacts:
    uptime_s = time.monotonic() - machine.started if machine.state.active else 0.0
    folder = machine.spec.folder or Path("/") / machine.id
    return MachineFacts(machine.id, machine.spec, machine.state, uptime_s, folder)


def _new_mac() -> str:
    return "00:15:5d:" + ":".join(f"{b:02x}" for b in uuid.uuid4().bytes[:3])


def _png(width_px: int, height_px: int) -> bytes:
    """Return a black picture. Source: PNG specification, chapters 5 and 11."""
    rows = (b"\0" + bytes(width_px)) * height_px
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
