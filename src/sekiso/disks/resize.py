"""Make a disk larger, in place. QEMU's tools cannot do that to VHD and VHDX files.

Every step leaves a valid disk of the old or the new size on the file system, should the machine stop in
between.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sekiso import process
from sekiso.disks.fileio import write_all
from sekiso.disks.image import DiskFacts, inspect, renew_vhdx_headers
from sekiso.disks.mapped import SourceFile
from sekiso.disks.sizes import MIB, SECTOR, plan_size
from sekiso.disks.vhd import (
    FOOTER_BYTES,
    HEADER_BYTES,
    UNUSED,
    VhdHeader,
    checksum,
    read_dynamic_header,
    read_footer,
    read_table,
    reseal_footer,
)
from sekiso.disks.vhdx.bat import FULL, BatShape
from sekiso.disks.vhdx.layout import BAT_REGION, REGION_OFFSETS, TABLE_BYTES, Region, seal
from sekiso.disks.vhdx.reader import VhdxFacts, read_facts
from sekiso.errors import RuleError, UnsupportedInputError
from sekiso.model.machine import DiskFormat


def resize(path: Path, new_size_bytes: int) -> DiskFacts:
    """Make a disk larger; the partitions on it stay as they are.

    Args:
        path: raw, VHD, VHDX or qcow2; nothing else may have it open.
        new_size_bytes: size wanted, rounded up by `plan_size`.

    Raises:
        RuleError: the size is smaller than now, or larger than the format allows.
        UnsupportedInputError: the file was not closed cleanly, or holds only changes to another disk.
        DamagedInputError: the file is damaged.
    """
    facts = inspect(path)
    size = plan_size(facts.format, new_size_bytes).size_bytes
    if size < facts.virtual_size_bytes:
        raise RuleError(
            field="size_bytes",
            reason=f"The disk has {facts.virtual_size_bytes} bytes; a smaller one loses what is at its end.",
            remedy="Create a smaller disk and copy the files.",
        )
    if not facts.clean or (facts.parent and facts.format is not DiskFormat.QCOW2):
        raise UnsupportedInputError(
            path=str(path),
            reason="The file was not closed cleanly, or holds only the changes to another disk.",
            remedy="Make a repaired copy, or convert it to a disk of its own, and enlarge that.",
        )
    if size > facts.virtual_size_bytes:
        _grow(path, facts, size)
    return inspect(path)


def _grow(path: Path, facts: DiskFacts, size: int) -> None:
    if facts.format is DiskFormat.QCOW2:
        process.run(["qemu-img", "resize", "-q", "-f", "qcow2", path, str(size)])
        return
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if facts.format is DiskFormat.RAW:
            os.ftruncate(fd, size)
        elif facts.format is DiskFormat.VHDX:
            _grow_vhdx(fd, path, size)
        elif facts.block_size_bytes is None:
            _grow_fixed_vhd(fd, facts, size)
        else:
            _grow_dynamic_vhd(fd, path, size)
        os.fsync(fd)
    finally:
        os.close(fd)


def _grow_fixed_vhd(fd: int, facts: DiskFacts, size: int) -> None:
    """The new footer first; the old one is only then given back to the disk."""
    old_at = facts.file_bytes - FOOTER_BYTES
    footer = reseal_footer(os.pread(fd, FOOTER_BYTES, old_at), size_bytes=size)
    write_all(fd, footer, size)
    os.fsync(fd)
    cut = min(FOOTER_BYTES, size - old_at)
    write_all(fd, bytes(cut), old_at)


def _grow_dynamic_vhd(fd: int, path: Path, size: int) -> None:
    """A longer block table behind everything else, then the header that names it, then the footers."""
    file = SourceFile(path)
    try:
        footer, _ = read_footer(file)
        header = read_dynamic_header(file, footer)
        table = read_table(file, header)
        end = file.size_bytes
        raw_footer = file.read(end - FOOTER_BYTES, FOOTER_BYTES)
        raw_header = file.read(footer.header_offset, HEADER_BYTES)
    finally:
        file.close()
    _clear_vhd_tail(fd, header, table.tolist(), footer.size_bytes)
    blocks = -(-size // header.block_bytes)
    longer = np.full(blocks, UNUSED, dtype=np.uint32)
    longer[: len(table)] = table
    raw_table = longer.astype(">u4").tobytes()
    raw_table += b"\xff" * (-len(raw_table) % SECTOR)
    write_all(fd, raw_table + raw_footer, end)
    os.fsync(fd)
    write_all(fd, _header_with_table(raw_header, end, blocks), footer.header_offset)
    os.fsync(fd)
    new_footer = reseal_footer(raw_footer, size_bytes=size)
    write_all(fd, new_footer, end + len(raw_table))
    write_all(fd, new_footer, 0)


def _header_with_table(raw: bytes, table_offset: int, blocks: int) -> bytes:
    block = bytearray(raw)
    struct.pack_into(">Q", block, 16, table_offset)
    struct.pack_into(">I", block, 28, blocks)
    struct.pack_into(">I", block, 36, checksum(bytes(block), 36))
    return bytes(block)


def _clear_vhd_tail(fd: int, header: VhdHeader, table: list[int], size_bytes: int) -> None:
    """What lies in the last block behind the old end of the disk becomes part of it: zeros."""
    inside = size_bytes % header.block_bytes
    if inside and table[-1] != UNUSED:
        at = table[-1] * SECTOR + header.bitmap_bytes
        _write_zeros(fd, at + inside, header.block_bytes - inside)


def _write_zeros(fd: int, offset: int, length: int) -> None:
    for at in range(offset, offset + length, MIB):
        write_all(fd, bytes(min(MIB, offset + length - at)), at)


def _grow_vhdx(fd: int, path: Path, size: int) -> None:
    file = SourceFile(path)
    try:
        facts, _ = read_facts(file)
        old = _shape(facts, facts.metadata.size_bytes)
        table = np.frombuffer(file.read(facts.bat_region.offset, 8 * old.entries), dtype="<u8")
        end = -(-file.size_bytes // MIB) * MIB
    finally:
        file.close()
    new = _shape(facts, size)
    entries = np.zeros(new.entries, dtype="<u8")
    entries[: old.entries] = table
    end = max(end, _clear_vhdx_tail(fd, facts, int(table[old.payload_index(old.blocks - 1)])))
    if facts.metadata.keeps_blocks:
        end = _place_new_blocks(fd, facts, entries, (old.blocks, new.blocks), end)
    _write_bat(fd, facts, entries, end)
    write_all(fd, size.to_bytes(8, "little"), facts.metadata.size_offset)
    os.fsync(fd)
    renew_vhdx_headers(fd, facts, content_changed=True)


def _shape(facts: VhdxFacts, size: int) -> BatShape:
    meta = facts.metadata
    return BatShape.of(size, meta.block_bytes, meta.logical_sector_bytes, has_parent=False)


def _clear_vhdx_tail(fd: int, facts: VhdxFacts, last_entry: int) -> int:
    """Make the last block whole and its part behind the old end zero; return where it ends."""
    meta = facts.metadata
    if last_entry & 7 != FULL:
        return 0
    at = (last_entry >> 20) * MIB
    inside = (meta.size_bytes - 1) % meta.block_bytes + 1
    _write_zeros(fd, at + inside, meta.block_bytes - inside)
    return at + meta.block_bytes


def _place_new_blocks(
    fd: int, facts: VhdxFacts, entries: npt.NDArray[np.uint64], span: tuple[int, int], end: int
) -> int:
    """Give the new blocks of a fixed disk their places at the end of the file; return its new end."""
    block_bytes = facts.metadata.block_bytes
    ratio = _shape(facts, facts.metadata.size_bytes).ratio
    blocks = np.arange(*span, dtype=np.uint64)
    places = np.uint64(end) + (blocks - np.uint64(span[0])) * np.uint64(block_bytes)
    entries[(blocks + blocks // np.uint64(ratio)).astype(np.int64)] = places | np.uint64(FULL)
    end += (span[1] - span[0]) * block_bytes
    os.ftruncate(fd, end)
    os.fsync(fd)
    return end


def _write_bat(fd: int, facts: VhdxFacts, entries: npt.NDArray[np.uint64], end: int) -> None:
    """Write the table where it fits; a moved one is complete on the disk before anything names it."""
    raw = entries.tobytes()
    region = facts.bat_region
    if len(raw) <= region.length:
        write_all(fd, raw, region.offset)
        os.fsync(fd)
        return
    moved = Region(end, -(-len(raw) // MIB) * MIB)
    os.ftruncate(fd, moved.end)
    write_all(fd, raw, moved.offset)
    os.fsync(fd)
    table = _moved_region_table(fd, moved)
    for offset in reversed(REGION_OFFSETS):
        write_all(fd, table, offset)
        os.fsync(fd)


def _moved_region_table(fd: int, moved: Region) -> bytes:
    """Return the region table in force with another place for the block allocation table."""
    candidates = [os.pread(fd, TABLE_BYTES, offset) for offset in REGION_OFFSETS]
    raw = next(c for c in candidates if c[:4] == b"regi" and seal(bytearray(c)) == c)
    block = bytearray(raw)
    at = raw.index(BAT_REGION.bytes_le)
    struct.pack_into("<QI", block, at + 16, moved.offset, moved.length)
    return seal(block)
