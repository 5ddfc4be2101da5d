"""Measures capturing 200 changed files, against capturing the volume by hashing all of it again.

A disk is composed from the OS layer, copied, mounted through a loop device and changed; what was really
changed is written down and compared with what the capture found. Root only: mounting needs it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sekiso import process
from sekiso.compositing.capture import CaptureRequest, CaptureResult, capture
from sekiso.compositing.disk_reading import open_contents
from sekiso.compositing.execute import record_path
from sekiso.disks.convert import convert
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import DiskFormat
from sekiso.wim.blobs import HashSink

from .bench_changes import Changes, change_files, check
from .bench_compose import Inputs, compose_disk
from .bench_measure import (
    COMMAND_TIMEOUT_S,
    Phases,
    Row,
    Settings,
    Step,
    Table,
    command,
    in_child,
    measure,
    remove,
    say,
)
from .bench_profile import profile

GOAL = 0.1
_VOLUME_NAMES = {GuestFamily.LINUX: "ext4", GuestFamily.WINDOWS: "NTFS"}
#: A volume that holds content is the first one larger than this.
_SMALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Disks:
    """The disks of one family.

    Attributes:
        base: the boot disk, raw.
        copy: a full copy of it, changed.
        overlay: qcow2 over the boot disk that holds only the clusters that differ.
        offset_bytes: where the volume begins.
        size_bytes: its size.
    """

    base: Path
    copy: Path
    overlay: Path
    offset_bytes: int
    size_bytes: int


def measure_capture(inputs: Inputs, family: GuestFamily, settings: Settings, *, profiled: bool) -> Table:
    """Measure captures of one family's volume."""
    name = _VOLUME_NAMES[family]
    disks = _compose_base(inputs, family)
    mount = inputs.work / "mnt"
    mount.mkdir(exist_ok=True)
    try:
        changes = _change(inputs, family, disks, mount)
        steps = (
            _wimcapture(inputs, family, disks, mount, delta=True),
            _wimcapture(inputs, family, disks, mount, delta=False),
            Step(
                "import",
                "ours: full import read (every file read and hashed)",
                lambda _: _read_all(disks.copy),
            ),
            _ours(inputs, family, disks.base, disks.overlay, "overlay", "ours: from a qcow2 overlay"),
            _ours(inputs, family, disks.base, disks.copy, "copy", "ours: from a full copy of the disk"),
        )
        table = measure(f"Capture ({name})", "wimcapture", steps, settings)
        if profiled:
            profile([step for step in steps if step.key == "overlay"], cold=settings.cold)
    finally:
        mount.rmdir()
        remove(disks.base, disks.copy, disks.overlay)
    table.checks += [line for key in ("overlay", "copy") for line in _verdict(table.row(key), changes)]
    return table


def _compose_base(inputs: Inputs, family: GuestFamily) -> Disks:
    layer = inputs.os_layer(family)
    base = inputs.work / f"base-{family}.raw"
    say(f"composing the boot disk ({family})")
    composed = base.with_suffix(".vhdx")
    remove(base, composed, record_path(composed))
    try:
        in_child(lambda phases: compose_disk((layer,), composed, DiskFormat.VHDX, phases))
        # A loop device needs the plain bytes of the disk.
        convert(composed, base, DiskFormat.RAW)
    finally:
        remove(composed, record_path(composed))
    with open_contents(base) as contents:
        volume = next(v for v in contents.volumes if v.size_bytes > _SMALL_BYTES)
    stem = inputs.work / f"modified-{family}"
    raw, overlay = stem.with_suffix(".raw"), stem.with_suffix(".qcow2")
    return Disks(base, raw, overlay, volume.first_byte, volume.size_bytes)


