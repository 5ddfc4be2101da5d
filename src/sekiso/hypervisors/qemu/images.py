"""Packaging disks as qcow2 overlays, and what must not be attached because QEMU would read it wrongly."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from sekiso import process
from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.hypervisors.facts import DiskAttachment, DiskFile
from sekiso.hypervisors.qemu.cmdline import DRIVERS, open_disk
from sekiso.model.machine import DiskFormat
from sekiso.model.progress import Progress, check_canceled

_CONVERT_TIMEOUT_S = 6 * 3600.0
#: Arguments of `qemu-img convert`. VHD: the size is kept to the byte; VHDX: blocks as Hyper-V makes them.
_OPTIONS = {
    DiskFormat.VHD: ["-o", "subformat=dynamic,force_size=on"],
    DiskFormat.VHDX: ["-o", "subformat=dynamic,block_size=2M"],
    DiskFormat.RAW: [],
    DiskFormat.QCOW2: [],
}


def create_overlay(base: DiskFile, target: Path) -> None:
    """Write an empty qcow2 overlay over a base.

    Raises:
        UnsupportedInputError: the base is no disk of its format.
    """
    fresh = target.with_name(f".{target.name}.new")
    try:
        process.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", DRIVERS[base.format], "-b", base.path, fresh]
        )
    except process.ToolFailedError as error:
        fresh.unlink(missing_ok=True)
        raise UnsupportedInputError(
            path=base.path,
            reason=f"It cannot be the base of a packaging disk: {error.params['reason']}",
            remedy="Check the disk and its format.",
        ) from error
    fresh.rename(target)


def merge(overlay: DiskFile, bases: Mapping[Path, DiskFile], target: DiskFile, progress: Progress) -> None:
    """Write an overlay with its bases as one disk; nothing is left behind when that fails."""
    fresh = target.path.with_name(f".{target.path.name}.new")
    source = "json:" + json.dumps(open_disk(overlay, bases, read_only=True))
    argv = ["qemu-img", "convert", "-O", DRIVERS[target.format], *_OPTIONS[target.format], source, str(fresh)]
    progress.step("merge")
    check_canceled(progress)
    try:
        process.run(argv, timeout_s=_CONVERT_TIMEOUT_S, progress=progress)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fresh.rename(target.path)


def check_content(disk: DiskAttachment, bases: Mapping[Path, DiskFile]) -> None:
    """Refuse disks that refer to other files which we did not put there ourselves.

    Raises:
        UnsupportedInputError: a foreign overlay or differencing disk.
        DamagedInputError: no disk of its format at all.
    """
    if disk.format is DiskFormat.QCOW2:
        _check_qcow2(disk.path, known=disk.path.resolve() in bases)
    elif disk.format is DiskFormat.VHD:
        _check_vhd(disk.path)


def _check_qcow2(path: Path, *, known: bool) -> None:
    # Source: QEMU, docs/interop/qcow2.txt: backing_file_offset at 8, incompatible_features at 72 (version 3).
    with path.open("rb") as stream:
        head = stream.read(80).ljust(80, b"\0")
    magic, version, backing = struct.unpack_from(">4sIQ", head)
    if magic != b"QFI\xfb":
        raise DamagedInputError(path=path, offset=0, reason="It does not begin like a qcow2 file.")
    external = version >= 3 and struct.unpack_from(">Q", head, 72)[0] & 4
    if external or (backing and not known):
        raise _refers(path)


def _check_vhd(path: Path) -> None:
    # Source: "Virtual Hard Disk Image Format Specification": the footer's disk type at 60; 4 = differencing.
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 512))
        footer = stream.read(512)
    if not footer.startswith(b"conectix") or len(footer) < 512:
        raise DamagedInputError(
            path=path, offset=max(0, path.stat().st_size - 512), reason="It does not end with a VHD footer."
        )
    if struct.unpack_from(">I", footer, 60)[0] == 4:
        raise _refers(path)


def _refers(path: Path) -> UnsupportedInputError:
    return UnsupportedInputError(
        path=path,
        reason="It holds only the difference to another file.",
        remedy="Merge it with its parent first, and use the merged disk.",
    )
