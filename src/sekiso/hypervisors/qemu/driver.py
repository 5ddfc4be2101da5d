"""`HypervisorDriver` for QEMU; what a method promises is documented at the protocol."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sekiso.errors import SekisoError
from sekiso.hypervisors import admission, rules
from sekiso.hypervisors.errors import (
    DiskNotFoundError,
    HypervisorError,
    StateTimeoutError,
)
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskFile,
    GuestMessages,
    GuestPort,
    HostFacts,
    MachineFacts,
    MachineSpec,
    MachineState,
    SwitchFacts,
    SwitchKind,
    TemplateFacts,
)
from sekiso.hypervisors.keys import parse_keys
from sekiso.hypervisors.qemu import accel, cmdline, firmware, images, messages, network, procs, tpm
from sekiso.hypervisors.qemu.hostfacts import host_facts
from sekiso.hypervisors.qemu.hotplug import plug, unplug
from sekiso.hypervisors.qemu.qmp import (
    SCREEN_NAME,
    Qmp,
    QmpUnreachableError,
    connect_socket,
    session,
)
from sekiso.hypervisors.qemu.state import explain_lock, machine_state
from sekiso.hypervisors.qemu.storage import Storage
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import NO_PROGRESS, Progress

log = logging.getLogger(__name__)

_QUIT_S = 5.0
_QCODES = {
    "enter": "ret", "space": "spc", "pageup": "pgup", "pagedown": "pgdn", "meta": "meta_l",
}  # fmt: skip
_ACTIVE = (MachineState.RUNNING, MachineState.PAUSED)


class QemuDriver:
    """Machines under one storage path. Any number of objects and processes may work on the same path."""

    def __init__(self, storage: Path) -> None:
        """Open a storage path, making what is missing there.

        Args:
            storage: folder for machines; disks may lie anywhere.
        """
        self.storage = Storage(storage)

    def host(self) -> HostFacts:
        """See `HypervisorDriver.host`."""
        return host_facts(self.storage)

    def list_switches(self) -> tuple[SwitchFacts, ...]:
        """See `HypervisorDriver.list_switches`."""
        return network.list_switches(self.storage)

    def add_switch(self, name: str, kind: SwitchKind) -> SwitchFacts:
        """Define a further private or isolated switch.

        Raises:
            RuleError: another kind; those are bridges of the host.
            NameTakenError: the name is used.
        """
        return network.add_switch(self.storage, name, kind)

    def list_machines(self) -> tuple[MachineFacts, ...]:
        """See `HypervisorDriver.list_machines`."""
        found: list[MachineFacts] = []
        for machine_id in self.storage.ids():
            try:
                found.append(self.get_machine(machine_id))
            except SekisoError as error:
                # Gone since, or broken: the others must still be seen.
                log.warning("machine %s is left out: %s", machine_id, error)
        return tuple(sorted(found, key=lambda m: m.name))

    def list_templates(self) -> tuple[TemplateFacts, ...]:
        """See `HypervisorDriver.list_templates`."""
        return rules.templates_of(self.list_machines())

    def create_machine(self, spec: MachineSpec) -> MachineFacts:
        """See `HypervisorDriver.create_machine`."""
        machine_id = str(uuid.uuid4())
        with self.storage.lock():
            self.storage.sweep(spec.folder)
            spec = admission.admit_machine(spec, self._view())
            for disk in spec.disks:
                images.check_content(disk, self.storage.bases())
            adapters = tuple(replace(a, mac=a.mac or _new_mac()) for a in spec.adapters)
            spec = replace(spec, adapters=adapters)
            self.storage.add(machine_id, spec, lambda folder: self._prepare(spec, folder))
        return self.get_machine(machine_id)

    def _prepare(self, spec: MachineSpec, folder: Path) -> None:
        if spec.generation is Generation.TWO:
            firmware.make_nvram(spec, folder / "nvram.fd", self.storage.root / "firmware")

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
        return self.create_machine(rules.spec_from_template(template, name=name, disks=disks, folder=folder))

    def get_machine(self, machine_id: str) -> MachineFacts:
        """See `HypervisorDriver.get_machine`."""
        folder = self.storage.folder(machine_id)
        spec = self.storage.load(machine_id)
        state, uptime_s = machine_state(folder, spec.name)
        return MachineFacts(machine_id, spec, state, uptime_s, folder)

    def start(self, machine_id: str) -> None:
        """See `HypervisorDriver.start`; returns when QEMU answers."""
        with self.storage.machine_lock(machine_id):
            machine = self.get_machine(machine_id)
            rules.check_state(machine, "be started", MachineState.OFF)
            self._check_files(machine)
            with network.plug_in(machine.spec, self.storage) as cables:
                self._launch(machine, cables)

    def _check_files(self, machine: MachineFacts) -> None:
        bases = self.storage.bases()
        for disk in machine.disks:
            for path in (disk.path, *rules.ancestors(disk.path, _parent_of(bases))):
                if not path.is_file():
                    raise DiskNotFoundError(path=path, reason="There is no such file.")
            images.check_content(disk, bases)

    def _launch(self, machine: MachineFacts, cables: dict[int, int]) -> None:
        spec = machine.spec
        two = spec.generation is Generation.TWO
        argv = cmdline.build(
            machine.id,
            spec,
            folder=machine.folder,
            accelerator=accel.choose(self.storage.root),
            firmware=firmware.require_firmware(secure=spec.secure_boot) if two else None,
            switches={s.name: s for s in self.list_switches()},
            cables=cables,
            bases=self.storage.bases(),
        )
        if spec.tpm:
            tpm.start(machine.folder)
        try:
            procs.launch(argv, machine.folder, spec.name, pass_fds=tuple(cables.values()))
        except HypervisorError as error:
            if spec.tpm:
                tpm.stop(machine.folder)
            explain_lock(error, spec.disks)
            raise

    def request_shut_down(self, machine_id: str) -> None:
        """See `HypervisorDriver.request_shut_down`: the ACPI power button."""
        machine = self._in_state(machine_id, "be shut down", MachineState.RUNNING)
        # A machine that went off by itself meanwhile is what was wanted.
        with contextlib.suppress(QmpUnreachableError), session(machine.folder, machine.name) as qmp:
            qmp.execute("system_powerdown")

    def turn_off(self, machine_id: str, *, timeout_s: float = 30.0) -> None:
        """See `HypervisorDriver.turn_off`: QEMU is told to quit, then killed."""
        folder = self.storage.folder(machine_id)
        name, pidfile = self.storage.load(machine_id).name, folder / "qemu.pid"
        deadline = time.monotonic() + timeout_s
        grace_s = min(_QUIT_S, timeout_s / 3)
        with contextlib.suppress(QmpUnreachableError), session(folder, name, timeout_s=grace_s) as qmp:
            qmp.execute("quit")
        kill_at = time.monotonic() + grace_s
        while procs.find(pidfile) is not None:
            now = time.monotonic()
            if now >= deadline:
                raise StateTimeoutError(machine=name, state="running", wanted="off", timeout_s=timeout_s)
            if now >= kill_at:
                procs.kill(pidfile)
            time.sleep(0.02)

    def delete_machine(self, machine_id: str, *, delete_disks: bool) -> None:
        """See `HypervisorDriver.delete_machine`."""
        with self.storage.lock(), self.storage.machine_lock(machine_id):
            machine = self._in_state(machine_id, "be deleted", MachineState.OFF)
            bases = self.storage.bases()
            if delete_disks:
                used = [b.path.resolve() for b in bases.values()]
                doomed = rules.deletable_disks(machine, self.list_machines(), used)
                for path in doomed:
                    path.unlink(missing_ok=True)
                    bases.pop(path.resolve(), None)
                self.storage.save_bases(bases)
            self.storage.remove(machine_id)

    def attach_disk(self, machine_id: str, disk: DiskAttachment) -> DiskAttachment:
        """See `HypervisorDriver.attach_disk`."""
        with self.storage.lock(), self.storage.machine_lock(machine_id):
            machine = self.get_machine(machine_id)
            placed = admission.admit_disk(machine, disk, self._view())
            bases = self.storage.bases()
            images.check_content(placed, bases)
            # Written first: a disk that is plugged in must never be unknown to us.
            self.storage.save(machine_id, admission.with_disk(machine.spec, placed))
            if machine.state.active:
                try:
                    with self._session(machine) as qmp:
                        plug(qmp, placed, bases)
                except SekisoError as error:
                    self.storage.save(machine_id, machine.spec)
                    if isinstance(error, HypervisorError):
                        explain_lock(error, (placed,))
                    raise
        return placed

    def detach_disk(self, machine_id: str, path: Path) -> None:
        """See `HypervisorDriver.detach_disk`."""
        with self.storage.lock(), self.storage.machine_lock(machine_id):
            machine = self.get_machine(machine_id)
            spec, disk = admission.without_disk(machine, path)
            rules.check_change(machine, disk, admission.operation("detach", disk))
            if machine.state.active:
                with self._session(machine) as qmp:
                    unplug(qmp, disk, machine.name)
            self.storage.save(machine_id, spec)

    def create_packaging_disk(self, boot_disk: DiskFile, path: Path) -> DiskFile:
        """See `HypervisorDriver.create_packaging_disk`: a qcow2 overlay."""
        target = path.absolute().with_name(path.name + ".qcow2")
        with self.storage.lock():
            admission.admit_packaging_disk(boot_disk, target, self._view())
            bases = self.storage.bases()
            reader = DiskAttachment(boot_disk.path, boot_disk.format, admission.READER, read_only=True)
            images.check_content(reader, bases)
            # Known before it exists: an overlay whose base we do not know could not be attached any more.
            self.storage.save_bases({**bases, target.resolve(): boot_disk})
            images.create_overlay(boot_disk, target)
        return DiskFile(target, DiskFormat.QCOW2)

    def merge_packaging_disk(
        self, packaging_disk: Path, target: DiskFile, *, progress: Progress = NO_PROGRESS
    ) -> None:
        """See `HypervisorDriver.merge_packaging_disk`."""
        with self.storage.lock():
            admission.admit_merge(packaging_disk, target.path, self._view())
            bases = self.storage.bases()
        # Not under the lock, it takes long; QEMU's own lock on the files keeps the machine from starting.
        images.merge(DiskFile(packaging_disk, DiskFormat.QCOW2), bases, target, progress)

    def screenshot(self, machine_id: str) -> bytes:
        """See `HypervisorDriver.screenshot`."""
        machine = self._in_state(machine_id, "show its screen", *_ACTIVE)
        picture = machine.folder / f".screen-{uuid.uuid4()}.png"
        try:
            with self._session(machine) as qmp:
                qmp.execute("screendump", filename=str(picture), format="png")
            return picture.read_bytes()
        finally:
            picture.unlink(missing_ok=True)

    def open_screen(self, machine_id: str) -> socket.socket:
        """Return a connection to the machine's screen that speaks RFB (VNC); the caller closes it.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not running.
            HypervisorError: nobody answers.
        """
        machine = self._in_state(machine_id, "show its screen", *_ACTIVE)
        try:
            return connect_socket(machine.folder, SCREEN_NAME)
        except OSError as error:
            raise HypervisorError(
                machine=machine.name, operation="show its screen", reason=str(error)
            ) from error

    def guest_messages(self, machine_id: str, port: GuestPort, *, since: int = 0) -> GuestMessages:
        """See `HypervisorDriver.guest_messages`."""
        return messages.read(self.storage.folder(machine_id), port, since)

    def send_keys(self, machine_id: str, keys: Sequence[str]) -> None:
        """See `HypervisorDriver.send_keys`."""
        presses = parse_keys(keys)
        machine = self._in_state(machine_id, "take keys", MachineState.RUNNING)
        with self._session(machine) as qmp:
            for press in presses:
                codes = [{"type": "qcode", "data": _QCODES.get(k, k)} for k in press]
                qmp.execute("send-key", keys=codes)

    def _in_state(self, machine_id: str, operation: str, *allowed: MachineState) -> MachineFacts:
        machine = self.get_machine(machine_id)
        rules.check_state(machine, operation, *allowed)
        return machine

    @contextlib.contextmanager
    def _session(self, machine: MachineFacts) -> Generator[Qmp]:
        try:
            with session(machine.folder, machine.name) as qmp:
                yield qmp
        except QmpUnreachableError as error:
            reason = f"The machine ended or does not answer: {error}"
            raise HypervisorError(machine=machine.name, operation="reach QEMU", reason=reason) from error

    def _view(self) -> admission.HostView:
        parent_of = _parent_of(self.storage.bases())
        formats = tuple(cmdline.DRIVERS)
        return admission.HostView(self.list_machines(), self.list_switches(), formats, parent_of)


def _parent_of(bases: Mapping[Path, DiskFile]) -> rules.ParentOf:
    def parent_of(path: Path) -> Path | None:
        base = bases.get(path.resolve())
        return None if base is None else base.path

    return parent_of


def _new_mac() -> str:
    return "52:54:00:" + ":".join(f"{b:02x}" for b in uuid.uuid4().bytes[:3])
