"""Disk files as a whole: what one is, a new one, a larger one, one made whole again after a crash."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from sekiso.disks.fileio import new_file, refuse_full, write_all
from sekiso.disks.formats import detect_format
from sekiso.disks.identity import DiskIds
from sekiso.disks.mapped import RawBlocks, SourceFile
from sekiso.disks.qcow2 import Qcow2Blocks
from sekiso.disks.sizes import plan_size
from sekiso.disks.vhd import VhdType, parent_names, reseal_footer
from sekiso.disks.vhd_reader import VhdBlocks
from sekiso.disks.vhdx.layout import MIB, NIL, VIRTUAL_DISK_ID, Header
from sekiso.disks.vhdx.reader import VhdxBlocks, VhdxFacts, read_facts
from sekiso.disks.vhdx.writer import set_disk_id as set_vhdx_disk_id
from sekiso.disks.vhdx.writer import write_headers
from sekiso.disks.writer import make_writer
from sekiso.errors import UnsupportedInputError
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What a disk file says of itself.

    Attributes:
        format: its format.
        allocation: fixed, or growing as blocks are written.
        virtual_size_bytes: size of the disk that a machine sees.
        file_bytes: length of the file.
        allocated_bytes: room that the file takes on its file system.
        block_size_bytes: unit of allocation, None where the format has none.
        logical_sector_bytes: sector size that a machine sees.
        physical_sector_bytes: sector size that a machine is told to write in.
        disk_id: VHD unique id or VHDX virtual disk id; None for formats without.
        parent: name of the disk below, as the file tells it; None for a disk of its own.
        clean: False when the file was not closed cleanly (VHDX: its log must be replayed).
        notes: further things worth telling.
    """

    format: DiskFormat
    allocation: DiskAllocation
    virtual_size_bytes: int
    file_bytes: int
    allocated_bytes: int
    block_size_bytes: int | None
    logical_sector_bytes: int
    physical_sector_bytes: int
    disk_id: uuid.UUID | None
    parent: str | None
    clean: bool
    notes: tuple[str, ...] = ()


def inspect(path: Path) -> DiskFacts:
    """Read and check the structures of a disk file; a disk below it is named but not opened.

    Raises:
        NotFoundError: there is no such file.
        DamagedInputError: a structure is broken.
        UnsupportedInputError: the format or a feature is not read here.
    """
    fmt = detect_format(path)
    state = path.stat()
    sizes = (state.st_size, state.st_blocks * 512)
    if fmt is DiskFormat.VHDX:
        with VhdxBlocks(path) as vhdx:
            return _vhdx_facts(vhdx, *sizes)
    if fmt is DiskFormat.VHD:
        with VhdBlocks(path) as vhd:
            return _vhd_facts(vhd, *sizes)
    if fmt is DiskFormat.QCOW2:
        with Qcow2Blocks(path) as qcow2:
            return _qcow2_facts(qcow2, *sizes)
    kind = DiskAllocation.DYNAMIC if sizes[1] < sizes[0] else DiskAllocation.FIXED
    return DiskFacts(fmt, kind, sizes[0], *sizes, None, 512, 512, None, None, clean=True)


def _vhdx_facts(disk: VhdxBlocks, file_bytes: int, allocated_bytes: int) -> DiskFacts:
    meta, notes = disk.facts.metadata, disk.facts.notes
    fixed = meta.keeps_blocks
    if fixed and disk.held_blocks < disk.blocks:
        notes += ("The disk calls itself fixed, but not all of its blocks have a place in the file.",)
    locator = meta.locator
    parent = locator.get("relative_path") or locator.get("absolute_win32_path") or locator.get("volume_path")
    return DiskFacts(
        DiskFormat.VHDX, DiskAllocation.FIXED if fixed else DiskAllocation.DYNAMIC,
        meta.size_bytes, file_bytes, allocated_bytes, meta.block_bytes,
        meta.logical_sector_bytes, meta.physical_sector_bytes, meta.disk_id,
        (parent or "(not named)") if meta.has_parent else None,
        clean=disk.facts.replay is None, notes=notes,
    )  # fmt: skip


