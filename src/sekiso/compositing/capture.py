"""Captures what changed on a packaging disk since its boot disk, as a layer (LY-2).

The cost follows the change: where the packaging disk is an overlay, only the clusters written to it are
looked at; elsewhere the inode tables of both disks are compared. Time stamps and sizes decide nothing alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sekiso.compositing.changes import KeptChanges, keep_changes
from sekiso.compositing.disk_reading import contents_of
from sekiso.compositing.families import support_for
from sekiso.compositing.import_os import provenance
from sekiso.disks.blocks import ByteRange, intersect
from sekiso.disks.ext4 import Ext4Volume
from sekiso.disks.ext4 import changes_between as ext4_changes
from sekiso.disks.image import inspect
from sekiso.disks.ntfs import NtfsVolume
from sekiso.disks.ntfs import changes_between as ntfs_changes
from sekiso.disks.open import DiskBlocks, allocated_ranges, open_disk
from sekiso.disks.volume import Volume, VolumeChanges
from sekiso.errors import (
    AlreadyExistsError,
    DamagedInputError,
    Family,
    RuleError,
    SekisoError,
    UnsupportedInputError,
)
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.importing import DiskContents, DiskVolume
from sekiso.model.layer import LayerKind, LayerManifest
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import Compression, LayerFile, LayerWriter
from sekiso.transfer.manifest import hash_file
from sekiso.wim.tree import walk

_MERGED_FILE_LIMIT_BYTES = 256 << 20


class UnfinishedWorkError(SekisoError):
    """The integrity gate found unfinished work on a packaging disk. Params: path, reason."""

    code = "capture.unfinished"
    family = Family.GUEST
    brief = "Something is unfinished on the packaging disk {path}."
    why = "{reason}"
    resolution = (
        "Start the packaging machine again and finish it there, or capture with --ignore-gate as it is."
    )


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """One packaging disk to capture.

    Attributes:
        packaging_disk: the disk that holds the changes; an overlay over the boot disk, or a full copy.
        boot_disk: the disk it started from, wherever it lies now; also one that was composed again, of the
            same layers and with the same seed and time.
        base: the layers the boot disk was composed of, lowest first.
        out: the layer file to make.
        name: name of the layer.
        layer_version: name of the version.
        kind: app or platform (an OS layer's new version is captured as OS from a full import).
        compression: how the layer's content is stored.
        ignore_gate: capture although the guest's integrity gate reported pending work (LY-8).
        boot_disk_root: root of the manifest that the boot disk's file had when the packaging machine was
            made; a boot disk that was composed again is refused unless it is the same to the last byte.
    """

    packaging_disk: Path
    boot_disk: Path
    base: tuple[Path, ...]
    out: Path
    name: str
    layer_version: str
    kind: LayerKind = LayerKind.APP
    compression: Compression = Compression.XPRESS
    ignore_gate: bool = False
    boot_disk_root: str | None = None


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What a capture found and made.

    Attributes:
        changed: paths in the layer, added or changed.
        deleted: paths it removes.
        excluded: changed paths left out, with the reason.
        compared_bytes: content that had to be compared because time stamps cannot be trusted.
        written_bytes: bytes of the packaging disk that were written since; None if it is no overlay.
        manifest: the layer's manifest; None after a dry run.
        file_bytes: size of the layer file; 0 after a dry run.
    """

    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    compared_bytes: int
    written_bytes: int | None
    manifest: LayerManifest | None = None
    file_bytes: int = 0


@dataclass(frozen=True)
class _Pair:
    """The root volume in both states."""

    support: GuestFamilySupport
    base: Volume
    modified: Volume
    touched: tuple[ByteRange, ...] | None


def capture(
    request: CaptureRequest, *, dry_run: bool = False, progress: Progress = NO_PROGRESS
) -> CaptureResult:
    """Capture a packaging disk's changes as a layer.

    Args:
        request: what to capture, and where to.
        dry_run: find the changes and write nothing.
        progress: counts bytes of content.

    Raises:
        AlreadyExistsError: there is a layer file of that name.
        RuleError: the disks do not belong together, or the kind is not app or platform.
        DirtyVolumeError: the packaging machine was not shut down cleanly.
        DamagedInputError: a disk or layer is damaged.
        CanceledError: the work was canceled; nothing is left behind.
    """
    _check(request)
    _check_boot_disk(request, progress)
    progress.step("Examining the disks")
    with ExitStack() as files:
        layers = [files.enter_context(LayerFile(path)) for path in request.base]
        pair = _open_pair(request, layers, files)
        progress.step("Finding changes")
        found = _changes(pair, progress)
        kept = keep_changes(found, pair.base, pair.modified, pair.support)
        manifest: LayerManifest | None = None
        if not dry_run:
            if not request.ignore_gate:
                _check_gate(request.packaging_disk, pair)
            manifest = _write(request, layers, pair, kept, files, progress)
    written = None if pair.touched is None else sum(part.length for part in pair.touched)
    return CaptureResult(
        changed=kept.changed,
        deleted=kept.deleted,
        excluded=kept.excluded,
        compared_bytes=found.compared_bytes,
        written_bytes=written,
        manifest=manifest,
        file_bytes=0 if manifest is None else request.out.stat().st_size,
    )


def _check(request: CaptureRequest) -> None:
    if request.out.exists():
        raise AlreadyExistsError(what="The layer file", name=request.out, remedy="Choose another name.")
    if request.kind is LayerKind.OS:
        raise RuleError(
            field="kind",
            reason="A capture holds only what changed; an OS layer holds a whole system.",
            remedy="Use the import for a new OS layer version, or choose app or platform.",
        )


def _check_boot_disk(request: CaptureRequest, progress: Progress) -> None:
    wanted = request.boot_disk_root
    if wanted is not None and hash_file(request.boot_disk, progress=progress).root != wanted:
        raise RuleError(
            field="base-disk",
            reason=f"{request.boot_disk} is not the boot disk that the packaging machine was made with: "
            "its content differs.",
            remedy="Capture where that boot disk is, or compose it with the same layers, settings and "
            "version of Sekiso.",
        )


def _check_gate(disk: Path, pair: _Pair) -> None:
    reasons = pair.support.pending_work(pair.modified.read_file)
    if reasons:
        raise UnfinishedWorkError(path=disk, reason=" ".join(reasons))


def _open_pair(request: CaptureRequest, layers: Sequence[LayerFile], files: ExitStack) -> _Pair:
    support = support_for(layers[0].manifest.family)
    modified_blocks = files.enter_context(_open_packaging(request.packaging_disk, request.boot_disk))
    base_blocks = files.enter_context(open_disk(request.boot_disk))
    modified = _root(_contents_over(modified_blocks, request), support)
    base = _root(contents_of(base_blocks, str(request.boot_disk)), support)
    if base.volume is None or modified.volume is None:
        broken = base if base.volume is None else modified
        raise UnsupportedInputError(
            path=request.boot_disk if broken is base else request.packaging_disk,
            reason=broken.problem or "Its root volume cannot be read.",
            remedy="Start the machine once more and shut it down from inside.",
        )
    if base.volume.facts.uuid != modified.volume.facts.uuid or base.first_byte != modified.first_byte:
        raise _not_from(request, "their root volumes have different identifiers.")
    touched: tuple[ByteRange, ...] | None = None
    if _is_overlay(modified_blocks, request.boot_disk):
        written = allocated_ranges(request.packaging_disk)
        touched = intersect(written, ByteRange(modified.first_byte, modified.size_bytes))
    return _Pair(support, base.volume, modified.volume, touched)


def _open_packaging(disk: Path, boot_disk: Path) -> DiskBlocks:
    """Open a packaging disk: over the disks it names, or else over the boot disk.

    It may have come from another machine, where the boot disk has another place and name.
    """
    try:
        return open_disk(disk, allow=(boot_disk,))
    except UnsupportedInputError:
        if inspect(disk).parent is None:
            raise
    return open_disk(disk, below=boot_disk)


def _contents_over(disk: DiskBlocks, request: CaptureRequest) -> DiskContents:
    """Return what lies on a packaging disk; over another disk than its own it is no file system."""
    try:
        return contents_of(disk, str(request.packaging_disk))
    except DamagedInputError as exc:
        if disk.parent is None:
            raise
        reason = f"together they are no intact disk. {exc.params.get('reason', '')}"
        raise _not_from(request, reason) from exc


def _not_from(request: CaptureRequest, reason: str) -> RuleError:
    return RuleError(
        field="base-disk",
        reason=f"{request.packaging_disk} did not start from {request.boot_disk}: {reason}",
        remedy="Name the boot disk that the packaging machine was made with.",
    )


def _is_overlay(disk: DiskBlocks, boot_disk: Path) -> bool:
    """Whether a disk holds just what was written over the boot disk (and not over something in between)."""
    return disk.parent is not None and disk.parent.path.samefile(boot_disk)


def _root(contents: DiskContents, support: GuestFamilySupport) -> DiskVolume:
    """Return the root volume; composed disks have one, a foreign disk is asked for its system volume."""
    candidates = [v for v in contents.volumes if v.signature in support.root_filesystems]
    if len(candidates) == 1:
        return candidates[0]
    plan = support.recognise(contents)
    plan.require(contents.name)
    return next(v for v in contents.volumes if v.index == plan.mounts[0].index)


def _changes(pair: _Pair, progress: Progress) -> VolumeChanges:
    if isinstance(pair.base, Ext4Volume) and isinstance(pair.modified, Ext4Volume):
        return ext4_changes(pair.base, pair.modified, pair.touched, progress=progress)
    if isinstance(pair.base, NtfsVolume) and isinstance(pair.modified, NtfsVolume):
        return ntfs_changes(pair.base, pair.modified, pair.touched, progress=progress)
    raise RuleError(
        field="base-disk",
        reason="The root volumes of the two disks have different file systems.",
        remedy="Name the boot disk that the packaging machine was made with.",
    )


def _write(
    request: CaptureRequest,
    layers: Sequence[LayerFile],
    pair: _Pair,
    kept: KeptChanges,
    files: ExitStack,
    progress: Progress,
) -> LayerManifest:
    writer = files.enter_context(LayerWriter(request.out, request.compression))
    progress.step("Reading changed files")
    root = pair.modified.tree(writer.wim, only=kept.changed, progress=progress)
    changed = set(kept.changed)
    folders = [path for path, node in walk(root) if node.is_directory and path in changed]
    folders += ["/"] if "/" in changed else []
    manifest = LayerManifest(
        name=request.name,
        layer_version=request.layer_version,
        kind=request.kind,
        family=pair.support.family,
        tree="",
        base=tuple(layer.manifest.identity for layer in layers),
        deleted=kept.deleted,
        changed_directories=tuple(sorted(folders)),
        replaced=kept.replaced,
        notes=tuple(pair.modified.dropped),
        provenance=provenance(f"capture of {request.packaging_disk.name}"),
    )
    return writer.finish(manifest, root, _bases(pair, (*kept.changed, *kept.deleted)), progress=progress)


def _bases(pair: _Pair, paths: Collection[str]) -> dict[str, bytes | None]:
    mergers = pair.support.mergers()
    return {
        path: pair.base.read_file(path, limit_bytes=_MERGED_FILE_LIMIT_BYTES)
        for path in paths
        if any(merger.claims(path) for merger in mergers)
    }
