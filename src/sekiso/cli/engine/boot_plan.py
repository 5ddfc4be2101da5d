"""What `sekiso engine boot --dry-run` prints: the machine and the disks that would be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.machines import MachineSettings
from sekiso.cli.language import number, say
from sekiso.cli.output import human_bytes, print_json, print_pairs, print_table
from sekiso.errors import NotFoundError
from sekiso.hypervisors.facts import DiskFile
from sekiso.model.machine import Generation


@dataclass(frozen=True, slots=True)
class PlannedDisk:
    """One disk of the machine.

    Attributes:
        path: its file; empty for one that is thrown away after the run.
        format: disk format.
        controller: `IDE` or `SCSI`.
        purpose: what it is for, in English.
        made: whether it would be made by this run.
        read_only: whether the guest can only read it.
    """

    path: str
    format: str
    controller: str
    purpose: str
    made: bool = True
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """The machine that a run would make.

    Attributes:
        image: the disk it starts from, never written.
        generation: Hyper-V generation.
        cpus: virtual processors.
        memory_bytes: memory.
        secure_boot: whether Secure Boot is enforced.
        secure_boot_template: whose signatures are trusted; empty in generation 1.
        timeout_s: how long the guest may take.
        ends: `report` (turned off after the guest's report) or `off` (runs until it switches itself off).
        disks: its disks.
    """

    image: str
    generation: int
    cpus: int
    memory_bytes: int
    secure_boot: bool
    secure_boot_template: str
    timeout_s: float
    ends: str
    disks: tuple[PlannedDisk, ...]


def plan_machine(
    image: DiskFile, settings: MachineSettings, packaging_disk: Path | None, run_once: Path | None
) -> PlannedMachine:
    """Return what a run with these settings would make.

    Raises:
        NotFoundError: the folder of the run-once files has no run.sh.
    """
    if run_once is not None and not (run_once / "run.sh").is_file():
        remedy = "Put a script with this name into the folder; it is what the packaging machine runs."
        raise NotFoundError(what="The file", name=str(run_once / "run.sh"), remedy=remedy)
    is_second = settings.generation is Generation.TWO
    controller = "SCSI" if is_second else "IDE"
    if packaging_disk is None:
        writable = PlannedDisk("", "qcow2", controller, purpose="What the guest writes; thrown away.")
    else:
        made = not packaging_disk.exists()
        writable = PlannedDisk(
            str(packaging_disk), "qcow2", controller, made=made, purpose="What the guest writes; kept."
        )
    disks = [writable]
    if run_once is not None:
        disks.append(
            PlannedDisk("", "raw", "SCSI", read_only=True, purpose="The files that run once; thrown away.")
        )
    return PlannedMachine(
        image=str(image.path),
        generation=int(settings.generation),
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        secure_boot=settings.secure_boot,
        secure_boot_template=settings.secure_boot_template.value if is_second else "",
        timeout_s=settings.timeout_s,
        ends="report" if packaging_disk is None else "off",
        disks=tuple(disks),
    )


def show_plan(plan: PlannedMachine, *, as_json: bool) -> None:
    """Print a plan as JSON or for people."""
    if as_json:
        print_json({"machine": plan})
        return
    ends = {
        "report": say("when its guest has reported"),
        "off": say("when it switches itself off"),
    }[plan.ends]
    print_pairs(
        [
            ("Machine", say("(dry run: not started)")),
            ("Starts from", plan.image),
            ("Generation", plan.generation),
            ("Processors", plan.cpus),
            ("Memory", human_bytes(plan.memory_bytes)),
            ("Secure Boot", say("enforced") if plan.secure_boot else say("off")),
            ("Trusted signatures", plan.secure_boot_template if plan.secure_boot else ""),
            ("Ends", ends),
            ("Waits at most", say("{seconds} seconds", seconds=number(int(plan.timeout_s)))),
        ]
    )
    rows = [
        (
            disk.path or say("(temporary)"),
            disk.format,
            disk.controller,
            say("yes") if disk.made else say("no"),
            say("yes") if disk.read_only else say("no"),
            say(disk.purpose),
        )
        for disk in plan.disks
    ]
    print_table(["Disk", "Format", "Controller", "Would be made", "Read-only", "Purpose"], rows)