def _vhd_facts(disk: VhdBlocks, file_bytes: int, allocated_bytes: int) -> DiskFacts:
    footer, header, notes = disk.footer, disk.header, disk.notes
    if footer.saved_state:
        notes += ("The disk belongs to a machine in saved state.",)
    parent = None
    if header is not None and footer.kind is VhdType.DIFFERENCING:
        parent = next(iter(parent_names(disk.file, header)), "(not named)")
    return DiskFacts(
        DiskFormat.VHD, DiskAllocation.FIXED if header is None else DiskAllocation.DYNAMIC,
        footer.size_bytes, file_bytes, allocated_bytes, header.block_bytes if header else None,
        512, 512, footer.disk_id, parent, clean=not disk.notes, notes=notes,
    )  # fmt: skip


def _qcow2_facts(disk: Qcow2Blocks, file_bytes: int, allocated_bytes: int) -> DiskFacts:
    header = disk.header
    notes: tuple[str, ...] = ()
    if header.snapshots:
        notes += (f"The file holds {header.snapshots} internal snapshots, which are not read.",)
    if header.dirty:
        notes += ("The file was not closed cleanly; its content is not affected by that.",)
    return DiskFacts(
        DiskFormat.QCOW2, DiskAllocation.DYNAMIC, header.size_bytes, file_bytes, allocated_bytes,
        1 << header.cluster_bits, 512, 512, None, header.backing_file or None,
        clean=not header.dirty, notes=notes,
    )  # fmt: skip


def create(
    path: Path,
    fmt: DiskFormat,
    size_bytes: int,
    *,
    allocation: DiskAllocation = DiskAllocation.DYNAMIC,
    ids: DiskIds | None = None,
    block_bytes: int | None = None,
    logical_sector_bytes: int = 512,
    physical_sector_bytes: int = 4096,
) -> DiskFacts:
    """Create an empty disk.

    Args:
        path: the new file; must not exist.
        fmt: VHD, VHDX or raw.
        size_bytes: size wanted, rounded up by `plan_size`.
        allocation: whether the file has its whole length from the start (its empty part stays a hole).
        ids: identifiers; fresh ones when left out.
        block_bytes: unit of allocation of a dynamic VHD or a VHDX; 2 MiB when left out.
        logical_sector_bytes: VHDX only.
        physical_sector_bytes: VHDX only; 4096 with logical 512 is "512e", what Hyper-V makes.

    Raises:
        AlreadyExistsError: the file exists.
        RuleError: the size or an option is not allowed.
    """
    size = plan_size(fmt, size_bytes).size_bytes
    with new_file(path) as (fd, _temp):
        make_writer(
            fd, fmt, size, allocation=allocation, ids=ids or DiskIds.fresh(), block_bytes=block_bytes,
            logical_sector_bytes=logical_sector_bytes, physical_sector_bytes=physical_sector_bytes,
        ).finish()  # fmt: skip
    return inspect(path)


def set_disk_id(path: Path, disk_id: uuid.UUID) -> None:
    """Give a VHD or VHDX another identifier, in place.

    Two disks with the same identifier cannot be used on one server at a time, so a copy needs its own.

    Raises:
        UnsupportedInputError: the format has no identifier, or the file was not closed cleanly.
    """
    facts = inspect(path)
    if facts.format not in (DiskFormat.VHD, DiskFormat.VHDX):
        raise UnsupportedInputError(
            path=str(path), reason=f"A {facts.format} disk file has no identifier.", remedy=""
        )
    _require_clean(path, facts)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if facts.format is DiskFormat.VHD:
            _reseal_vhd(fd, facts, disk_id=disk_id)
        else:
            _renew_vhdx(fd, path, disk_id)
        os.fsync(fd)
    finally:
        os.close(fd)


