"""Measures composing: two layers into a disk, against writing the same bytes with dd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sekiso.compositing.composition import merge_stack
from sekiso.compositing.execute import execute, record_path
from sekiso.compositing.families import support_for
from sekiso.compositing.planning import plan_image
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.disks.ntfs_format import format_ntfs
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import DiskFormat, Generation
from sekiso.store.layer_file import LayerFile
from sekiso.wim import libwim
from sekiso.wim.writer import write_metadata_wim

from .bench_measure import (
    Phases,
    Settings,
    Step,
    Table,
    command,
    fsync,
    fsync_folder,
    in_child,
    measure,
    remove,
    say,
)
from .bench_profile import profile
from .bench_tree import TreeSpec, make_app_layer, make_os_layer

GOAL = 3.0
_CREATED_S = 1_767_225_600
_MIB = 1 << 20


@dataclass(frozen=True)
class Inputs:
    """Layers of both families in the work folder; made once, when they are first asked for."""

    work: Path
    spec: TreeSpec

    def os_layer(self, family: GuestFamily) -> Path:
        """Return the OS layer of a family."""
        path = self.work / f"os-{family}.wim"
        if not path.exists():
            say(f"making the OS layer: {self.spec.files} files, {self.spec.content_bytes} bytes, {family}")
            in_child(lambda _: make_os_layer(path, self.spec, family))
        return path

    def app_layer(self, family: GuestFamily) -> Path:
        """Return the app layer of a family."""
        path = self.work / f"app-{family}.wim"
        if not path.exists():
            os_layer = self.os_layer(family)
            in_child(lambda _: _make_app_layer(path, os_layer, family))
        return path

    def layers(self, family: GuestFamily) -> tuple[Path, Path]:
        """Return both, the OS layer first."""
        return self.os_layer(family), self.app_layer(family)


def _make_app_layer(path: Path, os_layer: Path, family: GuestFamily) -> None:
    with LayerFile(os_layer) as layer:
        make_app_layer(path, layer.tree(), layer.manifest.identity, family)


def compose_disk(layers: tuple[Path, ...], out: Path, fmt: DiskFormat, phases: Phases) -> None:
    """Do what `sekiso engine compose` does, for a data volume: open, merge, plan, fill, convert, fsync."""
    request = ComposeRequest(
        layers=layers,
        out=out,
        generation=Generation.TWO,
        disk_format=fmt,
        bootable=False,
        seed="bench",
        created=_CREATED_S,
    )
    with LayerStack.open(layers) as stack:
        planned = plan_image(request, stack, support_for(stack.family), progress=phases)
        phases.step("Executing the plan")
        execute(planned, request, stack, progress=phases)
    phases.step("fsync of the disk")
    fsync(out)


def compose_ntfs_volume(layers: tuple[Path, ...], volume: Path, size_bytes: int, phases: Phases) -> None:
    """Fill an NTFS volume file the way the composer does, without the disk around it."""
    composite = volume.with_suffix(".composite.wim")
    with LayerStack.open(layers) as stack:
        merged = merge_stack(stack, support_for(stack.family), created=_CREATED_S, progress=phases)
        phases.step("Writing the merged metadata")
        write_metadata_wim(composite, merged.editor.root, name="composite")
    phases.step("mkfs.ntfs")
    empty_ntfs(volume, size_bytes)
    phases.step("libwim: starting")
    libwim.apply_ntfs(composite, layers, volume, progress=phases)
    phases.step("fsync of the volume")
    fsync(volume)


def empty_ntfs(volume: Path, size_bytes: int) -> None:
    """Make an empty NTFS in a sparse file."""
    with volume.open("wb") as stream:
        stream.truncate(size_bytes)
    format_ntfs(volume, first_lba=2048, serial=0x53454B49534F, label="bench")


def ntfs_size_bytes(spec: TreeSpec) -> int:
    """Return a size in which the tree has room to work."""
    needed = spec.content_bytes + spec.files * (4096 + 1536) + 256 * _MIB
    return (needed + needed // 4) // _MIB * _MIB


def measure_compose(inputs: Inputs, settings: Settings, *, profiled: bool) -> Table:
    """Measure composing, and the plain ways to get the same files onto a disk."""
    work = inputs.work
    folder = work / "extracted"
    inputs.layers(GuestFamily.LINUX)
    inputs.layers(GuestFamily.WINDOWS)
    say("extracting the folder that cp and tar read")
    command("wimlib-imagex", "apply", inputs.os_layer(GuestFamily.LINUX), "1", folder, "--unix-data")
    try:
        steps = (_reference(inputs), *_ours(inputs), *_wimapply(inputs), *_folder_copies(work, folder))
        table = measure("Compose", "dd", steps, settings)
        if profiled:
            profile([step for step in steps if step.key in ("ext4-raw", "ntfs-volume")], cold=settings.cold)
    finally:
        remove(folder)
    table.checks.append(
        f"dd wrote {inputs.os_layer(GuestFamily.LINUX).stat().st_size} bytes (the Linux OS layer's file)"
    )
    return table


def _reference(inputs: Inputs) -> Step:
    source, target = inputs.os_layer(GuestFamily.LINUX), inputs.work / "dd.out"

    def work(_: Phases) -> None:
        command("dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none")

    return Step("dd", "dd of the same bytes, conv=fsync (reference)", work, cleanup=lambda: remove(target))


def _ours(inputs: Inputs) -> tuple[Step, ...]:
    linux, windows = inputs.layers(GuestFamily.LINUX), inputs.layers(GuestFamily.WINDOWS)
    volume = inputs.work / "ours.ntfs"
    size = ntfs_size_bytes(inputs.spec)
    return (
        _disk_step(inputs, "ext4-raw", "ours: OS + app layer to ext4 on a raw disk", linux, DiskFormat.RAW),
        _disk_step(
            inputs, "ext4-vhdx", "ours: OS + app layer to ext4 on a dynamic VHDX", linux, DiskFormat.VHDX
        ),
        Step(
            "ntfs-volume",
            "ours: OS + app layer to an NTFS volume file",
            lambda phases: compose_ntfs_volume(windows, volume, size, phases),
            cleanup=lambda: remove(volume, volume.with_suffix(".composite.wim")),
            goal=GOAL,
        ),
        _disk_step(
            inputs, "ntfs-vhdx", "ours: OS + app layer to NTFS on a dynamic VHDX", windows, DiskFormat.VHDX
        ),
    )


def _disk_step(inputs: Inputs, key: str, name: str, layers: tuple[Path, ...], fmt: DiskFormat) -> Step:
    out = inputs.work / f"{key}.{fmt}"
    return Step(
        key,
        name,
        lambda phases: compose_disk(layers, out, fmt, phases),
        cleanup=lambda: remove(out, record_path(out)),
        goal=GOAL,
    )


def _wimapply(inputs: Inputs) -> tuple[Step, ...]:
    linux, windows = inputs.os_layer(GuestFamily.LINUX), inputs.os_layer(GuestFamily.WINDOWS)
    volume, folder = inputs.work / "plain.ntfs", inputs.work / "plain"
    size = ntfs_size_bytes(inputs.spec)

    def to_volume(_: Phases) -> None:
        empty_ntfs(volume, size)
        command("wimlib-imagex", "apply", windows, "1", volume)
        fsync(volume)

    def to_folder(_: Phases) -> None:
        command("wimlib-imagex", "apply", linux, "1", folder, "--unix-data")
        fsync_folder(folder)

    return (
        Step(
            "wimapply-ntfs",
            "wimlib-imagex apply to an NTFS volume file",
            to_volume,
            cleanup=lambda: remove(volume),
        ),
        Step("wimapply-folder", "wimlib-imagex apply to a folder", to_folder, cleanup=lambda: remove(folder)),
    )


def _folder_copies(work: Path, source: Path) -> tuple[Step, ...]:
    def step(key: str, name: str, copy: Callable[[Path], None]) -> Step:
        target = work / f"copy-{key}"

        def run(_: Phases) -> None:
            copy(target)
            fsync_folder(target)

        return Step(key, name, run, cleanup=lambda: remove(target))

    def tar(target: Path) -> None:
        target.mkdir()
        command("sh", "-c", 'tar -C "$1" -cf - . | tar -C "$2" -xf -', "sh", source, target)

    return (
        step("cp", "cp -a of the extracted folder", lambda target: command("cp", "-a", source, target)),
        step("tar", "tar -cf - | tar -xf - of it", tar),
    )
