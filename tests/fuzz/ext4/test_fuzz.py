"""Damaged ext4 images: an error of ours or data, never a crash, a hang, or memory without bound.

More cases: SEKISO_FUZZ_CASES=20000 uv run pytest tests/fuzz/ext4
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ext4 import Ext4Volume, changes_between, open_ext4
from sekiso.disks.ext4.crc import crc32c
from sekiso.disks.ext4.files import is_short_link
from sekiso.disks.ext4.inodes import decode_inode, inode_checksums
from sekiso.disks.ext4.layout import S_IFDIR, Flag
from sekiso.disks.ext4.superblock import descriptor_checksums, parse_superblock
from sekiso.errors import SekisoError
from sekiso.wim.blobs import HashSink

CASES = int(os.environ.get("SEKISO_FUZZ_CASES", "90"))
SIZE = 4 << 20
KINDS = {
    "ext4": ("-b", "1024", "-O", "^resize_inode,inline_data"),
    "ext2": ("-b", "1024", "-O", "^extent,^has_journal,^64bit,^metadata_csum,^resize_inode"),
    "plain": ("-b", "1024", "-I", "128", "-O", "^has_journal,^metadata_csum,^resize_inode,^64bit"),
}


class Memory:
    """A volume in memory."""

    name = "fuzz"

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = bytes(data)
        self.size_bytes = len(data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError("negative")
        return self._data[offset : offset + length]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("fuzz")
    source = folder / "source"
    (source / "folder" / "deeper").mkdir(parents=True)
    for number in range(40):
        (source / "folder" / f"a name of some length {number}").write_bytes(b"%d" % number * 300)
    (source / "large").write_bytes(bytes(range(256)) * 2000)
    (source / "link").symlink_to("folder/deeper")
    (source / "long link").symlink_to("x" * 200)
    os.link(source / "large", source / "another")
    os.setxattr(source / "large", "user.a", b"b" * 10)
    os.setxattr(source / "folder", "user.long", b"c" * 400)
    with (source / "sparse").open("wb") as stream:
        for number in range(12):
            stream.seek(number * 40_000)
            stream.write(b"data")
    return {kind: make(folder / kind.replace(" ", "-"), source, KINDS[kind]) for kind in KINDS}


def make(image: Path, source: Path, options: tuple[str, ...]) -> bytes:
    with image.open("wb") as stream:
        stream.truncate(SIZE)
    journal = () if "^has_journal" in str(options) else ("-J", "size=1")
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-N", "128", *journal, *options, "-d", source, image]
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True)
    assert done.returncode == 0, (command, done.stderr)
    return image.read_bytes()


def hot_places(data: bytes) -> list[int]:
    """Offsets of every byte that decides something: superblock, descriptors, inodes, folders, trees."""
    files = open_ext4(Memory(data)).files
    size = files.sb.block_size
    places = [*range(1024, 1024 + 0x180), *range(2048, 2048 + files.sb.descriptor_size)] * 4
    journal = files.sb.u32(0xE0)
    for number in range(1, files.sb.inodes_count + 1):
        offset = files.tables.offset(number)
        raw = data[offset : offset + files.sb.inode_size]
        if not any(raw) or number == journal:
            continue
        places += [offset + at for at, value in enumerate(raw) if value or at < 0xA0]
        inode = decode_inode(number, raw, files.sb)
        blocks = [inode.acl_block] if inode.acl_block else []
        if inode.kind and not inode.flags & Flag.INLINE_DATA and not is_short_link(inode):
            runs = files.map.runs(inode, meta=blocks)
            if inode.kind == S_IFDIR:
                blocks += [run.physical + i for run in runs for i in range(run.length)]
        places += [b * size + at for b in blocks for at in range(size) if data[b * size + at] or at < 64]
    return places


def mutations(data: bytes, places: list[int], rng: random.Random) -> bytearray:
    """Change a few bytes of metadata, and make the checksums right again (mostly)."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 2, 4, 8, 32])):
        at = rng.choice(places)
        size = rng.choice([1, 2, 4])
        value = rng.choice([0, 1, 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, rng.randrange(1 << 32)])
        if rng.random() < 0.3:
            value = (int.from_bytes(out[at : at + size], "little") + rng.choice([-1, 1, 4, 256])) % (1 << 32)
        out[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if rng.random() < 0.9:
        mend(out)
    return out


def mend(out: bytearray) -> None:
    """Put the right checksums on superblock, descriptors and inodes, so that the fuzz gets behind them."""
    sb = parse_superblock(bytes(out[1024:2048]))
    if sb is None or not sb.has_metadata_checksums:
        return
    start, size = 2048 if sb.block_size == 1024 else sb.block_size, sb.descriptor_size
    count = min(sb.groups_count, 64)
    table = np.frombuffer(bytes(out[start : start + count * size]).ljust(count * size, b"\0"), np.uint8)
    table = table.reshape(count, size)
    sums = descriptor_checksums(table, sb.checksum_seed)
    for group in range(count):
        struct.pack_into("<H", out, start + group * size + 0x1E, int(sums[group]))
    place = int.from_bytes(out[start + 8 : start + 12], "little") * sb.block_size
    inodes = min(sb.inodes_per_group, 256)
    if sb.inode_size >= 256 and place + inodes * sb.inode_size <= len(out):
        rows = np.frombuffer(bytes(out[place : place + inodes * sb.inode_size]), np.uint8)
        rows = rows.reshape(inodes, sb.inode_size)
        found = inode_checksums(rows, np.arange(1, inodes + 1, dtype=np.uint32), sb.checksum_seed)
        for index, value in enumerate(found.tolist()):
            at = place + index * sb.inode_size
            struct.pack_into("<H", out, at + 0x7C, value & 0xFFFF)
            struct.pack_into("<H", out, at + 0x82, value >> 16)
    struct.pack_into("<I", out, 1024 + 0x3FC, crc32c(out[1024 : 1024 + 0x3FC]))


def use(data: bytes | bytearray, base: Ext4Volume | None) -> bool:
    """Do everything that can be done with a volume; True if all of it worked."""
    try:
        volume = open_ext4(Memory(data))
        volume.tree(HashSink())
        volume.read_file("/folder/a name of some length 7")
        volume.read_file("/link/../large")
        if base is not None:
            changes_between(base, volume)
            changes_between(base, volume, [ByteRange(0, len(data) // 2)])
    except SekisoError:
        return False
    return True


def cases() -> Iterator[tuple[str, int]]:
    kinds = list(KINDS)
    for number in range(CASES):
        yield kinds[number % len(kinds)], number


def test_damaged_images_never_crash(images: dict[str, bytes]) -> None:
    bases = {kind: open_ext4(Memory(data)) for kind, data in images.items()}
    for kind, data in images.items():
        assert use(data, bases[kind])
    places = {kind: hot_places(data) for kind, data in images.items()}
    slowest, worked = 0.0, 0
    for kind, number in cases():
        data = mutations(images[kind], places[kind], random.Random(number))
        start = time.monotonic()
        try:
            worked += use(data, bases[kind])
        except Exception as exc:
            raise AssertionError(f"case {number} of {kind}: {exc!r}") from exc
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 20
    assert 0 < worked < CASES


def test_memory_is_bounded(images: dict[str, bytes]) -> None:
    places = {kind: hot_places(data) for kind, data in images.items()}
    tracemalloc.start()
    try:
        for kind, number in cases():
            if number < CASES // 5:
                use(mutations(images[kind], places[kind], random.Random(-1 - number)), None)
        assert tracemalloc.get_traced_memory()[1] < 400 << 20
    finally:
        tracemalloc.stop()


def test_an_image_cut_short(images: dict[str, bytes]) -> None:
    data = images["ext4"]
    for length in (0, 1, 1024, 1500, 2047, 2048, 4096, 100_000, len(data) - 1):
        assert not use(data[:length], None)
