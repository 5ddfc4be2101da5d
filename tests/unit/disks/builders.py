"""Disk structures built by hand, for the readers to be tested against."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

from sekiso.disks.crc32c import crc32c
from sekiso.disks.identity import DiskIds
from sekiso.disks.vhdx.layout import Header, pack_header
from sekiso.disks.vhdx.writer import VhdxWriter

MIB = 1 << 20
NIL = uuid.UUID(int=0)
IDS = DiskIds.derived("test", created_s=1_700_000_000)


class MemoryBlocks:
    """A disk in memory."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.data = bytes(data)
        self.name = name

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError
        return self.data[offset : offset + length]


def vhdx(
    path: Path,
    size_bytes: int,
    content: dict[int, bytes],
    *,
    fixed: bool = False,
    block_bytes: int = MIB,
    ids: DiskIds = IDS,
    locator: dict[str, str] | None = None,
) -> Path:
    """Write a VHDX with this content (offset → bytes)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        writer = VhdxWriter(fd, size_bytes, fixed=fixed, ids=ids, block_bytes=block_bytes, locator=locator)
        for offset, data in content.items():
            writer.write(offset, data)
        writer.finish()
    finally:
        os.close(fd)
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def set_log(path: Path, log_id: uuid.UUID, log: bytes, *, ids: DiskIds = IDS, sequence: int = 10) -> None:
    """Announce a log in the header and write its bytes."""
    header = Header(sequence, ids.file_write_id, ids.data_write_id, log_id, MIB, MIB)
    patch(path, 64 << 10, pack_header(header))
    patch(path, MIB, log)


def log_entry(
    log_id: uuid.UUID,
    sequence: int,
    writes: Sequence[tuple[int, bytes | int]],
    *,
    tail: int,
    file_bytes: int,
    flushed_bytes: int | None = None,
) -> bytes:
    """Build one log entry: each write is 4096 bytes of data, or a count of zero bytes."""
    data = [w for w in writes if isinstance(w[1], bytes)]
    head_bytes = -(-(64 + 32 * len(writes)) // 4096) * 4096
    entry = bytearray(head_bytes + 4096 * len(data))
    flushed = file_bytes if flushed_bytes is None else flushed_bytes
    struct.pack_into(
        "<4sIIIQII16sQQ", entry, 0, b"loge", 0, len(entry), tail, sequence, len(writes), 0,
        log_id.bytes_le, flushed, file_bytes,
    )  # fmt: skip
    at = head_bytes
    for i, (offset, what) in enumerate(writes):
        if isinstance(what, int):
            struct.pack_into("<4s4xQQQ", entry, 64 + 32 * i, b"zero", what, offset, sequence)
            continue
        assert len(what) == 4096
        struct.pack_into("<4s4s8sQQ", entry, 64 + 32 * i, b"desc", what[-4:], what[:8], offset, sequence)
        high, low = divmod(sequence, 1 << 32)
        ends = high.to_bytes(4, "little"), low.to_bytes(4, "little")
        entry[at : at + 4096] = b"data" + ends[0] + what[8:-4] + ends[1]
        at += 4096
    entry[4:8] = crc32c(bytes(entry)).to_bytes(4, "little")
    return bytes(entry)


def vhd_footer(kind: int, size_bytes: int, disk_id: uuid.UUID, *, creator: bytes = b"test") -> bytes:
    """Build a VHD footer without Sekiso's own code."""
    block = bytearray(512)
    struct.pack_into(
        ">8sIIQI4sI4sQQHBBII16s", block, 0, b"conectix", 2, 0x10000, 512 if kind != 2 else (1 << 64) - 1, 0,
        creator, 1, b"Wi2k", size_bytes, size_bytes, 10, 4, 17, kind, 0, disk_id.bytes,
    )  # fmt: skip
    struct.pack_into(">I", block, 64, ~sum(block) & 0xFFFFFFFF)
    return bytes(block)


def sparse_vhd(
    size_bytes: int,
    blocks: dict[int, tuple[bytes, bytes]],
    *,
    kind: int = 3,
    block_bytes: int = 65536,
    disk_id: uuid.UUID = IDS.disk_id,
    parent_id: uuid.UUID = NIL,
    parent_name: str = "",
) -> bytes:
    """Build a dynamic or differencing VHD: block number → (sector bitmap, content)."""
    count = -(-size_bytes // block_bytes)
    footer = vhd_footer(kind, size_bytes, disk_id)
    header = bytearray(1024)
    name = parent_name.encode("utf-16-be")
    struct.pack_into(
        ">8sQQIIII16sII512s", header, 0, b"cxsparse", (1 << 64) - 1, 1536, 0x10000, count, block_bytes, 0,
        parent_id.bytes, 0, 0, name,
    )  # fmt: skip
    table_bytes = -(-4 * count // 512) * 512
    body = b""
    at = 1536 + table_bytes
    if parent_name:
        locator = parent_name.encode("utf-16-le")
        struct.pack_into(">4sIIIQ", header, 576, b"W2ru", 512, len(locator), 0, at)
        body += locator.ljust(512, b"\0")
    struct.pack_into(">I", header, 36, ~sum(header) & 0xFFFFFFFF)
    table = [0xFFFFFFFF] * count
    for number, (bitmap, content) in blocks.items():
        table[number] = (at + len(body)) // 512
        body += bitmap.ljust(512, b"\0") + content.ljust(block_bytes, b"\0")
    raw_table = struct.pack(f">{count}I", *table).ljust(table_bytes, b"\xff")
    return footer + bytes(header) + raw_table + body + footer


def mbr(entries: Sequence[tuple[int, int, int, int]], *, signature: int = 0x12345678) -> bytes:
    """Build a boot record from (status, type, first sector, sectors)."""
    block = bytearray(512)
    struct.pack_into("<I", block, 440, signature)
    for i, (status, kind, first, count) in enumerate(entries):
        struct.pack_into("<B3xB3xII", block, 446 + 16 * i, status, kind, first, count)
    block[510:] = b"\x55\xaa"
    return bytes(block)
