"""Valid disk files of every kind, small, and ways to break them that survive checksums."""

from __future__ import annotations

import random
import struct
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

from sekiso.disks.fat import FatPlace, copy_tree_into_fat, format_fat
from sekiso.disks.fat_reader import FatVolume
from sekiso.disks.image import inspect, repair_copy
from sekiso.disks.open import allocated_ranges, open_disk
from sekiso.disks.partitions import (
    PartitionRequest,
    plan_partitions,
    read_partition_table,
    write_partition_table,
)
from sekiso.disks.partitions.table import GPT_BASIC_DATA, GPT_ESP
from sekiso.disks.recognise import recognise_filesystem
from sekiso.disks.vhdx.layout import checksum_of
from tests.unit.disks.builders import MIB, MemoryBlocks, log_entry, set_log, sparse_vhd, vhdx
from tests.unit.disks.test_disk_files import qcow2
from tests.unit.disks.test_partitions import logical_disk
from tests.unit.disks.test_vhdx import BAT, FULL, LOG_ID, TestParents, data_of, entry

#: Where the structures of a kind lie: mutations go there, not into content.
Spots = list[tuple[int, int]]


class Seed:
    """One valid file and what is done with its mutants."""

    def __init__(self, name: str, data: bytes, spots: Spots, exercise: Callable[[bytes, Path], None]) -> None:
        self.name = name
        self.data = data
        self.spots = [(at, min(length, len(data) - at)) for at, length in spots if at < len(data)]
        self.exercise = exercise
        self.reseal: Callable[[bytearray], None] | None = None


def use_disk(data: bytes, folder: Path) -> None:
    """Everything that is done with a disk file that somebody brings."""
    path = folder / "mutant"
    path.write_bytes(data)
    steps: list[Callable[[Path], object]]
    errors: list[Exception] = []
    steps = [inspect, allocated_ranges, read_some]
    if zlib.crc32(data) % 4 == 0:  # it flushes to the disk, which is slow
        steps.append(lambda p: mend(p, folder))
    for step in steps:
        try:
            step(path)
        except Exception as exc:  # noqa: BLE001 (the caller looks at each)
            errors.append(exc)
    (folder / "mended").unlink(missing_ok=True)
    for error in errors:
        raise error


def mend(path: Path, folder: Path) -> None:
    repair_copy(path, folder / "mended")


