"""Open a disk file of any format for reading its content: no conversion, no mount, no privileges."""

from __future__ import annotations

import ntpath
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from sekiso.disks.blocks import ByteRange
from sekiso.disks.formats import detect_format
from sekiso.disks.mapped import DiskBlocks, RawBlocks, merge_ranges
from sekiso.disks.qcow2 import Qcow2Blocks
from sekiso.disks.vhd import VhdType, parent_names
from sekiso.disks.vhd_reader import VhdBlocks
from sekiso.disks.vhdx.reader import VhdxBlocks
from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.model.machine import DiskFormat

_MAX_CHAIN = 64
#: What QEMU calls formats in a header.
_BACKING_FORMATS = {
    "raw": DiskFormat.RAW,
    "vpc": DiskFormat.VHD,
    "vhdx": DiskFormat.VHDX,
    "qcow2": DiskFormat.QCOW2,
}


def open_disk(
    path: Path, *, allow: Sequence[Path] = (), fmt: DiskFormat | None = None, below: Path | None = None
) -> DiskBlocks:
    """Open a disk file and, if it is a differencing disk or overlay, all disks below it, read-only.

    A file says by name what lies below it, and a hostile one could name any file. So a parent must lie in
    the same folder, or in (or be) one of the places the caller allows; and for VHD and VHDX it must have the
    identifier that the child knows.

    Args:
        path: the disk file.
        allow: further folders or files where disks below may lie.
        fmt: its format; found out by its content when left out.
        below: the file that lies directly below, whatever the disk calls it: it may have come from another
            machine, and the disk below been made again. Size, format (qcow2 tells it) and identifier (VHD
            and VHDX do) must be right all the same. A disk that has none below it needs none.

    Returns:
        Its content; a context manager.

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: a structure is broken.
        UnsupportedInputError: the format or a feature is not read here, or a disk below is missing.
    """
    return _open_chain(path, tuple(allow), fmt, (), below)


def allocated_ranges(path: Path, *, fmt: DiskFormat | None = None) -> tuple[ByteRange, ...]:
    """Return which bytes of the disk this very file holds, the disks below it left out.

    For an overlay or differencing disk: everything that was written since it was made, and what was set
    to zero, in units of its clusters or sectors; a block in very many pieces counts as a whole. The disks
    below are not opened.

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: a structure is broken.
        UnsupportedInputError: the format or a feature is not read here.
    """
    with _open_one(path, fmt) as disk:
        return merge_ranges(disk.top_ranges())


def _open_one(path: Path, fmt: DiskFormat | None) -> DiskBlocks:
    found = DiskFormat(fmt) if fmt else detect_format(path)
    reader = {
        DiskFormat.RAW: RawBlocks,
        DiskFormat.VHD: VhdBlocks,
        DiskFormat.VHDX: VhdxBlocks,
        DiskFormat.QCOW2: Qcow2Blocks,
    }[found]
    return reader(path)


def _open_chain(
    path: Path,
    allow: tuple[Path, ...],
    fmt: DiskFormat | None,
    above: tuple[tuple[int, int], ...],
    below: Path | None = None,
) -> DiskBlocks:
    disk = _open_one(path, fmt)
    try:
        state = path.stat()
        chain = (*above, (state.st_dev, state.st_ino))
        _refuse_circle(path, chain)
        if isinstance(disk, VhdxBlocks) and disk.facts.metadata.has_parent:
            disk.parent = _vhdx_parent(disk, allow, chain, below)
        elif isinstance(disk, VhdBlocks) and disk.footer.kind is VhdType.DIFFERENCING:
            disk.parent = _vhd_parent(disk, allow, chain, below)
        elif isinstance(disk, Qcow2Blocks) and disk.header.backing_file:
            disk.parent = _qcow2_parent(disk, allow, chain, below)
        if below is not None:
            _refuse_other_size(disk)
    except BaseException:
        disk.close()
        raise
    return disk


def _refuse_circle(path: Path, chain: tuple[tuple[int, int], ...]) -> None:
    if chain[-1] in chain[:-1] or len(chain) > _MAX_CHAIN:
        raise DamagedInputError(path=str(path), offset=0, reason="The chain of disks goes in a circle.")


def _refuse_other_size(disk: DiskBlocks) -> None:
    parent = disk.parent
    if parent is not None and parent.size_bytes != disk.size_bytes:
        raise UnsupportedInputError(
            path=str(disk.path),
            reason=f"It holds changes to a disk of {disk.size_bytes} bytes; {parent.path} has "
            f"{parent.size_bytes}.",
            remedy="Name the disk that it was made on.",
        )


