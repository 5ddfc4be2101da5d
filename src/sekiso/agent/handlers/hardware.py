"""Machines at the host: made from a configuration's hardware, found again, and removed with their disks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sekiso.agent.contract import Hardware
from sekiso.errors import AmbiguousNameError, RuleError
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.errors import DiskInUseError, MachineNotFoundError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    MachineFacts,
    MachineSpec,
    MachineState,
    NetworkAdapter,
)
from sekiso.hypervisors.rules import check_state, spec_from_template
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import Generation, SecureBootTemplate


@dataclass(frozen=True, slots=True)
class WantedMachine:
    """A machine to be made.

    Attributes:
        name: its name.
        hardware: what it is made of.
        boot_disk: the disk it starts from.
        folder: where its own files go.
        read_only: further disks, attached read-only.
        family: family of its guest; empty where it is not known.
    """

    name: str
    hardware: Hardware
    boot_disk: DiskFile
    folder: Path
    read_only: tuple[DiskFile, ...] = ()
    family: str = ""


def make_machine(driver: HypervisorDriver, wanted: WantedMachine) -> MachineFacts:
    """Make a machine in the state off; the one that lies in its folder already is that machine.

    Raises:
        MachineNotFoundError: there is no such template.
        RuleError: the template has another generation.
        SekisoError: as for `HypervisorDriver.create_machine`.
    """
    found = machine_in(driver, wanted.folder)
    if found is not None:
        return found
    hardware, disks = wanted.hardware, _attachments(wanted)
    if hardware.template_vm is None:
        return driver.create_machine(_spec(wanted, disks))
    template = driver.get_machine(hardware.template_vm)
    _check_generation(template, hardware)
    plain = spec_from_template(template, name=wanted.name, disks=disks, folder=wanted.folder)
    plugged = tuple(replace(a, switch=a.switch or hardware.network) for a in plain.adapters)
    if plugged != plain.adapters:
        return driver.create_machine(replace(plain, adapters=plugged))
    return driver.create_machine_from_template(
        template.id, name=wanted.name, disks=disks, folder=wanted.folder
    )


def secure_boot_template(family: str) -> SecureBootTemplate:
    """Return whose signatures the firmware has to trust: Linux boot loaders carry Microsoft's UEFI CA."""
    if family == GuestFamily.WINDOWS:
        return SecureBootTemplate.MICROSOFT_WINDOWS
    return SecureBootTemplate.MICROSOFT_UEFI_CA


def boot_controller(generation: Generation) -> DiskController:
    """Return the controller that machines of a generation start from."""
    return DiskController.IDE if generation is Generation.ONE else DiskController.SCSI


def machine_in(driver: HypervisorDriver, folder: Path) -> MachineFacts | None:
    """Return the machine whose own files lie in a folder."""
    real = folder.resolve()
    return next((m for m in driver.list_machines() if m.folder.resolve() == real), None)


def find_machine(driver: HypervisorDriver, machine_id: str) -> MachineFacts | None:
    """Return the machine of an identifier, or None."""
    if not machine_id:
        return None
    with contextlib.suppress(MachineNotFoundError):
        return driver.get_machine(machine_id)
    return None


def named_machine(driver: HypervisorDriver, reference: str) -> MachineFacts:
    """Return the machine of this identifier, else the one of this name.

    Raises:
        MachineNotFoundError: there is none.
        AmbiguousNameError: several have the name.
    """
    found = find_machine(driver, reference)
    if found is not None:
        return found
    wanted = reference.casefold()
    named = [m for m in driver.list_machines() if m.name.casefold() == wanted]
    if not named:
        raise MachineNotFoundError(machine=reference)
    if len(named) > 1:
        raise AmbiguousNameError(what="The machine", name=reference, ids=", ".join(m.id for m in named))
    return named[0]


def boot_disk_of(machine: MachineFacts) -> DiskAttachment | None:
    """Return the disk that a machine starts from: first in the boot order, else on the first controller."""
    ordered = sorted((d for d in machine.disks if d.boot_order is not None), key=lambda d: d.boot_order or 0)
    wanted = boot_controller(machine.generation)
    placed = sorted((d for d in machine.disks if d.controller is wanted), key=lambda d: d.slot or 0)
    return next(iter((*ordered, *placed)), None)


def require_off(machine: MachineFacts, operation: str) -> None:
    """Check that a machine is off.

    Raises:
        WrongStateError: it is not.
    """
    check_state(machine, operation, MachineState.OFF)


def refuse_busy(driver: HypervisorDriver, path: Path) -> None:
    """Check that no machine that is not off can write to a disk.

    Raises:
        DiskInUseError: one can.
    """
    real = path.resolve()
    for machine in driver.list_machines():
        if machine.state is MachineState.OFF:
            continue
        if any(d.path.resolve() == real and not d.read_only for d in machine.disks):
            raise DiskInUseError(
                path=path,
                user=f"the machine {machine.name}",
                reason="A disk that is being written to cannot be read as a whole.",
            )


def remove_machine(driver: HypervisorDriver, machine: MachineFacts, home: Path) -> None:
    """Turn a machine off and remove it with those of its disks that lie in `home`; others are left alone."""
    driver.turn_off(machine.id)
    for disk in machine.disks:
        if home not in disk.path.resolve().parents:
            driver.detach_disk(machine.id, disk.path)
    driver.delete_machine(machine.id, delete_disks=True)


def sweep_machines(driver: HypervisorDriver, folder: Path) -> None:
    """Remove the machines that cut-off work has left on disks in a folder."""
    for machine in driver.list_machines():
        places = [machine.folder.resolve(), *(d.path.resolve() for d in machine.disks)]
        if any(folder in place.parents for place in places):
            remove_machine(driver, machine, folder)


def _attachments(wanted: WantedMachine) -> Sequence[DiskAttachment]:
    boot, controller = wanted.boot_disk, boot_controller(wanted.hardware.generation)
    # SCSI in both generations: an IDE disk cannot be read-only.
    others = (DiskAttachment(d.path, d.format, DiskController.SCSI, read_only=True) for d in wanted.read_only)
    return (DiskAttachment(boot.path, boot.format, controller, boot_order=0), *others)


def _spec(wanted: WantedMachine, disks: Sequence[DiskAttachment]) -> MachineSpec:
    hardware = wanted.hardware
    return MachineSpec(
        name=wanted.name,
        generation=hardware.generation,
        cpus=hardware.cpus,
        memory_bytes=hardware.memory_mb << 20,
        adapters=(NetworkAdapter(switch=hardware.network),) if hardware.network else (),
        disks=tuple(disks),
        secure_boot=hardware.secure_boot,
        secure_boot_template=secure_boot_template(wanted.family),
        folder=wanted.folder,
    )


def _check_generation(template: MachineFacts, hardware: Hardware) -> None:
    if template.generation is not hardware.generation:
        raise RuleError(
            field="template_vm",
            reason=f"The template VM {template.name} has generation {template.generation.value}, "
            f"the configuration generation {hardware.generation.value}.",
            remedy="Choose the generation of the template, or another template.",
        )
