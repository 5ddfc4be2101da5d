"""What every driver asks before it makes a machine or attaches a disk: the rules applied to this host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sekiso.errors import AlreadyExistsError
from sekiso.hypervisors.errors import DiskInUseError, DiskNotFoundError, NameTakenError, SwitchNotFoundError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    MachineFacts,
    MachineSpec,
    SwitchFacts,
)
from sekiso.hypervisors.rules import (
    ParentOf,
    check_change,
    check_disk,
    check_disk_free,
    check_format,
    check_spec,
    place_disk,
    place_disks,
)
from sekiso.model.machine import DiskFormat

#: Controller of a disk that is only looked at.
READER = DiskController.SCSI


@dataclass(frozen=True, slots=True)
class HostView:
    """What of a host matters for admitting machines and disks.

    Attributes:
        machines: all machines.
        switches: all switches.
        formats: formats that can be attached.
        parent_of: tells the base of a disk.
    """

    machines: Sequence[MachineFacts]
    switches: Sequence[SwitchFacts]
    formats: Sequence[DiskFormat]
    parent_of: ParentOf


def admit_machine(spec: MachineSpec, view: HostView) -> MachineSpec:
    """Check a spec against the rules and the host, and return it with a slot for each disk.

    Raises:
        SekisoError: as listed at `HypervisorDriver.create_machine`.
    """
    check_spec(spec)
    if any(m.name.casefold() == spec.name.casefold() for m in view.machines):
        raise NameTakenError(machine=spec.name)
    known = [s.name for s in view.switches]
    for adapter in spec.adapters:
        if adapter.switch is not None and adapter.switch not in known:
            raise SwitchNotFoundError(switch=adapter.switch, known=", ".join(known) or "none")
    if spec.folder is not None and spec.folder.exists() and any(spec.folder.iterdir()):
        raise AlreadyExistsError(what="The folder", name=spec.folder, remedy="Choose an empty folder.")
    seen: list[DiskAttachment] = []
    for disk in spec.disks:
        _check_disk_here(disk, view)
        _check_not_twice(spec, disk, seen)
        seen.append(disk)
    return place_disks(spec)


def admit_disk(machine: MachineFacts, disk: DiskAttachment, view: HostView) -> DiskAttachment:
    """Check a disk that is to be attached to a machine, and return it with its slot.

    Raises:
        SekisoError: as listed at `HypervisorDriver.attach_disk`.
    """
    check_disk(machine.spec, disk)
    check_change(machine, disk, operation("attach", disk))
    _check_disk_here(disk, view)
    _check_not_twice(machine.spec, disk, machine.disks)
    return place_disk(machine.spec, disk)


def _check_disk_here(disk: DiskAttachment, view: HostView) -> None:
    if not disk.path.is_file():
        raise DiskNotFoundError(path=disk.path, reason="There is no such file.")
    check_format(disk, view.formats)
    check_disk_free(disk, view.machines, view.parent_of)


def _check_not_twice(spec: MachineSpec, disk: DiskAttachment, others: Sequence[DiskAttachment]) -> None:
    if any(disk.path.resolve() == o.path.resolve() for o in others):
        raise DiskInUseError(
            path=disk.path,
            user=f"the machine {spec.name}",
            reason="One machine cannot have the same disk twice.",
        )


def admit_packaging_disk(boot_disk: DiskFile, target: Path, view: HostView) -> None:
    """Check that a packaging disk can be made over a boot disk.

    Raises:
        DiskNotFoundError: the boot disk is not there.
        DiskInUseError: a machine may write to it.
        AlreadyExistsError: the target exists.
    """
    reader = DiskAttachment(boot_disk.path, boot_disk.format, READER, read_only=True)
    _check_disk_here(reader, view)
    refuse_overwrite(target)


def admit_merge(packaging_disk: Path, target: Path, view: HostView) -> Path:
    """Check that a packaging disk can be merged with its base, and return the base.

    Raises:
        DiskNotFoundError: it is no packaging disk.
        DiskInUseError: a machine that is not off uses it.
        AlreadyExistsError: the target exists.
    """
    base = view.parent_of(packaging_disk)
    if base is None:
        raise DiskNotFoundError(path=packaging_disk, reason="It is no packaging disk of this host.")
    for machine in view.machines:
        used = [d.path.resolve() for d in machine.disks]
        if machine.state.active and packaging_disk.resolve() in used:
            reason = "Its guest may be writing; the machine must be off."
            raise DiskInUseError(path=packaging_disk, user=f"the machine {machine.name}", reason=reason)
    refuse_overwrite(target)
    return base


def refuse_overwrite(target: Path) -> None:
    """Refuse to write over a disk.

    Raises:
        AlreadyExistsError: the file exists.
    """
    if target.exists() or target.is_symlink():
        raise AlreadyExistsError(what="The disk", name=target, remedy="Choose another path.")


def operation(verb: str, disk: DiskAttachment) -> str:
    """Return the words for what is done to a disk."""
    return f"{verb} {'an IDE' if disk.controller is DiskController.IDE else 'a'} disk"


def with_disk(spec: MachineSpec, disk: DiskAttachment) -> MachineSpec:
    """Return the spec with one disk more."""
    return replace(spec, disks=(*spec.disks, disk))


def without_disk(machine: MachineFacts, path: Path) -> tuple[MachineSpec, DiskAttachment]:
    """Return the spec without a disk, and that disk.

    Raises:
        DiskNotFoundError: the machine has no such disk.
    """
    for disk in machine.disks:
        if disk.path == path or disk.path.resolve() == path.resolve():
            rest = tuple(d for d in machine.disks if d is not disk)
            return replace(machine.spec, disks=rest), disk
    raise DiskNotFoundError(path=path, reason=f"It is not attached to the machine {machine.name}.")
