"""What every hypervisor driver can do: small primitives, called synchronously.

Retry, time limits and "was the state reached?" are not here but once for all drivers in `waiting`; rules
that need no hypervisor are in `rules`. A driver keeps nothing in memory that it could not find again: a new
driver object on the same host sees the same machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskFile,
    GuestMessages,
    GuestPort,
    HostFacts,
    MachineFacts,
    MachineSpec,
    SwitchFacts,
    TemplateFacts,
)
from sekiso.model.progress import NO_PROGRESS, Progress


class HypervisorDriver(Protocol):
    """Primitives of a hypervisor. All may raise `HypervisorError` when the hypervisor itself fails."""

    def host(self) -> HostFacts:
        """Return what the host is and can do."""
        ...

    def list_switches(self) -> tuple[SwitchFacts, ...]:
        """Return the virtual switches, sorted by name."""
        ...

    def list_machines(self) -> tuple[MachineFacts, ...]:
        """Return all machines, sorted by name."""
        ...

    def list_templates(self) -> tuple[TemplateFacts, ...]:
        """Return the machines usable as templates: at least one network adapter and no disk (CC-4)."""
        ...

    def create_machine(self, spec: MachineSpec) -> MachineFacts:
        """Make a machine in the state off.

        Raises:
            RuleError: a value that no machine can have.
            NameTakenError: the name is used.
            GenerationError: the generation does not offer what the spec asks for.
            SwitchNotFoundError: an adapter names a switch that the host has not.
            DiskNotFoundError, DiskFormatError, DiskInUseError, NoSlotError: a disk cannot be attached.
            AlreadyExistsError: the folder holds something.
        """
        ...

    def create_machine_from_template(
        self,
        template_id: str,
        *,
        name: str,
        disks: Sequence[DiskAttachment] = (),
        folder: Path | None = None,
    ) -> MachineFacts:
        """Make a machine that takes over the hardware of a template (CC-4); hardware addresses are new.

        Raises:
            MachineNotFoundError: there is no such template.
            TemplateUnsuitableError: the machine breaks the rules for templates; names it.
            SekisoError: as for `create_machine`.
        """
        ...

    def get_machine(self, machine_id: str) -> MachineFacts:
        """Return one machine.

        Raises:
            MachineNotFoundError: there is none with this identifier.
        """
        ...

    def start(self, machine_id: str) -> None:
        """Turn a machine on; returns when the hypervisor has begun to run it.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not off.
            DiskInUseError: a disk is held by another machine or program.
            DiskNotFoundError: a disk file is gone.
        """
        ...

    def request_shut_down(self, machine_id: str) -> None:
        """Ask the guest to shut down, as the power button does; returns at once.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not running.
        """
        ...

    def turn_off(self, machine_id: str, *, timeout_s: float = 30.0) -> None:
        """Cut the power; the machine is off afterwards. Harmless when it is off already.

        Raises:
            MachineNotFoundError: there is no such machine.
            StateTimeoutError: even the host could not end it in time.
        """
        ...

    def delete_machine(self, machine_id: str, *, delete_disks: bool) -> None:
        """Remove a machine with its own files.

        Args:
            machine_id: the machine.
            delete_disks: also remove its disk files, but never one that is attached read-only, is attached to
                another machine, or is the base of another disk.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not off.
        """
        ...

    def attach_disk(self, machine_id: str, disk: DiskAttachment) -> DiskAttachment:
        """Attach a disk and return the attachment with its slot; SCSI also while the machine runs.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: an IDE disk and the machine is not off.
            GenerationError: the generation has no such controller or does not boot from the format.
            DiskNotFoundError, DiskFormatError, DiskInUseError, NoSlotError: the disk cannot be attached.
        """
        ...

    def detach_disk(self, machine_id: str, path: Path) -> None:
        """Detach a disk; the file stays.

        Raises:
            MachineNotFoundError: there is no such machine.
            DiskNotFoundError: the disk is not attached to it.
            WrongStateError: an IDE disk and the machine is not off.
        """
        ...

    def create_packaging_disk(self, boot_disk: DiskFile, path: Path) -> DiskFile:
        """Make a writable disk that records only the changes to a boot disk, which is never written.

        Args:
            boot_disk: the base; from now on it can be attached read-only only.
            path: where, without the suffix, which the driver adds.

        Raises:
            DiskNotFoundError: the boot disk is not there.
            AlreadyExistsError: the file exists.
            UnsupportedInputError: the boot disk cannot be a base.
        """
        ...

    def merge_packaging_disk(
        self, packaging_disk: Path, target: DiskFile, *, progress: Progress = NO_PROGRESS
    ) -> None:
        """Write a packaging disk together with its base as one disk of its own.

        Raises:
            DiskNotFoundError: `packaging_disk` is no packaging disk of this host.
            DiskInUseError: a machine that is not off uses it.
            AlreadyExistsError: the target exists.
            CanceledError: the work was canceled; nothing is left behind.
        """
        ...

    def screenshot(self, machine_id: str) -> bytes:
        """Return the machine's screen as a PNG file.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not running.
        """
        ...

    def guest_messages(self, machine_id: str, port: GuestPort, *, since: int = 0) -> GuestMessages:
        """Return what the guest wrote to a serial port since an offset; at most 1 MiB at once.

        Offsets count from the creation of the machine and grow for ever, also over restarts of the machine
        and of this process. A reader that is far behind may find the oldest text dropped.

        Raises:
            MachineNotFoundError: there is no such machine.
        """
        ...

    def send_keys(self, machine_id: str, keys: Sequence[str]) -> None:
        """Press keys one after the other: `a`, `enter`, `ctrl-alt-delete`.

        Raises:
            MachineNotFoundError: there is no such machine.
            WrongStateError: it is not running.
            RuleError: a key that is not known.
        """
        ...
