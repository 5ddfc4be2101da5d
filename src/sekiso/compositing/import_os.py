"""Imports an operating system from a disk: its volumes become one tree, one OS layer (LY-1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sekiso import __version__
from sekiso.compositing.disk_reading import open_contents
from sekiso.compositing.edits import TreeEditor
from sekiso.compositing.files import ComposedFiles
from sekiso.compositing.systems import System, read_system, recognise_system
from sekiso.errors import AlreadyExistsError
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.importing import ImportPlan
from sekiso.model.layer import BootFacts, LayerKind, LayerManifest, Provenance
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import Compression, LayerWriter
from sekiso.wim.tree import Node


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """One operating system to import.

    Attributes:
        source: the disk file; it is only read.
        out: the layer file to make.
        name: name of the layer.
        layer_version: name of the version.
        guest_tools: whether Sekiso's guest tools are added.
        compression: how the layer's content is stored.
    """

    source: Path
    out: Path
    name: str
    layer_version: str
    guest_tools: bool = True
    compression: Compression = Compression.NONE


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """What an import will do.

    Attributes:
        family: guest family, `linux` or `windows`.
        plan: how the volumes form one tree.
        boot: facts about the source disk.
    """

    family: str
    plan: ImportPlan
    boot: BootFacts


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import made.

    Attributes:
        manifest: the layer's manifest.
        preview: what was planned.
        file_bytes: size of the layer file.
        edits: paths that the guest tools added or changed.
    """

    manifest: LayerManifest
    preview: ImportPreview
    file_bytes: int
    edits: tuple[str, ...]


def preview_import(source: Path) -> ImportPreview:
    """Find out what an import of a disk would do. Nothing is written.

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: the disk or a volume is damaged.
        UnsupportedInputError: it holds no operating system that can be imported; all reasons are named.
    """
    with open_contents(source) as contents:
        return _preview(recognise_system(contents))


def import_os(request: ImportRequest, *, progress: Progress = NO_PROGRESS) -> ImportResult:
    """Import an operating system as a layer.

    Args:
        request: what to import, and where to.
        progress: counts bytes of content.

    Raises:
        AlreadyExistsError: there is a layer file of that name.
        NotFoundError: there is no such disk file.
        DamagedInputError: the disk or a volume is damaged.
        UnsupportedInputError: it holds no operating system that can be imported.
        CanceledError: the work was canceled; nothing is left behind.
    """
    if request.out.exists():
        raise AlreadyExistsError(what="The layer file", name=request.out, remedy="Choose another name.")
    progress.step("Examining the disk")
    with open_contents(request.source) as contents, LayerWriter(request.out, request.compression) as writer:
        found = recognise_system(contents)
        support, preview = found.support, _preview(found)
        root, dropped = read_system(contents, found, writer.wim, progress=progress)
        edits: tuple[str, ...] = ()
        if request.guest_tools:
            root, edits = _add_guest_tools(root, support, writer)
        manifest = LayerManifest(
            name=request.name,
            layer_version=request.layer_version,
            kind=LayerKind.OS,
            family=support.family,
            tree="",
            boot=preview.boot,
            notes=(*preview.plan.notes, *dropped),
            provenance=provenance(f"import of {request.source.name} ({preview.plan.os_name})"),
        )
        manifest = writer.finish(manifest, root, progress=progress)
    return ImportResult(manifest, preview, request.out.stat().st_size, edits)


def _preview(found: System) -> ImportPreview:
    return ImportPreview(found.support.family.value, found.plan, found.boot)


def provenance(source: str) -> Provenance:
    """Return the provenance of a layer that is being made now."""
    return Provenance(f"sekiso {__version__}", datetime.now(UTC).isoformat(timespec="seconds"), source)


def _add_guest_tools(
    root: Node, support: GuestFamilySupport, writer: LayerWriter
) -> tuple[Node, tuple[str, ...]]:
    now = int(datetime.now(UTC).timestamp())
    editor = TreeEditor(root, created=now, unix=support.case_sensitive)
    files = ComposedFiles(root, writer.wim.read_back, case_sensitive=support.case_sensitive)
    editor.apply(support.import_edits(files))
    for content in editor.generated.values():
        writer.wim.add([content], len(content))
    return editor.root, tuple(action.target for action in editor.actions)
