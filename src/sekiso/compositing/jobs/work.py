"""What each job does that needs the engine. Only the process of the job loads this and all behind it."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path

from sekiso.compositing.capture import CaptureRequest, capture
from sekiso.compositing.composition import merge_stack
from sekiso.compositing.execute import execute
from sekiso.compositing.families import support_for
from sekiso.compositing.import_os import ImportRequest, import_os
from sekiso.compositing.jobs.model import (
    CaptureJob,
    ComposeJob,
    ConflictsJob,
    ImportJob,
    PackJob,
    PlanJob,
    SquashJob,
    VerifyLayerJob,
)
from sekiso.compositing.jobs.results import (
    CaptureSummary,
    ComposeSummary,
    ConflictsSummary,
    ImportSummary,
    PackSummary,
    PlanSummary,
    SquashSummary,
    Summary,
    VerifySummary,
)
from sekiso.compositing.planning import plan_image
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.squash import SquashRequest, squash
from sekiso.compositing.stack import LayerStack
from sekiso.compositing.verify import verify_layer
from sekiso.disks.convert import convert
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import Progress
from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import nodes


@singledispatch
def do_work(job: object, progress: Progress) -> Summary:
    """Do a job in this process.

    Raises:
        SekisoError: as the engine's function for it.
    """
    raise TypeError(f"no such job: {job} ({progress})")


@do_work.register
def _import(job: ImportJob, progress: Progress) -> ImportSummary:
    out = Path(job.out)
    request = ImportRequest(
        source=Path(job.source),
        out=out,
        name=job.name,
        layer_version=job.version,
        guest_tools=job.guest_tools,
        compression=job.compression,
    )
    result = import_os(request, progress=progress)
    manifest, preview = result.manifest, result.preview
    entries, content_bytes = _size(out)
    return ImportSummary(
        path=job.out,
        identity=manifest.identity,
        file_bytes=result.file_bytes,
        entries=entries,
        content_bytes=content_bytes,
        family=manifest.family,
        generation=preview.boot.generation,
        os_name=preview.plan.os_name,
        notes=manifest.notes,
    )


@do_work.register
def _pack(job: PackJob, progress: Progress) -> PackSummary:
    out = Path(job.out)
    allow = tuple(Path(path) for path in job.allow)
    facts = convert(Path(job.source), out, DiskFormat.VHDX, allow=allow, progress=progress)
    return PackSummary(job.out, out.stat().st_size, facts.virtual_size_bytes)


@do_work.register
def _compose(job: ComposeJob, progress: Progress) -> ComposeSummary:
    request = _request(job, Path(job.out))
    with LayerStack.open(request.layers) as stack:
        planned = plan_image(request, stack, support_for(stack.family), progress=progress)
        result = execute(planned, request, stack, progress=progress)
    plan = result.plan
    return ComposeSummary(
        path=job.out,
        plan_id=plan.plan_id,
        file_bytes=result.file_bytes,
        size_bytes=plan.size_bytes,
        conflicts=len(plan.conflicts),
        entries=plan.entries,
        content_bytes=plan.content_bytes,
        notes=plan.notes,
    )


@do_work.register
def _plan(job: PlanJob, progress: Progress) -> PlanSummary:
    request = _request(job, Path(f"{job.title or 'image'}.{job.disk_format}"))
    with LayerStack.open(request.layers) as stack:
        plan = plan_image(request, stack, support_for(stack.family), progress=progress).plan
    return PlanSummary(
        plan_id=plan.plan_id,
        plan=plan.to_dict(),
        conflicts=plan.conflicts,
        size_bytes=plan.size_bytes,
        entries=plan.entries,
        content_bytes=plan.content_bytes,
        notes=plan.notes,
    )


def _request(job: ComposeJob | PlanJob, out: Path) -> ComposeRequest:
    return ComposeRequest(
        layers=tuple(Path(path) for path in job.layers),
        out=out,
        generation=job.generation,
        disk_format=job.disk_format,
        allocation=job.allocation,
        size_bytes=job.size_bytes,
        generalization=job.generalization,
        bootable=job.bootable,
        seed=job.seed,
        created=job.created_s,
        title=job.title,
    )


@do_work.register
def _capture(job: CaptureJob, progress: Progress) -> CaptureSummary:
    request = CaptureRequest(
        packaging_disk=Path(job.packaging_disk),
        boot_disk=Path(job.boot_disk),
        base=tuple(Path(path) for path in job.base),
        out=Path(job.out),
        name=job.name,
        layer_version=job.version,
        kind=job.kind,
        compression=job.compression,
        ignore_gate=job.ignore_gate,
        boot_disk_root=job.boot_disk_root,
    )
    result = capture(request, progress=progress)
    with LayerFile(request.out) as layer:
        summary = layer.summary()
    return CaptureSummary(
        path=job.out,
        identity=summary.identity,
        file_bytes=summary.file_bytes,
        content_bytes=summary.content_bytes,
        changed=len(result.changed),
        deleted=len(result.deleted),
        excluded=len(result.excluded),
        notes=summary.manifest.notes,
    )


@do_work.register
def _squash(job: SquashJob, progress: Progress) -> SquashSummary:
    request = SquashRequest(
        previous=Path(job.previous),
        delta=Path(job.delta),
        out=Path(job.out),
        name=job.name,
        layer_version=job.version,
        compression=job.compression,
        generation=job.generation,
        base=tuple(Path(path) for path in job.base),
    )
    manifest = squash(request, progress=progress)
    entries, content_bytes = _size(request.out)
    return SquashSummary(
        path=job.out,
        identity=manifest.identity,
        file_bytes=request.out.stat().st_size,
        content_bytes=content_bytes,
        entries=entries,
        deleted=len(manifest.deleted),
        notes=manifest.notes,
    )


def _size(layer_file: Path) -> tuple[int, int]:
    """Return the number of entries in a layer's tree, and the bytes of its content."""
    with LayerFile(layer_file) as layer:
        return sum(1 for _ in nodes(layer.tree())), layer.summary().content_bytes


@do_work.register
def _conflicts(job: ConflictsJob, progress: Progress) -> ConflictsSummary:
    with LayerStack.open([Path(path) for path in job.layers]) as stack:
        merged = merge_stack(stack, support_for(stack.family), created=0, progress=progress)
        return ConflictsSummary(merged.conflicts, merged.notes)


@do_work.register
def _verify(job: VerifyLayerJob, progress: Progress) -> VerifySummary:
    found = verify_layer(Path(job.path), progress=progress)
    return VerifySummary(found.identity, found.entries, found.content_bytes)
