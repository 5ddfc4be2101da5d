"""The compositing engine as the agent uses it. Import and capture write XPRESS, the form that travels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.contract import DiskRecipe
from sekiso.compositing.capture import CaptureRequest, capture
from sekiso.compositing.execute import execute
from sekiso.compositing.families import support_for
from sekiso.compositing.import_os import ImportRequest, import_os
from sekiso.compositing.planning import plan_image
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.disks.convert import convert
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import Progress
from sekiso.store.layer_file import Compression, LayerFile
from sekiso.wim.tree import nodes


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
        SekisoError: as for `import_os`.
    """
    request = ImportRequest(source, out, name, version, guest_tools, Compression.XPRESS)
    result = import_os(request, progress=progress)
    with LayerFile(out) as layer:
        entries = sum(1 for _ in nodes(layer.tree()))
    manifest, plan = result.manifest, result.preview.plan
    return LayerWork(manifest.identity, entries, 0, plan.os_name, manifest.notes)


def compose_disk(
    recipe: DiskRecipe, layers: Sequence[Path], out: Path, *, seed: str, progress: Progress
) -> DiskWork:
    """Compose layers into a disk.

    Raises:
        SekisoError: as for `plan_image` and `execute`.
    """
    request = ComposeRequest(
        layers=tuple(layers),
        out=out,
        generation=recipe.generation,
        disk_format=recipe.disk_format,
        allocation=recipe.allocation,
        size_bytes=recipe.size_bytes,
        generalization=recipe.generalization,
        seed=seed,
        created=recipe.created_s,
    )
    with LayerStack.open(request.layers) as stack:
        planned = plan_image(request, stack, support_for(stack.family), progress=progress)
        execute(planned, request, stack, progress=progress)
    return DiskWork(planned.plan.plan_id, len(planned.plan.conflicts))


def capture_changes(wish: CaptureWish, out: Path, *, progress: Progress) -> LayerWork:
    """Capture the changes on a packaging disk as a layer.

    Raises:
        SekisoError: as for `capture`.
    """
    request = CaptureRequest(
        packaging_disk=wish.packaging_disk,
        boot_disk=wish.boot_disk,
        base=wish.base,
        out=out,
        name=wish.name,
        layer_version=wish.version,
        kind=wish.kind,
        compression=Compression.XPRESS,
        ignore_gate=wish.ignore_gate,
    )
    result = capture(request, progress=progress)
    with LayerFile(out) as layer:
        manifest = layer.manifest
    return LayerWork(manifest.identity, len(result.changed), len(result.deleted), notes=manifest.notes)


def pack_disk(source: Path, out: Path, *, progress: Progress) -> None:
    """Copy a disk, with the disks below it, as a compact VHDX.

    Raises:
        SekisoError: as for `convert`.
    """
    convert(source, out, DiskFormat.VHDX, progress=progress)


def flatten_disk(source: Path, chain: Sequence[Path], out: Path, *, progress: Progress) -> None:
    """Copy an overlay with the disks below it as one VHDX.

    Args:
        source: the overlay.
        chain: the disks below it, which may lie anywhere.
        out: the copy.
        progress: gets bytes; asked for cancellation.

    Raises:
        SekisoError: as for `convert`.
    """
    convert(source, out, DiskFormat.VHDX, allow=tuple(chain), progress=progress)
