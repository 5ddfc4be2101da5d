"""The compositing engine as the agent uses it: in a process of its own, which ends with the command.

Import and capture write XPRESS, the form that travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.contract import DiskRecipe
from sekiso.compositing.jobs import CaptureJob, ComposeJob, ImportJob, PackJob, run_job
from sekiso.model.layer import LayerKind
from sekiso.model.progress import Progress
from sekiso.store.layer_file import Compression


@dataclass(frozen=True, slots=True)
class LayerWork:
    """A layer file that the engine has made.

    Attributes:
        identity: its identity.
        changed: entries that it adds or changes.
        deleted: entries that it deletes.
        os_name: name of the operating system; imports only.
        notes: what a reader must know.
    """

    identity: str
    changed: int
    deleted: int
    os_name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskWork:
    """A disk that the engine has made: identity of its plan, and the number of conflicts."""

    plan_id: str
    conflicts: int


@dataclass(frozen=True, slots=True)
class CaptureWish:
    """A packaging disk to capture; see `CaptureLayerParams`."""

    packaging_disk: Path
    boot_disk: Path
    base: tuple[Path, ...]
    name: str
    version: str
    kind: LayerKind
    ignore_gate: bool


def import_system(
    source: Path, out: Path, *, name: str, version: str, guest_tools: bool, progress: Progress
) -> LayerWork:
    """Import the operating system on a disk as a layer.

    Raises:
        SekisoError: as for `run_job`.
    """
    job = ImportJob(
        source=str(source),
        out=str(out),
        name=name,
        version=version,
        guest_tools=guest_tools,
        compression=Compression.XPRESS,
    )
    made = run_job(job, progress=progress)
    return LayerWork(made.identity, made.entries, 0, made.os_name, made.notes)


def compose_disk(
    recipe: DiskRecipe, layers: Sequence[Path], out: Path, *, seed: str, progress: Progress
) -> DiskWork:
    """Compose layers into a disk.

    Raises:
        SekisoError: as for `run_job`.
    """
    job = ComposeJob(
        layers=tuple(str(path) for path in layers),
        out=str(out),
        generation=recipe.generation,
        disk_format=recipe.disk_format,
        allocation=recipe.allocation,
        size_bytes=recipe.size_bytes,
        generalization=recipe.generalization,
        seed=seed,
        created_s=recipe.created_s,
        title=recipe.title,
    )
    made = run_job(job, progress=progress)
    return DiskWork(made.plan_id, made.conflicts)


def capture_changes(wish: CaptureWish, out: Path, *, progress: Progress) -> LayerWork:
    """Capture the changes on a packaging disk as a layer.

    Raises:
        SekisoError: as for `run_job`.
    """
    job = CaptureJob(
        packaging_disk=str(wish.packaging_disk),
        boot_disk=str(wish.boot_disk),
        base=tuple(str(path) for path in wish.base),
        out=str(out),
        name=wish.name,
        version=wish.version,
        kind=wish.kind,
        compression=Compression.XPRESS,
        ignore_gate=wish.ignore_gate,
    )
    made = run_job(job, progress=progress)
    return LayerWork(made.identity, made.changed, made.deleted, notes=made.notes)


def pack_disk(source: Path, chain: Sequence[Path], out: Path, *, progress: Progress) -> None:
    """Copy a disk, joined with the disks below it, as a compact VHDX.

    Args:
        source: the disk.
        chain: the disks below it that may lie elsewhere than beside it.
        out: the copy.
        progress: gets bytes; asked for cancellation.

    Raises:
        SekisoError: as for `run_job`.
    """
    job = PackJob(source=str(source), out=str(out), allow=tuple(str(path) for path in chain))
    run_job(job, progress=progress)
