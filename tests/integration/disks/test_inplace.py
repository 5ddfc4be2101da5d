"""Raw files that become VHDX where they lie, and volumes that become disks; QEMU reads them back."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from sekiso.disks.assemble import PlacedVolume, volume_becomes_disk
from sekiso.disks.identity import DiskIds
from sekiso.disks.image import inspect
from sekiso.disks.vhdx.inplace import raw_becomes_vhdx
from sekiso.model.machine import DiskAllocation, DiskFormat

MIB = 1 << 20
IDS = DiskIds.derived("test", created_s=0)


def sparse(path: Path, size_bytes: int, pieces: int, seed: int = 1) -> Path:
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for _ in range(pieces):
            data = chance.randbytes(chance.randrange(512, 300_000))
            file.seek(chance.randrange(max(1, size_bytes - len(data))) // 512 * 512)
            file.write(data)
        file.truncate(size_bytes)
    return path


def same_as_raw(raw: Path, vhdx: Path) -> bool:
    done = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", "vhdx", raw, vhdx],
        capture_output=True,
        text=True,
        check=False,
    )
    return "identical" in done.stdout


@pytest.mark.parametrize(
    ("size_bytes", "pieces"),
    [(64 * MIB, 0), (64 * MIB, 20), (65 * MIB + 1536, 30), (8 * MIB, 120), (3 << 30, 15)],
)
def test_a_raw_disk_becomes_a_vhdx_of_the_same_content(tmp_path: Path, size_bytes: int, pieces: int) -> None:
    raw = sparse(tmp_path / "a.raw", size_bytes, pieces)
    kept = tmp_path / "kept.raw"
    subprocess.run(["cp", "--sparse=always", raw, kept], check=True)
    if not raw_becomes_vhdx(raw, ids=IDS):
        pytest.skip("another platform: this file system cannot move parts of a file")
    facts = inspect(raw)
    assert (facts.format, facts.allocation) == (DiskFormat.VHDX, DiskAllocation.DYNAMIC)
    assert facts.virtual_size_bytes == size_bytes
    assert same_as_raw(kept, raw)
    subprocess.run(["qemu-img", "check", "-f", "vhdx", raw], check=True, capture_output=True)
    assert facts.file_bytes <= kept.stat().st_blocks * 512 + pieces * 4 * MIB + 8 * MIB


def test_where_parts_cannot_be_moved_nothing_is_changed(tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir():
        pytest.skip("another platform: no file system in memory")
    raw = sparse(shared_memory / f"sekiso-{tmp_path.name}.raw", 4 * MIB, 5)
    try:
        before = raw.read_bytes()
        assert not raw_becomes_vhdx(raw, ids=IDS)
        assert not volume_becomes_disk(PlacedVolume(raw, MIB), raw, 8 * MIB)
        assert raw.read_bytes() == before
    finally:
        raw.unlink()


def test_a_volume_becomes_the_disk_it_lies_on(tmp_path: Path) -> None:
    volume = sparse(tmp_path / "volume", 16 * MIB, 20, seed=2)
    frame = sparse(tmp_path / "frame", 24 * MIB, 40, seed=3)
    expected = bytearray(frame.read_bytes())
    expected[4 * MIB : 20 * MIB] = volume.read_bytes()
    spare = tmp_path / "spare"
    shutil.copy(volume, spare)
    if not volume_becomes_disk(PlacedVolume(volume, 4 * MIB), frame, 24 * MIB):
        pytest.skip("another platform: this file system cannot move parts of a file")
    assert volume.read_bytes() == bytes(expected)
