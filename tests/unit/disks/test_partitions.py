from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.disks.blocks import FileBlocks
from sekiso.disks.partitions import (
    PartitionRequest,
    plan_partitions,
    read_boot_code,
    read_partition_table,
    write_boot_code,
    write_partition_table,
)
from sekiso.disks.partitions.mbr import chs_bytes
from sekiso.disks.partitions.table import (
    GPT_BASIC_DATA,
    GPT_ESP,
    GPT_MICROSOFT_RESERVED,
    MBR_NTFS,
    PartitionTable,
)
from sekiso.errors import DamagedInputError, RuleError
from tests.unit.disks.builders import MIB, MemoryBlocks, mbr

WINDOWS = (
    PartitionRequest(GPT_ESP, 5 * MIB, "EFI system partition", "11111111-1111-1111-1111-111111111111"),
    PartitionRequest(GPT_MICROSOFT_RESERVED, 1 * MIB, unique_id="22222222-2222-2222-2222-222222222222"),
    PartitionRequest(GPT_BASIC_DATA, None, "Basic data 日本", "33333333-3333-3333-3333-333333333333"),
)
DISK_ID = "99999999-9999-4999-8999-999999999999"


def blank(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    return path


def gpt_file(
    folder: Path, *, sector_bytes: int = 512, size_bytes: int = 16 * MIB
) -> tuple[Path, PartitionTable]:
    path = blank(folder / "gpt.raw", size_bytes)
    table = plan_partitions("gpt", size_bytes, WINDOWS, disk_id=DISK_ID, sector_bytes=sector_bytes)
    write_partition_table(path, table)
    return path, table


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_gpt_comes_back_as_planned(tmp_path: Path, sector_bytes: int) -> None:
    path, table = gpt_file(tmp_path, sector_bytes=sector_bytes)
    with FileBlocks(path) as blocks:
        assert read_partition_table(blocks) == table
    assert [p.first_lba * sector_bytes // MIB for p in table.partitions] == [1, 6, 7]
    assert table.partitions[2].last_lba * sector_bytes < 16 * MIB - 33 * 512


def test_same_table_same_bytes(tmp_path: Path) -> None:
    one, _ = gpt_file(tmp_path)
    before = one.read_bytes()
    two, _ = gpt_file(tmp_path)
    assert two.read_bytes() == before


@pytest.mark.parametrize("at", [512 + 60, 1024 + 3])
def test_broken_primary_gpt_falls_back(tmp_path: Path, at: int) -> None:
    path, table = gpt_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    found = read_partition_table(MemoryBlocks(bytes(data)))
    assert found.partitions == table.partitions
    assert "backup was used" in found.notes[0]
    data[-512 + 60] ^= 0xFF
    with pytest.raises(DamagedInputError, match="both broken"):
        read_partition_table(MemoryBlocks(bytes(data)))


def test_enlarged_disk_and_missing_backup_are_noted(tmp_path: Path) -> None:
    path, table = gpt_file(tmp_path)
    data = path.read_bytes()
    larger = read_partition_table(MemoryBlocks(data + bytes(10 * MIB)))
    assert larger.partitions == table.partitions
    assert "enlarged" in larger.notes[0]
    wiped = read_partition_table(MemoryBlocks(data[:-512] + bytes(512)))
    assert "missing" in wiped.notes[0]


def test_hybrid_mbr_is_noted_and_gpt_without_protection_is_not_believed(tmp_path: Path) -> None:
    path, table = gpt_file(tmp_path)
    data = path.read_bytes()
    hybrid = mbr([(0, 0xEE, 1, 2047), (0x80, 7, 2048, 8192)]) + data[512:]
    assert "hybrid" in read_partition_table(MemoryBlocks(hybrid)).notes[0]
    stale = mbr([(0x80, 7, 2048, 8192)]) + data[512:]
    found = read_partition_table(MemoryBlocks(stale))
    assert (found.scheme, len(found.partitions)) == ("mbr", 1)
    assert "does not point" in found.notes[0]
    assert table.scheme == "gpt"


def reseal_gpt(data: bytearray, number: int, first: int, last: int) -> bytes:
    """Move a partition and make the primary's checksums right again."""
    struct.pack_into("<QQ", data, 1024 + 128 * (number - 1) + 32, first, last)
    struct.pack_into("<I", data, 512 + 88, zlib.crc32(bytes(data[1024 : 1024 + 128 * 128])))
    struct.pack_into("<I", data, 512 + 16, 0)
    struct.pack_into("<I", data, 512 + 16, zlib.crc32(bytes(data[512 : 512 + 92])))
    return bytes(data)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (2048, 4095, "overlap"),
        (20_000, 9_000_000, "outside"),
        (5, 5, "outside"),
        (20_000, 19_998, "outside"),
    ],
)
def test_gpt_partitions_out_of_place_are_refused(tmp_path: Path, first: int, last: int, words: str) -> None:
    path, _ = gpt_file(tmp_path)
    data = reseal_gpt(bytearray(path.read_bytes()), 2, first, last)
    with pytest.raises(DamagedInputError, match=words):
        read_partition_table(MemoryBlocks(data))


