"""Rules that bind machines, disks and generations together; pure, the same for every driver.

Source: Hyper-V's own behaviour as documented for New-VM, Add-VMHardDiskDrive and Set-VMFirmware:
generation 1 boots from IDE (two controllers with two places each), generation 2 has SCSI only and boots from
VHDX only; IDE disks change only while the machine is off; SCSI disks at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sekiso.errors import RuleError
from sekiso.hypervisors.errors import (
    DiskFormatError,
    DiskInUseError,
    GenerationError,
    NoSlotError,
    TemplateUnsuitableError,
    WrongStateError,
)
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    MachineFacts,
    MachineSpec,
    MachineState,
    TemplateFacts,
)
from sekiso.model.machine import DiskFormat, Generation

SLOTS = {DiskController.IDE: 4, DiskController.SCSI: 64}
MAX_ADAPTERS = 8
MAX_CPUS = 240
MIN_MEMORY_BYTES = 32 << 20
_MAX_NAME_CHARS = 100
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")

#: Tells the base of a disk, None for a disk that stands alone.
ParentOf = Callable[[Path], Path | None]


def check_spec(spec: MachineSpec) -> None:
    """Check what can be checked without the host: values, and what the generation offers.

    Raises:
        RuleError: a value that no machine can have.
        GenerationError: the generation does not offer what is asked for.
    """
    _check_values(spec)
    _check_adapters(spec)
    if spec.generation is Generation.ONE:
        for asked, what in ((spec.secure_boot, "Secure Boot"), (spec.tpm, "A TPM")):
            if asked:
                raise _generation(spec, f"{what} needs UEFI firmware.", "Use generation 2.")
    for disk in spec.disks:
        check_disk(spec, disk)


def _check_values(spec: MachineSpec) -> None:
    name = spec.name
    if not name.strip() or name != name.strip() or len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise RuleError(
            field="name",
            reason="A machine's name has 1 to 100 printable characters and no space at its ends.",
            remedy="Choose another name.",
        )
    if not 1 <= spec.cpus <= MAX_CPUS:
        raise RuleError(
            field="cpus",
            reason=f"A machine has 1 to {MAX_CPUS} processors, not {spec.cpus}.",
            remedy="Choose another number of processors.",
        )
    if spec.memory_bytes < MIN_MEMORY_BYTES or spec.memory_bytes % (1 << 20):
        raise RuleError(
            field="memory_bytes",
            reason="Memory is given in whole MiB and is at least 32 MiB.",
            remedy="Choose another amount of memory.",
        )
    if not (640 <= spec.video.width_px <= 7680 and 480 <= spec.video.height_px <= 4320):
        raise RuleError(
            field="video",
            reason="A screen has between 640 × 480 and 7680 × 4320 pixels.",
            remedy="Choose another size of the screen.",
        )
    if spec.folder is not None and not spec.folder.is_absolute():
        raise RuleError(field="folder", reason="The path is not absolute.", remedy="Give the whole path.")


def _check_adapters(spec: MachineSpec) -> None:
    if len(spec.adapters) > MAX_ADAPTERS:
        raise RuleError(
            field="adapters",
            reason=f"A machine has at most {MAX_ADAPTERS} network adapters.",
            remedy="Leave some out.",
        )
    for adapter in spec.adapters:
        if adapter.mac is not None and not _MAC.fullmatch(adapter.mac):
            raise RuleError(
                field="mac",
                reason=f"{adapter.mac} is no hardware address of a single adapter.",
                remedy="Write it like 00:15:5d:01:02:03, or leave it out.",
            )


def check_disk(spec: MachineSpec, disk: DiskAttachment) -> None:
    """Check a disk against the generation of its machine.

    Raises:
        RuleError: the path is not absolute.
        GenerationError: wrong controller, or a format the generation does not boot from.
        NoSlotError: the controller has no such slot.
    """
    if not disk.path.is_absolute():
        raise RuleError(field="path", reason="The path is not absolute.", remedy="Give the whole path.")
    if spec.generation is Generation.TWO and disk.controller is DiskController.IDE:
        raise _generation(spec, "Generation 2 has no IDE controller.", "Attach the disk to SCSI.")
    if disk.read_only and disk.controller is DiskController.IDE:
        raise _generation(spec, "An IDE disk can always be written to.", "Attach the disk to SCSI.")
    if disk.boot_order is not None:
        if spec.generation is Generation.ONE and disk.controller is not DiskController.IDE:
            raise _generation(spec, "Generation 1 boots from IDE disks only.", "Attach the boot disk to IDE.")
        if spec.generation is Generation.TWO and disk.format is DiskFormat.VHD:
            raise _generation(spec, "Generation 2 boots from VHDX only.", "Convert the disk to VHDX.")
    if disk.slot is not None and not 0 <= disk.slot < SLOTS[disk.controller]:
        raise NoSlotError(
            machine=spec.name,
            controller=disk.controller.value.upper(),
            reason=f"Its slots are 0 to {SLOTS[disk.controller] - 1}.",
        )


def _generation(spec: MachineSpec, reason: str, remedy: str) -> GenerationError:
    return GenerationError(machine=spec.name, generation=spec.generation.value, reason=reason, remedy=remedy)


def place_disk(spec: MachineSpec, disk: DiskAttachment) -> DiskAttachment:
    """Return the disk with a slot that no disk of `spec` has.

    Raises:
        NoSlotError: the wanted slot is taken, or all are.
    """
    taken = {d.slot for d in spec.disks if d.controller is disk.controller}
    if disk.slot is not None and disk.slot not in taken:
        return disk
    free = (n for n in range(SLOTS[disk.controller]) if n not in taken)
    slot = next(free, None)
    if slot is None or disk.slot is not None:
        what = "All its slots are taken." if slot is None else f"Slot {disk.slot} is taken."
        raise NoSlotError(machine=spec.name, controller=disk.controller.value.upper(), reason=what)
    return replace(disk, slot=slot)


def place_disks(spec: MachineSpec) -> MachineSpec:
    """Return the spec with a slot for each disk; slots that were asked for are given first.

    Raises:
        NoSlotError: two disks want one slot, or there are too many.
    """
    placed = replace(spec, disks=())
    for disk in sorted(spec.disks, key=lambda d: d.slot is None):
        placed = replace(placed, disks=(*placed.disks, place_disk(placed, disk)))
    return placed


def check_format(disk: DiskAttachment, known: Sequence[DiskFormat]) -> None:
    """Check that the hypervisor attaches the format.

    Raises:
        DiskFormatError: it does not.
    """
    if disk.format not in known:
        names = ", ".join(f.value.upper() for f in known)
        raise DiskFormatError(path=disk.path, format=disk.format.value.upper(), known=names)


def check_disk_free(disk: DiskAttachment, machines: Sequence[MachineFacts], parent_of: ParentOf) -> None:
    """Check that nobody else uses a disk in a way that excludes this use.

    A disk has one writer or any number of readers. A packaging disk counts as a reader of its base.

    Raises:
        DiskInUseError: names the machine that uses it, or the packaging disk whose base it is.
    """
    path = disk.path.resolve()
    for machine in machines:
        for other in machine.disks:
            if path == other.path.resolve() and not (disk.read_only and other.read_only):
                raise DiskInUseError(
                    path=disk.path,
                    user=f"the machine {machine.name}",
                    reason="A disk may be attached once for writing, or several times for reading only.",
                )
            if not disk.read_only and path in ancestors(other.path, parent_of):
                raise DiskInUseError(
                    path=disk.path,
                    user=f"the machine {machine.name}",
                    reason=f"It is the base of {other.path}; writing to it would destroy that disk.",
                )
    _check_base_free(disk, machines, parent_of)


def _check_base_free(disk: DiskAttachment, machines: Sequence[MachineFacts], parent_of: ParentOf) -> None:
    bases = ancestors(disk.path, parent_of)
    for machine in machines:
        for other in machine.disks:
            if not other.read_only and other.path.resolve() in bases:
                raise DiskInUseError(
                    path=disk.path,
                    user=f"the machine {machine.name}",
                    reason=f"Its base {other.path} is attached there for writing.",
                )


def ancestors(path: Path, parent_of: ParentOf) -> tuple[Path, ...]:
    """Return the bases of a disk, nearest first, resolved; ends at a loop."""
    found: list[Path] = []
    parent = parent_of(path)
    while parent is not None and parent.resolve() not in found:
        found.append(parent.resolve())
        parent = parent_of(parent)
    return tuple(found)


def check_change(machine: MachineFacts, disk: DiskAttachment, operation: str) -> None:
    """Check that a disk may be attached to or detached from a machine in its present state.

    Raises:
        WrongStateError: an IDE disk while the machine is not off; any disk while it is between states.
    """
    state = machine.state
    hot = disk.controller is DiskController.SCSI and state in (MachineState.RUNNING, MachineState.PAUSED)
    if state is not MachineState.OFF and not hot:
        needed = "off" if disk.controller is DiskController.IDE else "off or running"
        raise WrongStateError(machine=machine.name, state=state.value, operation=operation, needed=needed)


def check_state(machine: MachineFacts, operation: str, *allowed: MachineState) -> None:
    """Check a machine's state.

    Raises:
        WrongStateError: it is not among `allowed`.
    """
    if machine.state not in allowed:
        needed = " or ".join(s.value for s in allowed)
        raise WrongStateError(
            machine=machine.name, state=machine.state.value, operation=operation, needed=needed
        )


def deletable_disks(
    machine: MachineFacts, others: Sequence[MachineFacts], bases: Sequence[Path]
) -> tuple[Path, ...]:
    """Return the disk files that may go with a machine.

    Args:
        machine: the machine that is deleted.
        others: all machines.
        bases: resolved paths of all disks that are the base of another disk.
    """
    kept = {d.path.resolve() for m in others if m.id != machine.id for d in m.disks} | set(bases)
    return tuple(d.path for d in machine.disks if not d.read_only and d.path.resolve() not in kept)


def template_fault(machine: MachineFacts) -> str:
    """Return why a machine cannot be a template (CC-4), in a sentence that names it; empty when it can."""
    if machine.disks:
        return (
            f"A template has no disk attached, but {machine.name} has {len(machine.disks)}: "
            f"{', '.join(d.path.name for d in machine.disks)}."
        )
    if not machine.spec.adapters:
        return f"A template has at least one network adapter, but {machine.name} has none."
    return ""


def template_facts(machine: MachineFacts) -> TemplateFacts:
    """Return what is shown of a template.

    Raises:
        TemplateUnsuitableError: the machine cannot be a template.
    """
    fault = template_fault(machine)
    if fault:
        raise TemplateUnsuitableError(machine=machine.name, reason=fault)
    spec = machine.spec
    switches = tuple(a.switch for a in spec.adapters if a.switch is not None)
    return TemplateFacts(machine.id, spec.name, spec.firmware, spec.cpus, spec.memory_bytes, switches)


def templates_of(machines: Sequence[MachineFacts]) -> tuple[TemplateFacts, ...]:
    """Return those machines that can be templates."""
    return tuple(template_facts(m) for m in machines if not template_fault(m))


def spec_from_template(
    template: MachineFacts, *, name: str, disks: Sequence[DiskAttachment], folder: Path | None
) -> MachineSpec:
    """Return the spec of a machine with the template's hardware; hardware addresses are left open.

    Raises:
        TemplateUnsuitableError: the machine cannot be a template.
    """
    template_facts(template)
    adapters = tuple(replace(a, mac=None) for a in template.spec.adapters)
    return replace(template.spec, name=name, adapters=adapters, disks=tuple(disks), folder=folder)