def read_some(path: Path) -> None:
    with open_disk(path) as disk:
        size = disk.size_bytes
        for at in (0, size // 3, max(0, size - 70_000)):
            disk.read(at, 70_000)
        disk.data_ranges()
        table = read_partition_table(disk)
        for partition in table.partitions[:8]:
            recognise_filesystem(table.open(disk, partition))


def use_table(data: bytes, _folder: Path) -> None:
    read_partition_table(MemoryBlocks(data))


def use_fat(data: bytes, _folder: Path) -> None:
    blocks = MemoryBlocks(data)
    recognise_filesystem(blocks)
    volume = FatVolume(blocks)
    names = [e.path for e in volume.walk() if not e.is_folder]
    for name in names[:20]:
        volume.read_file(name, limit_bytes=8 * MIB)


def vhd_reseal(data: bytearray) -> None:
    for at, size, field in ((0, 512, 64), (len(data) - 512, 512, 64), (512, 1024, 36)):
        if at >= 0 and at + size <= len(data):
            block = data[at : at + size]
            block[field : field + 4] = bytes(4)
            struct.pack_into(">I", data, at + field, ~sum(block) & 0xFFFFFFFF)


def vhdx_reseal(data: bytearray) -> None:
    for at, size in ((64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536)):
        if at + size <= len(data):
            struct.pack_into("<I", data, at + 4, checksum_of(bytes(data[at : at + size])))
    for at in range(MIB, min(2 * MIB, len(data)), 4096):
        length = int.from_bytes(data[at + 8 : at + 12], "little")
        if data[at : at + 4] == b"loge" and 0 < length <= MIB:
            struct.pack_into("<I", data, at + 4, checksum_of(bytes(data[at : at + length])))


def gpt_reseal(data: bytearray) -> None:
    for header, table in ((512, 1024), (len(data) - 512, len(data) - 512 - 16384)):
        if 0 <= table < len(data) - 512:
            struct.pack_into("<I", data, header + 88, zlib.crc32(bytes(data[table : table + 16384])))
            struct.pack_into("<I", data, header + 16, 0)
            struct.pack_into("<I", data, header + 16, zlib.crc32(bytes(data[header : header + 92])))


def make_seeds(folder: Path) -> list[Seed]:
    """Build one seed per kind in `folder`."""
    seeds: list[Seed] = []

    def add(name: str, data: bytes, spots: Spots, use: Callable[[bytes, Path], None]) -> Seed:
        seeds.append(Seed(name, data, spots, use))
        return seeds[-1]

    content = random.Random(1).randbytes(65536)
    bits = b"\xff" * 8 + bytes(8)
    vhd = sparse_vhd(3 * 65536, {0: (b"\xff" * 16, content), 2: (bits, content)})
    add("vhd", vhd, [(0, 2100), (len(vhd) - 512, 512)], use_disk).reseal = vhd_reseal
    child = sparse_vhd(
        3 * 65536, {0: (bits, content)}, kind=4, parent_id=uuid.UUID(int=1), parent_name="mutant"
    )
    add("vhd-child", child, [(0, 2600), (len(child) - 512, 512)], use_disk).reseal = vhd_reseal
    spots: Spots = [
        (0, 600), (64 << 10, 80), (128 << 10, 80), (192 << 10, 128), (256 << 10, 128),
        (MIB, 9000), (2 * MIB, 256), (2 * MIB + 65536, 300), (3 * MIB, 64),
    ]  # fmt: skip
    path = vhdx(folder / "seed", 3 * MIB, {0: content, MIB: content})
    add("vhdx", path.read_bytes(), spots, use_disk).reseal = vhdx_reseal
    swapped = (entry(FULL, 5) + entry(FULL, 4)).ljust(4096, b"\0")
    log = b"".join(
        log_entry(LOG_ID, 5 + i, [(BAT, swapped), (4 * MIB, 8192)], tail=0, file_bytes=6 * MIB)
        for i in range(3)
    )
    path = vhdx(folder / "seed", 3 * MIB, {0: data_of(1), MIB: data_of(2)})
    set_log(path, LOG_ID, log)
    add("vhdx-log", path.read_bytes(), [*spots, (MIB, 25_000), (MIB, 300)], use_disk).reseal = vhdx_reseal
    parents = folder / "parents"
    parents.mkdir(exist_ok=True)
    path = TestParents().child(parents)
    add("vhdx-child", path.read_bytes(), [*spots, (3 * MIB + 8 * 4096, 8)], use_disk).reseal = vhdx_reseal
    table = struct.pack(">8Q", 131072 + 65536, 0, 1, 1 << 62 | 131072, 0, 0, 0, 0)
    q = bytearray(qcow2("", l1=131072).ljust(5 << 16, b"\x11"))
    q[131072 : 131072 + 65536] = table.ljust(65536, b"\0")
    add("qcow2", bytes(q), [(0, 120), (65536, 16), (131072, 64)], use_disk)
    raw = folder / "raw"
    with raw.open("wb") as stream:
        stream.truncate(4 * MIB)
    requests = [PartitionRequest(GPT_ESP, MIB, "a"), PartitionRequest(GPT_BASIC_DATA, MIB)]
    write_partition_table(raw, plan_partitions("gpt", 4 * MIB, requests))
    add(
        "gpt", raw.read_bytes(),
        [(0, 512), (512, 92), (1024, 300), (4 * MIB - 512, 92), (4 * MIB - 16896, 300)],
        use_table,
    ).reseal = gpt_reseal  # fmt: skip
    mbr = logical_disk({100: ((1, 50), 200), 200: ((2, 60), 300), 300: ((1, 10), 0)}).data
    add("mbr", mbr, [(440, 72), (51200 + 440, 72), (102400 + 440, 72), (153600 + 440, 72)], use_table)
    for bits_ in (16, 32):
        add(f"fat{bits_}", make_fat(folder, bits_), FAT_SPOTS[bits_], use_fat)
    return seeds


FAT_SPOTS: dict[int, Spots] = {
    16: [(0, 90), (512, 200), (2 << 10, 400), (10 << 10, 3000), (20 << 10, 8000), (30 << 10, 20_000)],
    32: [(0, 90), (512, 20), (16 << 10, 400), (540 << 10, 10_000), (500 << 10, 80_000)],
}


def make_fat(folder: Path, bits: int) -> bytes:
    tree = folder / f"tree{bits}"
    (tree / "EFI/BOOT").mkdir(parents=True)
    (tree / "EFI/BOOT/BOOTX64.EFI").write_bytes(random.Random(2).randbytes(5000))
    (tree / "a long name with spaces.txt").write_bytes(b"x" * 700)
    path = folder / f"fat{bits}"
    size = 34 * MIB if bits == 32 else 4 * MIB + 512 * 1024
    with path.open("wb") as stream:
        stream.truncate(size)
    format_fat(path, offset_bytes=0, size_bytes=size, volume_id=1, fat_bits=bits)
    copy_tree_into_fat(FatPlace(path, 0, size), tree)
    return path.read_bytes()[: 2 * MIB].ljust(size, b"\0")


_EDGES = (0, 1, 2, 3, 6, 7, 0x7F, 0x80, 0xFF)
_WIDE = (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def mutate(seed: Seed, rng: random.Random) -> bytes:
    """Break a seed in one to five places of its structures, sometimes with the checksums made right again."""
    data = bytearray(seed.data)
    for _ in range(rng.randint(1, 5)):
        at, length = rng.choice(seed.spots)
        where = at + rng.randrange(length)
        kind = rng.randrange(6)
        if kind == 0:
            data[where] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[where] = rng.choice(_EDGES)
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            value = (rng.choice(_WIDE) + rng.randint(-2, 2)) & ((1 << 8 * width) - 1)
            where -= where % width
            data[where : where + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            other, size = rng.choice(seed.spots)
            width = rng.choice((8, 16, 32))
            source = other + rng.randrange(size)
            data[where : where + width] = data[source : source + width]
        elif kind == 4:
            data[where] = (data[where] + rng.choice((1, -1, 16, -16))) & 0xFF
        elif rng.randrange(4) == 0:
            del data[rng.randrange(len(data)) :]
            data = data or bytearray(1)
            break
    data = data[: len(seed.data)]
    if seed.reseal and rng.randrange(4):
        seed.reseal(data)
    return bytes(data)
