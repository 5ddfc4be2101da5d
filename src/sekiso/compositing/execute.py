"""Carries out the plan of an image: partitions, file systems, content, conversion. No file is written twice.

An ext4 root is filled inside the raw disk itself; an NTFS root is applied by libwim into a file of its own
and converted into its place. Everything happens in a folder beside the result, which appears under its name
only when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.compositing.layout import SECTOR_BYTES, DiskLayout, PlacedPartition
from sekiso.compositing.plan import ComposePlan
from sekiso.compositing.planning import PlannedImage
from sekiso.compositing.record_files import RECORD_SUFFIX, record_path
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.disks.assemble import PlacedVolume, assemble, volume_becomes_disk
from sekiso.disks.convert import convert
from sekiso.disks.ext4 import BlobPlace, fill_ext4, format_ext4
from sekiso.disks.fat import copy_tree_into_fat, format_fat
from sekiso.disks.identity import DiskIds
from sekiso.disks.ntfs_format import format_ntfs
from sekiso.disks.partitions import Partition, PartitionTable, write_boot_code, write_partition_table
from sekiso.disks.vhdx.inplace import raw_becomes_vhdx
from sekiso.errors import AlreadyExistsError, DamagedInputError, NoSpaceError, NotFoundError
from sekiso.guests.booting import PartitionRole, PartitionScheme
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.wim import libwim
from sekiso.wim.file import BlobLocation, WimFile
from sekiso.wim.tree import NO_BLOB, blobs_of, nodes
from sekiso.wim.writer import WimWriter, write_metadata_wim

__all__ = ["RECORD_SUFFIX", "Blobs", "ComposeResult", "execute", "record_path"]


@dataclass(frozen=True, slots=True)
class ComposeResult:
    """What a composition made.

    Attributes:
        out: the disk file.
        file_bytes: bytes it takes up on the host.
        plan: what was done.
    """

    out: Path
    file_bytes: int
    plan: ComposePlan


def execute(
    planned: PlannedImage, request: ComposeRequest, stack: LayerStack, *, progress: Progress = NO_PROGRESS
) -> ComposeResult:
    """Make the disk of a plan.

    Args:
        planned: the plan, with the tree it was made from.
        request: the request it was made for.
        stack: its layers.
        progress: counts bytes per step.

    Raises:
        AlreadyExistsError: there is a file of that name.
        NotFoundError: there is no folder for it.
        NoSpaceError: there is not enough room for the disk.
        DamagedInputError: a layer is damaged.
        ToolMissingError: a program is not installed.
        CanceledError: the work was canceled; nothing is left behind.
    """
    out = request.out
    if out.exists():
        raise AlreadyExistsError(what="The disk file", name=out, remedy="Choose another name.")
    if not out.parent.is_dir():
        raise NotFoundError(what="The folder", name=out.parent, remedy="Check the path.")
    _check_space(out.parent, planned.plan.content_bytes)
    with ExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        work = _Work(planned, request, stack, folder, progress)
        made = work.build()
        check_canceled(progress)
        _write_record(planned.plan, out)
        made.rename(out)
        _sync_folder(out.parent)
    return ComposeResult(out, out.stat().st_blocks * 512, planned.plan)


class Blobs:
    """Where content lies, uncompressed: in layer files, unpacked copies, or a file of the engine's."""

    def __init__(self, locations: Mapping[bytes, BlobLocation]) -> None:
        self._locations = locations

    def locate(self, sha1: bytes) -> BlobPlace:
        """Return where content lies.

        Raises:
            DamagedInputError: no layer has it.
        """
        found = self._locations.get(sha1)
        if found is None:
            raise DamagedInputError(
                path="layers", offset=0, reason=f"The content {sha1.hex()} is in none of the layers."
            )
        return BlobPlace(found.path, found.offset, found.size_bytes)


