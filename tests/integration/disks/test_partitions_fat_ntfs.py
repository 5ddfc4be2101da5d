"""Partition tables and small file systems, judged by fdisk, gdisk, dosfstools, mtools and ntfs-3g."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sekiso.disks.blocks import FileBlocks, SliceBlocks
from sekiso.disks.fat import FatPlace, copy_tree_into_fat, format_fat, open_fat
from sekiso.disks.ntfs_format import format_ntfs
from sekiso.disks.partitions import (
    PartitionRequest,
    plan_partitions,
    read_partition_table,
    write_boot_code,
    write_partition_table,
)
from sekiso.disks.partitions.table import GPT_BASIC_DATA, GPT_ESP, GPT_MICROSOFT_RESERVED, MBR_NTFS
from sekiso.disks.recognise import recognise_filesystem
from sekiso.errors import RuleError, ToolFailedError
from tests.integration.disks.tools import MIB, run


def blank(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    return path


def sfdisk(path: Path) -> dict[str, Any]:
    table = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    assert isinstance(table, dict)
    return table


def test_gpt_is_accepted_by_sfdisk_and_sgdisk(tmp_path: Path) -> None:
    path = blank(tmp_path / "d.raw", 300 * MIB + 512)
    table = plan_partitions(
        "gpt", path.stat().st_size,
        [
            PartitionRequest(GPT_ESP, 100 * MIB, "EFI system partition"),
            PartitionRequest(GPT_MICROSOFT_RESERVED, 16 * MIB, attributes=1 << 63),
            PartitionRequest(GPT_BASIC_DATA, None, "日本", bootable=True),
        ],
    )  # fmt: skip
    write_partition_table(path, table)
    assert "No problems found" in run("sgdisk", "-v", path)
    assert "No errors" in run("sfdisk", "--verify", path)
    theirs = sfdisk(path)
    assert str(theirs["id"]).lower() == table.disk_id
    found = [
        (p["start"], p["size"], p["type"].lower(), p["uuid"].lower(), p.get("name", ""))
        for p in theirs["partitions"]
    ]
    assert found == [(p.first_lba, p.sectors, p.type_id, p.unique_id, p.name) for p in table.partitions]


def test_mbr_is_accepted_by_sfdisk(tmp_path: Path) -> None:
    path = blank(tmp_path / "d.raw", 300 * MIB)
    write_boot_code(path, b"\xeb\xfe", gap=b"\x01" * 5000)
    table = plan_partitions(
        "mbr", 300 * MIB,
        [PartitionRequest(MBR_NTFS, 100 * MIB, bootable=True), PartitionRequest("83", None)],
        disk_id="1234abcd",
    )  # fmt: skip
    write_partition_table(path, table)
    assert "No errors" in run("sfdisk", "--verify", path)
    theirs = sfdisk(path)
    assert theirs["id"] == "0x1234abcd"
    found = [
        (p["start"], p["size"], int(p["type"], 16), p.get("bootable", False)) for p in theirs["partitions"]
    ]
    assert found == [(p.first_lba, p.sectors, int(p.type_id, 16), p.bootable) for p in table.partitions]


@pytest.mark.parametrize(
    "script",
    [
        "label: gpt\nsize=10M,type=U,name=ESP\nsize=20M,type=L\n",
        "label: gpt\ntable-length: 256\nsize=10M,type=L\n",
        "label: dos\nsize=10M,type=7,bootable\nsize=20M,type=83\n",
        "label: dos\nsize=10M,type=83\ntype=5\nsize=5M,type=83\nsize=7M,type=7\nsize=9M,type=82\n",
    ],
)
def test_tables_of_sfdisk_are_read(tmp_path: Path, script: str) -> None:
    path = blank(tmp_path / "d.raw", 100 * MIB)
    subprocess.run(["sfdisk", "-q", path], input=script.encode(), check=True)
    theirs = [(p["start"], p["size"]) for p in sfdisk(path)["partitions"] if p["type"] not in ("5", "f")]
    with FileBlocks(path) as blocks:
        table = read_partition_table(blocks)
    assert [(p.first_lba, p.sectors) for p in table.partitions] == theirs
    assert table.notes == ()


def tree(folder: Path) -> Path:
    root = folder / "tree"
    (root / "EFI/BOOT").mkdir(parents=True)
    (root / "EFI/Microsoft/Boot/ja-JP").mkdir(parents=True)
    (root / "EFI/BOOT/BOOTX64.EFI").write_bytes(os.urandom(700_000))
    (root / "EFI/Microsoft/Boot/ja-JP/起動.mui").write_bytes(b"mui")
    (root / "a longer name.txt").write_bytes(b"text")
    (root / "lower.cfg").write_bytes(b"")
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def esp(folder: Path, name: str, size_bytes: int) -> FatPlace:
    path = blank(folder / name, 2 * size_bytes)  # the file is larger than the partition, as a disk is
    return format_fat(path, offset_bytes=MIB, size_bytes=size_bytes, volume_id=0xDEADBEEF, label="ESP")


@pytest.mark.parametrize(
    ("size_bytes", "bits"), [(100 * MIB, 32), (262 * MIB, 32), (34 * MIB, 32), (10 * MIB, 16)]
)
def test_esp_holds_the_tree(tmp_path: Path, size_bytes: int, bits: int) -> None:
    root, place = tree(tmp_path), esp(tmp_path, "d.raw", size_bytes)
    copy_tree_into_fat(place, root)
    blocks, volume = open_fat(place)
    with blocks:
        assert recognise_filesystem(blocks) == "fat"
        assert volume.facts.fat_bits == bits
        assert (volume.facts.volume_id, volume.facts.label, volume.facts.hidden_sectors) == (
            0xDEADBEEF,
            "ESP",
            2048,
        )
        found = {e.path: e.is_folder for e in volume.walk()}
        assert found == {p.relative_to(root).as_posix(): p.is_dir() for p in root.rglob("*")}
        for path in (p for p in root.rglob("*") if p.is_file()):
            assert volume.read_file(path.relative_to(root).as_posix().upper()) == path.read_bytes()
        assert volume.read_file("EFI/none") is None
        assert volume.read_file("EFI") is None
        entry = volume.find("efi/boot/bootx64.efi")
        assert entry is not None
        assert entry.modified == (2023, 11, 14, 22, 13, 20)
    part = tmp_path / "part"
    with FileBlocks(place.path, offset=MIB, size_bytes=size_bytes) as blocks:
        part.write_bytes(blocks.read(0, size_bytes))
    assert "Dirty" not in run("fsck.vfat", "-n", part)


def test_same_arguments_same_esp(tmp_path: Path) -> None:
    root = tree(tmp_path)
    images: list[bytes] = []
    for name in ("a", "b"):
        place = esp(tmp_path, name, 34 * MIB)
        copy_tree_into_fat(place, root)
        images.append(place.path.read_bytes())
    assert images[0] == images[1]


def test_esp_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    root, place = tree(tmp_path), esp(tmp_path, "d.raw", 6 * MIB)
    (root / "big").write_bytes(bytes(7 * MIB))
    with pytest.raises(ToolFailedError):
        copy_tree_into_fat(place, root)
    (root / "link").symlink_to("big")
    with pytest.raises(RuleError, match="neither"):
        copy_tree_into_fat(place, root)
    with pytest.raises(RuleError, match="after the disk file"):
        format_fat(place.path, offset_bytes=MIB, size_bytes=100 * MIB, volume_id=1)
    with pytest.raises(RuleError, match="label"):
        format_fat(place.path, offset_bytes=MIB, size_bytes=6 * MIB, volume_id=1, label="lower")


def test_fat12_is_read(tmp_path: Path) -> None:
    path = blank(tmp_path / "floppy", 1440 * 1024)
    run("mkfs.vfat", "-F", "12", path)
    (tmp_path / "x.txt").write_bytes(b"x" * 10_000)
    run("mcopy", "-i", path, tmp_path / "x.txt", "::/")
    blocks, volume = open_fat(FatPlace(path, 0, 1440 * 1024))
    with blocks:
        assert volume.facts.fat_bits == 12
        assert volume.read_file("X.TXT") == b"x" * 10_000


def test_ntfs_is_formatted_and_repeatable(tmp_path: Path) -> None:
    made: list[bytes] = []
    for name in ("a", "b"):
        path = blank(tmp_path / name, 20 * MIB)
        format_ntfs(path, first_lba=239616, serial=0x1122334455667788, label="システム")
        made.append(path.read_bytes())
    assert made[0] == made[1]
    boot = made[0][:512]
    assert boot == made[0][-512:]
    assert int.from_bytes(boot[0x1C:0x20], "little") == 239616
    assert boot[0x48:0x50] == (0x1122334455667788).to_bytes(8, "little")
    out = run("ntfsfix", "-n", tmp_path / "a")
    assert "processed successfully" in out
    assert "システム" in run("env", "LC_ALL=C.UTF-8", "ntfslabel", tmp_path / "a")
    with FileBlocks(tmp_path / "a") as blocks:
        assert recognise_filesystem(SliceBlocks(blocks, 0, 20 * MIB)) == "ntfs"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["mke2fs", "-q", "-t", "ext4"], "ext4"),
        (["mke2fs", "-q", "-t", "ext3"], "ext3"),
        (["mke2fs", "-q", "-t", "ext2"], "ext2"),
        (["mkfs.vfat", "-F", "32"], "fat"),
        (["mkswap", "-q"], "swap"),
    ],
)
def test_file_systems_are_recognised(tmp_path: Path, argv: list[str], name: str) -> None:
    path = blank(tmp_path / "fs", 64 * MIB)
    run(*argv, path)
    with FileBlocks(path) as blocks:
        assert recognise_filesystem(blocks) == name