def test_mbr_comes_back_and_boot_code_is_kept(tmp_path: Path) -> None:
    path = blank(tmp_path / "mbr.raw", 64 * MIB)
    write_boot_code(path, b"\xfa" * 440, gap=b"core" * 300)
    table = plan_partitions(
        "mbr", 64 * MIB,
        [PartitionRequest(MBR_NTFS, 20 * MIB, bootable=True), PartitionRequest("83", None)],
        disk_id="cafe0001",
    )  # fmt: skip
    write_partition_table(path, table)
    with FileBlocks(path) as blocks:
        found = read_partition_table(blocks)
        code = read_boot_code(blocks, found)
    assert found == table
    assert (code.mbr, code.gap) == (b"\xfa" * 440, b"core" * 300)
    assert found.partitions[0].unique_id == "cafe0001-01"
    assert [p.bootable for p in found.partitions] == [True, False]
    write_boot_code(path, b"new")
    with FileBlocks(path) as blocks:
        assert read_partition_table(blocks) == table


def test_mbr_replaces_a_gpt(tmp_path: Path) -> None:
    path, _ = gpt_file(tmp_path)
    write_partition_table(path, plan_partitions("mbr", 16 * MIB, [PartitionRequest("83", None)]))
    data = path.read_bytes()
    assert b"EFI PART" not in data[:4096] + data[-4096:]


def logical_disk(
    links: dict[int, tuple[tuple[int, int], int]], *, start: int = 100, length: int = 900
) -> MemoryBlocks:
    """Extended partition: record at sector → ((start, sectors) of its partition, next record or 0)."""
    data = bytearray(1000 * 512)
    data[:512] = mbr([(0x80, 0x83, 1, 50), (0, 5, start, length)])
    for at, ((first, count), following) in links.items():
        entries = [(0, 0x83, first, count)]
        if following:
            entries.append((0, 5, following - start, 10))
        data[512 * at : 512 * at + 512] = mbr(entries, signature=0)
    return MemoryBlocks(bytes(data))


def test_logical_partitions() -> None:
    disk = logical_disk({100: ((1, 50), 200), 200: ((2, 60), 300), 300: ((1, 10), 0)})
    found = read_partition_table(disk)
    assert [(p.number, p.first_lba, p.sectors) for p in found.partitions] == [
        (1, 1, 50), (5, 101, 50), (6, 202, 60), (7, 301, 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "links",
    [
        {100: ((1, 50), 200), 200: ((1, 50), 100)},
        {100: ((1, 50), 200), 200: ((1, 50), 200)},
        {100: ((1, 50), 5000)},
        {100: ((1, 5000), 0)},
        {100: ((1, 50), 150)},
    ],
)
def test_broken_chains_of_logical_partitions_are_refused(
    links: dict[int, tuple[tuple[int, int], int]],
) -> None:
    with pytest.raises(DamagedInputError):
        read_partition_table(logical_disk(links))


def test_disks_without_a_table() -> None:
    assert read_partition_table(MemoryBlocks(bytes(MIB))).scheme == "none"
    assert read_partition_table(MemoryBlocks(b"")).scheme == "none"
    boot = bytearray(MIB)
    boot[:11] = b"\xeb\x52\x90NTFS    "
    boot[510:512] = b"\x55\xaa"
    assert read_partition_table(MemoryBlocks(bytes(boot))).scheme == "none"
    empty = mbr([]) + bytes(MIB)
    assert read_partition_table(MemoryBlocks(empty)).scheme == "mbr"


def test_plans_that_cannot_be() -> None:
    with pytest.raises(RuleError, match="more room"):
        plan_partitions("gpt", 10 * MIB, [PartitionRequest(GPT_ESP, 100 * MIB)])
    with pytest.raises(RuleError, match="at most 4"):
        plan_partitions("mbr", 100 * MIB, [PartitionRequest("83", MIB)] * 5)
    with pytest.raises(RuleError, match="last partition"):
        plan_partitions("gpt", 100 * MIB, [PartitionRequest(GPT_ESP, None), PartitionRequest(GPT_ESP, MIB)])
    with pytest.raises(RuleError, match="36"):
        plan_partitions("gpt", 100 * MIB, [PartitionRequest(GPT_ESP, MIB, "x" * 37)])
    with pytest.raises(RuleError, match="one byte"):
        plan_partitions("mbr", 100 * MIB, [PartitionRequest("83", MIB, "name")])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40 * MIB), max_size=6), st.sampled_from([512, 4096]), st.integers(0, 4095))
def test_planned_partitions_are_aligned_inside_and_apart(
    sizes: list[int], sector_bytes: int, odd: int
) -> None:
    disk = (sum(-(-s // MIB) for s in sizes) + 3) * MIB + odd
    table = plan_partitions(
        "gpt", disk, [PartitionRequest(GPT_BASIC_DATA, s) for s in sizes], sector_bytes=sector_bytes
    )
    at = MIB
    for partition, size in zip(table.partitions, sizes, strict=True):
        assert table.offset_bytes(partition) == at
        assert table.size_bytes(partition) >= size
        at += table.size_bytes(partition)
    assert at <= disk - 33 * 512


def test_chs() -> None:
    assert chs_bytes(0) == b"\x00\x01\x00"
    assert chs_bytes(2048) == b"\x20\x21\x00"
    assert chs_bytes(1 << 31) == b"\xfe\xff\xff"