def _missing(path: Path, name: str, why: str) -> UnsupportedInputError:
    return UnsupportedInputError(
        path=str(path),
        reason=f"It holds only the changes to the disk {name}, {why}.",
        remedy="Put the parent disk into the same folder, or merge the disks first "
        "(Hyper-V Manager: Edit Disk, Merge).",
    )


def _candidates(child: Path, names: Sequence[str], allow: tuple[Path, ...]) -> list[Path]:
    """Return files beside the child, or allowed, that have one of these names; letter case is ignored."""
    wanted = {ntpath.basename(n.replace("/", "\\")).casefold() for n in names}
    found = [p for p in allow if p.is_file() and p.name.casefold() in wanted]
    for folder in (child.parent, *(p for p in allow if p.is_dir())):
        with os.scandir(folder) as entries:
            found += sorted(Path(e.path) for e in entries if e.name.casefold() in wanted and e.is_file())
    return found


def _vhdx_parent(
    child: VhdxBlocks, allow: tuple[Path, ...], chain: tuple[tuple[int, int], ...], below: Path | None
) -> DiskBlocks:
    """Source: [MS-VHDX] 2.6.2.6.3 (parent_linkage is the parent's DataWriteGuid)."""
    locator = child.facts.metadata.locator
    names = [locator[k] for k in ("relative_path", "absolute_win32_path", "volume_path") if locator.get(k)]
    wanted = {
        i for k in ("parent_linkage", "parent_linkage2") if (i := _guid(locator.get(k, ""))) is not None
    }
    name = names[0] if names else "(not named)"
    for path in [below] if below else _candidates(child.path, names, allow):
        parent = _try_parent(path, DiskFormat.VHDX, allow, chain)
        if isinstance(parent, VhdxBlocks) and parent.facts.header.data_write_id in wanted:
            return parent
        if parent is not None:
            parent.close()
            raise _missing(child.path, name, "and the file of that name was changed since or is another disk")
    raise _missing(child.path, name, "which is not beside it")


def _vhd_parent(
    child: VhdBlocks, allow: tuple[Path, ...], chain: tuple[tuple[int, int], ...], below: Path | None
) -> DiskBlocks:
    header = child.header
    assert header is not None
    names = parent_names(child.file, header)
    name = names[0] if names else "(not named)"
    for path in [below] if below else _candidates(child.path, names, allow):
        parent = _try_parent(path, DiskFormat.VHD, allow, chain)
        if isinstance(parent, VhdBlocks) and parent.footer.disk_id == header.parent_id:
            return parent
        if parent is not None:
            parent.close()
            raise _missing(child.path, name, "and the file of that name is another disk")
    raise _missing(child.path, name, "which is not beside it")


def _try_parent(
    path: Path, fmt: DiskFormat, allow: tuple[Path, ...], chain: tuple[tuple[int, int], ...]
) -> DiskBlocks | None:
    """Open a candidate; None if it is of another format and so cannot be the parent."""
    return _open_chain(path, allow, fmt, chain) if detect_format(path) is fmt else None


def _qcow2_parent(
    child: Qcow2Blocks, allow: tuple[Path, ...], chain: tuple[tuple[int, int], ...], below: Path | None
) -> DiskBlocks:
    name = child.header.backing_file
    fmt = _BACKING_FORMATS.get(child.header.backing_format)
    if below is not None:
        # A disk of another format cannot be the one; one in between (a snapshot's) is found out by this.
        if fmt is not None and detect_format(below) is not fmt:
            raise _missing(child.path, name, f"and {below} is of another format")
        return _open_chain(below, allow, fmt, chain)
    if name.startswith(("json:", "nbd:", "http:", "https:", "ftp:", "ssh:")):
        raise _missing(child.path, name, "which is not a file")
    real = _resolved(child, name)
    places = (child.path.parent.resolve(), *(p.resolve() for p in allow))
    if not any(place in (real, real.parent) for place in places):
        raise _missing(child.path, name, "which is not in its folder")
    return _open_chain(real, allow, fmt, chain)


def _resolved(child: Qcow2Blocks, name: str) -> Path:
    """Return the file that a name means; the name may be anything, and links may go in circles."""
    try:
        real = (child.path.parent / name.removeprefix("file:")).resolve()
        if real.is_file():
            return real
    except (OSError, ValueError, RuntimeError) as exc:
        raise _missing(child.path, ascii(name), "which is no usable name") from exc
    raise _missing(child.path, name, "which is not there")


def _guid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text.strip("\0 "))
    except ValueError:
        return None


__all__ = ["DiskBlocks", "allocated_ranges", "open_disk"]