class _Work:
    """One execution: holds what its steps share."""

    def __init__(
        self,
        planned: PlannedImage,
        request: ComposeRequest,
        stack: LayerStack,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.planned = planned
        self.request = request
        self.stack = stack
        self.folder = folder
        self.progress = progress
        self.raw = folder / "disk.raw"

    def build(self) -> Path:
        layout = self.planned.layout
        with self.raw.open("wb") as file:
            file.truncate(layout.size_bytes)
        write_partition_table(self.raw, self._table(layout))
        self._boot_code()
        for part in layout.partitions:
            if part.role is PartitionRole.ESP:
                self._esp(part)
        root = layout.root
        if root.filesystem == "ext4":
            self._fill_ext4(root)
            return self._convert()
        return self._convert(PlacedVolume(self._apply_ntfs(root), root.offset_bytes))

    def _table(self, layout: DiskLayout) -> PartitionTable:
        ids = self.planned.plan.identity.identifiers
        gpt = layout.scheme is PartitionScheme.GPT
        return PartitionTable(
            scheme="gpt" if gpt else "mbr",
            disk_id=ids.disk_guid if gpt else f"{ids.disk_signature:08x}",
            partitions=tuple(
                Partition(
                    number=number,
                    first_lba=part.first_lba,
                    sectors=part.sectors,
                    type_id=part.type_id,
                    unique_id=part.unique_id,
                    name=part.name,
                    bootable=part.active,
                )
                for number, part in enumerate(layout.partitions, 1)
            ),
            disk_bytes=layout.size_bytes,
            sector_bytes=SECTOR_BYTES,
        )

    def _boot_code(self) -> None:
        boot = self.planned.composition.boot
        if boot is None:
            return
        if boot.mbr_boot_code is not None:
            write_boot_code(self.raw, boot.mbr_boot_code)
        with self.raw.open("r+b") as file:
            for part in boot.gap:
                file.seek(part.first_lba * SECTOR_BYTES)
                file.write(part.content)

    def _esp(self, part: PlacedPartition) -> None:
        boot = self.planned.composition.boot
        plan = self.planned.plan
        place = format_fat(
            self.raw,
            offset_bytes=part.offset_bytes,
            size_bytes=part.size_bytes,
            label=part.label or "ESP",
            volume_id=plan.identity.identifiers.esp_volume_id,
        )
        content = self.folder / "esp"
        content.mkdir()
        for file in boot.esp_files if boot is not None else ():
            target = content / file.path.strip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            os.utime(target, (plan.created, plan.created))
        copy_tree_into_fat(place, content)

    def _fill_ext4(self, part: PlacedPartition) -> None:
        ids = self.planned.plan.identity.identifiers
        format_ext4(
            self.raw,
            offset_bytes=part.offset_bytes,
            size_bytes=part.size_bytes,
            uuid=ids.root_filesystem,
            label=part.label,
        )
        with self._blobs() as (blobs, _):
            self.progress.step("Writing files", total=self.planned.plan.content_bytes)
            fill_ext4(
                self.raw,
                offset_bytes=part.offset_bytes,
                root=self.planned.composition.root,
                blobs=blobs,
                progress=self.progress,
            )

    def _apply_ntfs(self, part: PlacedPartition) -> Path:
        volume = self.folder / "root.ntfs"
        with volume.open("wb") as file:
            file.truncate(part.size_bytes)
        ids = self.planned.plan.identity.identifiers
        format_ntfs(volume, first_lba=part.first_lba, label=part.label, serial=int(ids.root_filesystem, 16))
        composite = self.folder / "composite.wim"
        write_metadata_wim(composite, self.planned.composition.root, name="composite")
        with self._blobs(unpack=False) as (_, wims):
            self.progress.step("Writing files", total=100)
            libwim.apply_ntfs(composite, wims, volume, progress=self.progress)
        return volume

    @contextmanager
    def _blobs(self, *, unpack: bool = True) -> Generator[tuple[Blobs, list[Path]]]:
        """Yield where the content lies, and the WIM files it lies in; compressed layers unpacked if asked."""
        with ExitStack() as files:
            wims = [layer.path for layer in self.stack.layers]
            locations: dict[bytes, BlobLocation] = {}
            if unpack:
                for index, layer in enumerate(self.stack.layers):
                    locations.update(self._uncompressed(layer.wim, index, files).blobs)
            generated = self._generated_wim()
            if generated is not None:
                wims.append(generated)
                locations.update(files.enter_context(WimFile.open(generated)).blobs)
            yield Blobs(locations), wims

    def _uncompressed(self, wim: WimFile, index: int, files: ExitStack) -> WimFile:
        if not any(location.compressed for location in wim.blobs.values()):
            return wim
        self.progress.step("Unpacking layers", total=100)
        plain = self.folder / f"layer-{index}.wim"
        libwim.export(wim.path, plain, compression="none", progress=self.progress)
        return files.enter_context(WimFile.open(plain))

    def _generated_wim(self) -> Path | None:
        needed = {sha1 for node in nodes(self.planned.composition.root) for sha1 in blobs_of(node)}
        made = {k: v for k, v in self.planned.composition.generated.items() if k in needed and k != NO_BLOB}
        if not made:
            return None
        path = self.folder / "generated.wim"
        with WimWriter(path) as writer:
            for content in made.values():
                writer.add([content], len(content))
            writer.commit()
        return path

    def _convert(self, volume: PlacedVolume | None = None) -> Path:
        """Make the disk file; an NTFS root comes from a file of its own.

        Where the file system can move parts of a file, nothing is copied: the volume's file becomes the
        disk, and the raw disk becomes the VHDX.
        """
        fmt, plan = self.request.disk_format, self.planned.plan
        ids = DiskIds.derived(plan.identity.file, created_s=plan.created)
        raw: Path | None = self.raw
        if volume is not None:
            whole = volume_becomes_disk(volume, self.raw, plan.size_bytes)
            raw = volume.path if whole else None
        if raw is not None and fmt is DiskFormat.RAW:
            _sync_file(raw)
            return raw
        if raw is not None and fmt is DiskFormat.VHDX and plan.allocation is DiskAllocation.DYNAMIC:
            self.progress.step("Converting in place")
            if raw_becomes_vhdx(raw, ids=ids):
                return raw
        made = self.folder / f"made.{fmt}"
        if raw is not None:
            convert(raw, made, fmt, allocation=plan.allocation, ids=ids, progress=self.progress)
        elif volume is not None:
            assemble(
                self.raw, (volume,), made, fmt, allocation=plan.allocation, ids=ids, progress=self.progress
            )
        return made


def _check_space(folder: Path, content_bytes: int) -> None:
    # The raw disk and its conversion exist side by side for a while.
    needed = content_bytes * 2 + (64 << 20)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpaceError(path=folder, needed_bytes=needed, free_bytes=free)


def _write_record(plan: ComposePlan, out: Path) -> None:
    record: dict[str, Any] = {"format": "sekiso-image", "version": 1, "plan": plan.to_dict()}
    path = record_path(out)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
