"""Damaged NTFS volumes: Sekiso must answer with data or a SekisoError, quickly and in little memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from pathlib import Path

from sekiso.disks.ntfs import lznt1, open_ntfs
from sekiso.disks.ntfs.changes import changes_between
from sekiso.errors import SekisoError
from sekiso.wim.tree import NO_BLOB

#: More than any sound volume of the corpus holds; a damaged one may claim a long sparse file.
MAX_CONTENT_BYTES = 64 << 20


class EnoughError(SekisoError):
    """The volume claims more content than the fuzzer wants to read."""


class MemoryBlocks:
    """The bytes of a volume in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    @property
    def name(self) -> str:
        return "memory"

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"negative offset or length: {offset}, {length}")
        return bytes(self.data[offset : offset + length])


class BudgetSink:
    """Takes content up to a limit."""

    def __init__(self) -> None:
        self.left = MAX_CONTENT_BYTES

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        total = 0
        for chunk in chunks:
            total += len(chunk)
            self.left -= len(chunk)
            if self.left < 0:
                raise EnoughError
        assert total == size_bytes
        return NO_BLOB


def exercise(data: bytes | bytearray, base: bytes | None = None) -> str:
    """Read a volume in every way; returns how it ended."""
    try:
        volume = open_ntfs(MemoryBlocks(data))
        assert volume.facts.filesystem == "ntfs"
        volume.read_file("/Windows/System32/tiny.txt")
        volume.read_file("/users/link.txt")
        if base is not None:
            changes_between(open_ntfs(MemoryBlocks(base)), volume, None)
        volume.tree(BudgetSink())
    except SekisoError as exc:
        return type(exc).__name__
    return "data"


def places(data: bytes) -> list[int]:
    """Return where structures lie: boot sector, file records in use, index blocks, the journal's head."""
    found = [0]
    for at in range(0, len(data), 512):
        if data[at : at + 4] in (b"FILE", b"INDX", b"RSTR") and data[at + 22 : at + 23] != b"\0":
            found.append(at)
    return found


def mutate(data: bytes, spots: list[int], noise: random.Random) -> bytearray:
    """Damage a volume in one to four places, mostly within its structures."""
    out = bytearray(data)
    for _ in range(noise.randint(1, 4)):
        inside = noise.random() < 0.95
        at = noise.choice(spots) + noise.randrange(1024) if inside else noise.randrange(len(out))
        kind = noise.randrange(6)
        if kind == 0:
            out[at % len(out)] ^= 1 << noise.randrange(8)
        elif kind == 1:
            out[at % len(out)] = noise.choice((0, 1, 0x7F, 0x80, 0xFF, noise.randrange(256)))
        elif kind in (2, 3):
            width = noise.choice((2, 4, 8))
            value = noise.choice((0, 1, 0xFFFFFFFFFFFFFFFF, 1 << 63, 1 << 31, noise.getrandbits(64)))
            at = min(at & ~(width - 1), len(out) - width)
            out[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        elif kind == 4:
            source = noise.choice(spots)
            length = noise.choice((8, 48, 512, 1024))
            out[at : at + length] = data[source : source + length]
            del out[len(data) :]
        else:
            _mutate_attribute(out, noise.choice(spots), noise)
    return out


def _mutate_attribute(out: bytearray, record: int, noise: random.Random) -> None:
    """Damage one field of one attribute header or of its first bytes."""
    if out[record : record + 4] != b"FILE":
        return
    at = record + struct.unpack_from("<H", out, record + 20)[0]
    for _ in range(noise.randrange(6)):
        length = struct.unpack_from("<I", out, at + 4)[0] if at + 8 <= len(out) else 0
        if not 16 <= length <= 1024:
            break
        at += length
    at += noise.randrange(96)
    if at < len(out):
        out[at] = noise.choice((0, 1, 2, 0x10, 0x30, 0x80, 0xFF, noise.randrange(256)))


def mutate_lznt1(noise: random.Random) -> bytes:
    """Return bytes that look like LZNT1 to a varying degree."""
    parts: list[bytes] = []
    for _ in range(noise.randint(1, 5)):
        size = noise.randrange(1, 4097)
        header = (size - 1) | noise.choice((0x3000, 0xB000, 0x8000, 0xB000, 0xB000))
        body = (
            noise.randbytes(size) if noise.random() < 0.5 else bytes(noise.choices((0, 1, 0xFF, 65), k=size))
        )
        parts.append(struct.pack("<H", header) + body)
    data = b"".join(parts)
    return data[: noise.randrange(len(data) + 1)] if noise.random() < 0.3 else data


def exercise_lznt1(data: bytes, limit: int) -> str:
    """Decompress; returns how it ended."""
    try:
        out = lznt1.decompress(data, limit)
    except ValueError:
        return "ValueError"
    assert len(out) <= limit
    return "data"


def load_corpus(folder: Path) -> list[bytes]:
    """Return the volumes of a folder."""
    return [path.read_bytes() for path in sorted(folder.glob("*.img"))]