def _require_clean(path: Path, facts: DiskFacts) -> None:
    if not facts.clean:
        raise UnsupportedInputError(
            path=str(path),
            reason="The disk file was not closed cleanly.",
            remedy="Make a repaired copy first.",
        )


def _reseal_vhd(fd: int, facts: DiskFacts, *, disk_id: uuid.UUID) -> None:
    end = facts.file_bytes - 512
    footer = reseal_footer(os.pread(fd, 512, end), disk_id=disk_id)
    write_all(fd, footer, end)
    if facts.block_size_bytes is not None:
        write_all(fd, footer, 0)


def _renew_vhdx(fd: int, path: Path, disk_id: uuid.UUID) -> None:
    file = SourceFile(path)
    try:
        facts, read = read_facts(file)
        region = facts.metadata_region
        table = read(region.offset, 64 << 10)
        at = table.index(VIRTUAL_DISK_ID.bytes_le)
        item = region.offset + int.from_bytes(table[at + 16 : at + 20], "little")
    finally:
        file.close()
    set_vhdx_disk_id(fd, item, disk_id)
    os.fsync(fd)
    renew_vhdx_headers(fd, facts, content_changed=False)


def renew_vhdx_headers(fd: int, facts: VhdxFacts, *, content_changed: bool) -> None:
    """Write new headers after a change: a new file-write id, the log empty.

    Args:
        fd: the file.
        facts: what it said before.
        content_changed: also a new data-write id, so that children of the disk no longer match it.
    """
    old = facts.header
    data_id = uuid.uuid4() if content_changed else old.data_write_id
    header = Header(old.sequence, uuid.uuid4(), data_id, NIL, old.log_offset, old.log_bytes)
    write_headers(fd, header, first=1 - facts.header_index)


def repair_copy(source: Path, target: Path, *, progress: Progress = NO_PROGRESS) -> DiskFacts:
    """Copy a disk file that was not closed cleanly and make the copy whole.

    VHDX: the log is replayed into the copy and emptied. VHD: a broken footer is written anew from its copy.
    The source is not changed.

    Raises:
        DamagedInputError: the file is damaged beyond what its log or copies can mend.
        AlreadyExistsError: the target exists.
        NoSpaceError: there is no room for the copy.
        CanceledError: the work was canceled.
    """
    facts = inspect(source)
    refuse_full(target, facts.allocated_bytes)
    with new_file(target) as (fd, temp):
        _copy_sparse(source, fd, progress)
        if facts.format is DiskFormat.VHDX:
            _replay_into(fd, temp)
        elif facts.format is DiskFormat.VHD and not facts.clean:
            end = -(-facts.file_bytes // 512) * 512
            write_all(fd, os.pread(fd, 512, 0), end)
    return inspect(target)


def _copy_sparse(source: Path, fd: int, progress: Progress) -> None:
    with RawBlocks(source) as raw:
        progress.step("copy", total=raw.size_bytes)
        for part in raw.top_ranges():
            at = part.start
            while at < part.end:
                check_canceled(progress)
                data = raw.read(at, min(4 * MIB, part.end - at))
                write_all(fd, data, at)
                at += len(data)
                progress.advance(at)
        os.ftruncate(fd, raw.size_bytes)


def _replay_into(fd: int, path: Path) -> None:
    """Source: [MS-VHDX] 2.3.3: write all, flush, then empty the log by a new header."""
    file = SourceFile(path)
    try:
        facts, _read = read_facts(file)
    finally:
        file.close()
    if facts.replay is None:
        return
    if os.fstat(fd).st_size < facts.replay.file_bytes:
        os.ftruncate(fd, facts.replay.file_bytes)
    for write in facts.replay.writes:
        if write.data is not None:
            write_all(fd, write.data, write.offset)
            continue
        for at in range(write.offset, write.offset + write.length, MIB):
            write_all(fd, bytes(min(MIB, write.offset + write.length - at)), at)
    os.fsync(fd)
    renew_vhdx_headers(fd, facts, content_changed=False)