def _change(inputs: Inputs, family: GuestFamily, disks: Disks, mount: Path) -> Changes:
    say(f"changing 200 files on a copy of it ({family})")
    command("cp", "--sparse=always", disks.base, disks.copy)
    layer = inputs.os_layer(family)
    with mounted(disks.copy, disks, mount, family, writable=True):
        changes: Changes = in_child(lambda _: change_files(mount, layer)).value
    for argv in (
        ("create", "-q", "-f", "qcow2", "-b", disks.copy, "-F", "raw", disks.overlay),
        ("rebase", "-f", "qcow2", "-b", disks.base, "-F", "raw", disks.overlay),
    ):
        command("qemu-img", *argv)
    return changes


@contextmanager
def looped(disk: Path, disks: Disks, *, writable: bool) -> Generator[Path]:
    """Offer the volume of a disk as a block device."""
    options = () if writable else ("--read-only",)
    place = ("--offset", str(disks.offset_bytes), "--sizelimit", str(disks.size_bytes))
    device = process.run(["losetup", "--find", "--show", *options, *place, disk]).text.strip()
    try:
        yield Path(device)
    finally:
        command("losetup", "--detach", device)


@contextmanager
def mounted(disk: Path, disks: Disks, mount: Path, family: GuestFamily, *, writable: bool) -> Generator[None]:
    """Mount the volume of a disk."""
    mode = "rw" if writable else "ro"
    with looped(disk, disks, writable=writable) as device:
        if family is GuestFamily.WINDOWS:
            command("ntfs-3g", "-o", mode, device, mount)
        else:
            command("mount", "-t", "ext4", "-o", mode, device, mount)
        try:
            yield
        finally:
            command("umount", mount)


def _wimcapture(inputs: Inputs, family: GuestFamily, disks: Disks, mount: Path, *, delta: bool) -> Step:
    """Capture with wimlib: it reads and hashes every file; with `delta` it stores only what is new."""
    out = inputs.work / "reference.wim"
    kind = ("--delta-from", inputs.os_layer(family), "--compress=XPRESS") if delta else ("--compress=none",)

    def run(phases: Phases) -> None:
        phases.step("wimlib-imagex capture")
        if family is GuestFamily.WINDOWS:
            with looped(disks.copy, disks, writable=False) as device:
                _capture(device, out, *kind)
        else:
            with mounted(disks.copy, disks, mount, family, writable=False):
                _capture(mount, out, *kind, "--unix-data")

    what = "only new content stored, XPRESS (reference)" if delta else "everything stored, uncompressed"
    return Step(
        "wimcapture" if delta else "wimcapture-full",
        f"wimlib-imagex capture, {what}",
        run,
        cleanup=lambda: remove(out),
    )


def _capture(source: Path, out: Path, *options: str | Path) -> None:
    process.run(
        ["wimlib-imagex", "capture", source, out, "bench", "--norpfix", *options], timeout_s=COMMAND_TIMEOUT_S
    )
    command("sync", out)


def _read_all(disk: Path) -> int:
    with open_contents(disk) as contents:
        volume = next(
            v.volume for v in contents.volumes if v.size_bytes > _SMALL_BYTES and v.volume is not None
        )
        return len(volume.tree(HashSink()).children or {})


def _ours(inputs: Inputs, family: GuestFamily, base: Path, disk: Path, key: str, name: str) -> Step:
    out = inputs.work / f"captured-{key}.wim"
    request = CaptureRequest(
        packaging_disk=disk,
        boot_disk=base,
        base=(inputs.os_layer(family),),
        out=out,
        name="bench-captured",
        layer_version="1",
    )

    def run(phases: Phases) -> CaptureResult:
        return capture(request, progress=phases)

    return Step(key, name, run, cleanup=lambda: remove(out), goal=GOAL)


def _verdict(row: Row, changes: Changes) -> list[str]:
    result: CaptureResult = row.value
    written = "" if result.written_bytes is None else f", {result.written_bytes} bytes written to the overlay"
    facts = f"{result.compared_bytes} bytes compared, layer file of {result.file_bytes} bytes{written}"
    return [f"{row.name}: {check(changes, result.changed, result.deleted)}; {facts}"]
