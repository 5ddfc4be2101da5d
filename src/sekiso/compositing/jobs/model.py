"""Engine work as data. Paths are text, so that a job crosses a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sekiso.compositing.jobs.results import (
    CaptureSummary,
    ComposeSummary,
    ConflictsSummary,
    DiffSummary,
    FilesSummary,
    ImportSummary,
    PackSummary,
    PlanSummary,
    SquashSummary,
    Summary,
    VerifySummary,
)
from sekiso.guests.booting import Generalization
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation
from sekiso.store.layer_file import Compression

DEFAULT_LIMIT = 1000

R = TypeVar("R", bound=Summary)


class JobOf(Generic[R]):
    """A job that has a result of one kind."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ImportJob(JobOf[ImportSummary]):
    """Import the operating system on a disk as a layer. Result: `ImportSummary`.

    Attributes:
        source: the disk file.
        out: the layer file to make.
        name: name of the layer.
        version: name of the version.
        guest_tools: whether Sekiso's guest tools are added.
        compression: how the content is stored.
    """

    source: str
    out: str
    name: str
    version: str
    guest_tools: bool = True
    compression: Compression = Compression.XPRESS


@dataclass(frozen=True, slots=True)
class PackJob(JobOf[PackSummary]):
    """Copy a disk, with the disks below it, as a compact dynamic VHDX. Result: `PackSummary`.

    Attributes:
        source: the disk file.
        out: the VHDX to make.
        allow: files or folders where disks below it may lie, beside its own folder.
    """

    source: str
    out: str
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComposeJob(JobOf[ComposeSummary]):
    """Compose layers into a disk. Result: `ComposeSummary`. See `ComposeRequest`.

    Attributes:
        layers: layer files; app layers from low to high priority.
        out: the disk file to make.
        generation: generation of the machines it is for.
        disk_format: VHD, VHDX or raw.
        allocation: fixed or dynamic.
        size_bytes: size of the disk; None = what the layers need.
        generalization: what happens to the machine's identity.
        seed: makes the identifiers repeatable; None = fresh ones.
        created_s: time stamp of what the engine makes, Unix seconds; None = now.
        title: what the boot menu calls it; None = name of the file.
        bootable: False makes a data volume.
    """

    layers: tuple[str, ...]
    out: str
    generation: Generation
    disk_format: DiskFormat
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: Generalization = Generalization.OFFLINE
    seed: str | None = None
    created_s: int | None = None
    title: str | None = None
    bootable: bool = True


@dataclass(frozen=True, slots=True)
class PlanJob(JobOf[PlanSummary]):
    """Plan an image; nothing is written. Result: `PlanSummary`. Attributes as `ComposeJob`."""

    layers: tuple[str, ...]
    generation: Generation
    disk_format: DiskFormat
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: Generalization = Generalization.OFFLINE
    seed: str | None = None
    created_s: int | None = None
    title: str | None = None
    bootable: bool = True


@dataclass(frozen=True, slots=True)
class CaptureJob(JobOf[CaptureSummary]):
    """Capture what changed on a packaging disk as a layer. Result: `CaptureSummary`. See `CaptureRequest`.

    Attributes:
        packaging_disk: the disk with the changes.
        boot_disk: the disk it started from, or the same disk composed again.
        base: the layers of the boot disk, lowest first.
        out: the layer file to make.
        name: name of the layer.
        version: name of the version.
        kind: app or platform; changes to an OS layer are captured as app and squashed into it.
        compression: how the content is stored.
        ignore_gate: capture although the guest has pending work.
        boot_disk_root: root of the manifest of the boot disk's file, if known: another one is refused.
    """

    packaging_disk: str
    boot_disk: str
    base: tuple[str, ...]
    out: str
    name: str
    version: str
    kind: LayerKind = LayerKind.APP
    compression: Compression = Compression.XPRESS
    ignore_gate: bool = False
    boot_disk_root: str | None = None


@dataclass(frozen=True, slots=True)
class SquashJob(JobOf[SquashSummary]):
    """Make one layer of a version and the changes captured on top of it. Result: `SquashSummary`.

    Attributes:
        previous: layer file of the version before.
        delta: layer file with the changes.
        out: the layer file to make.
        name: name of the layer.
        version: name of the new version.
        compression: how the content is stored.
        generation: new generation of an OS layer; None = as it was.
        base: the layers below `previous`, if at hand, lowest first: deletions of what none of them has are
            left out then.
    """

    previous: str
    delta: str
    out: str
    name: str
    version: str
    compression: Compression = Compression.XPRESS
    generation: Generation | None = None
    base: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListFilesJob(JobOf[FilesSummary]):
    """List what a layer holds in one folder (LY-7). Result: `FilesSummary`."""

    layer: str
    path: str = "/"
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class DiffLayersJob(JobOf[DiffSummary]):
    """Find what differs between two layers (LY-7). Result: `DiffSummary`.

    Attributes:
        left: the layer before.
        right: the layer after.
        limit: how many differences are listed at most.
    """

    left: str
    right: str
    limit: int = 10 * DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class ConflictsJob(JobOf[ConflictsSummary]):
    """List what layers disagree about (LY-6). Result: `ConflictsSummary`.

    Attributes:
        layers: layer files, in merge order.
    """

    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyLayerJob(JobOf[VerifySummary]):
    """Read a layer file to its last byte and check every hash. Result: `VerifySummary`."""

    path: str


Job = (
    ImportJob
    | PackJob
    | ComposeJob
    | PlanJob
    | CaptureJob
    | SquashJob
    | ListFilesJob
    | DiffLayersJob
    | ConflictsJob
    | VerifyLayerJob
)

#: Each kind of job, and the kind of its result.
RESULTS: dict[type[JobOf[Any]], type[Summary]] = {
    ImportJob: ImportSummary,
    PackJob: PackSummary,
    ComposeJob: ComposeSummary,
    PlanJob: PlanSummary,
    CaptureJob: CaptureSummary,
    SquashJob: SquashSummary,
    ListFilesJob: FilesSummary,
    DiffLayersJob: DiffSummary,
    ConflictsJob: ConflictsSummary,
    VerifyLayerJob: VerifySummary,
}
