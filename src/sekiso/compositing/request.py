"""What a person asks for when composing an image, and the rules it must keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sekiso.errors import RuleError
from sekiso.guests.booting import Generalization
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation, disk_format_violations


@dataclass(frozen=True, slots=True)
class ComposeRequest:
    """One image to compose.

    Attributes:
        layers: layer files; app layers from low to high priority.
        out: the disk file to make.
        generation: generation of the machines it is for.
        disk_format: VHD, VHDX, or raw.
        allocation: fixed or dynamic.
        size_bytes: size of the disk; None = what the layers need, with room to work.
        generalization: what happens to the machine's identity.
        bootable: False makes a data volume.
        seed: makes the identifiers repeatable; None = fresh ones.
        created: time stamp of what the engine makes, Unix seconds; None = now.
        title: what the boot menu calls the system; None = the name of the file.
    """

    layers: tuple[Path, ...]
    out: Path
    generation: Generation
    disk_format: DiskFormat
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: Generalization = Generalization.OFFLINE
    bootable: bool = True
    seed: str | None = None
    created: int | None = None
    title: str | None = None


def check_request(request: ComposeRequest) -> None:
    """Check the rules that need no file to be read (CC-2; the engine runs where the disk is made).

    Raises:
        RuleError: a rule is broken; the first one a person should mend.
    """
    if request.disk_format is DiskFormat.QCOW2:
        raise RuleError(
            field="disk_format",
            reason="Images are made as VHD, VHDX or raw.",
            remedy="Choose one of these; qemu-img converts further.",
        )
    if request.disk_format is DiskFormat.RAW:
        return
    broken = disk_format_violations(request.generation, request.disk_format, offload=True)
    if broken:
        first = broken[0]
        raise RuleError(
            field=first.field,
            reason=first.reason,
            remedy="Use VHDX for generation 2; generation 1 takes both.",
        )
