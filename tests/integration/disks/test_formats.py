"""Every format and allocation, written here and read by others, written by others and read here."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from sekiso.disks.convert import convert
from sekiso.disks.image import create, inspect
from sekiso.disks.open import allocated_ranges, open_disk
from sekiso.disks.resize import resize
from sekiso.model.machine import DiskAllocation, DiskFormat
from tests.integration.disks.tools import (
    MIB,
    QEMU_NAMES,
    assert_same,
    libvhdi,
    qemu_info,
    qemu_io,
    run,
    scattered,
    sha256,
)

HYPERV = [(f, a) for f in (DiskFormat.VHD, DiskFormat.VHDX) for a in DiskAllocation]
EACH = pytest.mark.parametrize(("fmt", "allocation"), HYPERV)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return scattered(tmp_path / "source.raw", 40 * MIB + 512)


@EACH
def test_written_here_read_by_qemu_and_libvhdi(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    target = tmp_path / "t"
    facts = convert(raw, target, fmt, allocation=allocation)
    info = qemu_info(target, fmt)
    assert info["virtual-size"] == facts.virtual_size_bytes == 41 * MIB
    assert_same(raw, target, fmt)
    size, digest, identifier = libvhdi(target)
    assert (size, digest) == (41 * MIB, sha256(raw, 41 * MIB))
    if fmt is DiskFormat.VHD:
        assert identifier == str(facts.disk_id)
    else:
        assert "No errors" in run("qemu-img", "check", "-f", "vhdx", target)
    if (fmt, allocation) != (DiskFormat.VHD, DiskAllocation.FIXED):  # QEMU never probes a fixed VHD
        assert f"file format: {QEMU_NAMES[fmt]}" in run("qemu-img", "info", target)


@EACH
def test_written_by_qemu_read_here(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    target, back = tmp_path / "t", tmp_path / "back.raw"
    extra = "force_size=on" if fmt is DiskFormat.VHD else "block_state_zero=off"
    options = f"subformat={allocation},{extra}"
    run("qemu-img", "convert", "-f", "raw", "-O", QEMU_NAMES[fmt], "-o", options, raw, target)
    facts = inspect(target)
    assert (facts.format, facts.allocation, facts.clean) == (fmt, allocation, True)
    assert facts.virtual_size_bytes == qemu_info(target, fmt)["virtual-size"]
    convert(target, back, DiskFormat.RAW)
    assert back.read_bytes()[: 40 * MIB + 512] == raw.read_bytes()


def test_vhd_of_an_old_qemu_with_rounded_geometry(tmp_path: Path) -> None:
    target = tmp_path / "t.vhd"
    run("qemu-img", "create", "-f", "vpc", target, "50M")
    assert inspect(target).virtual_size_bytes == qemu_info(target, DiskFormat.VHD)["virtual-size"]


@EACH
def test_qemu_writes_patterns_into_our_files(
    tmp_path: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    """In random order and sizes: blocks are allocated and the table is changed by a foreign writer."""
    target, expected = tmp_path / "t", bytearray(60 * MIB)
    create(target, fmt, 60 * MIB, allocation=allocation)
    rng = random.Random(4)
    commands: list[str] = []
    for i in range(60):
        at, length = rng.randrange(59 * 2048) * 512, rng.randrange(1, 2048) * 512
        commands.append(f"write -P {i + 1} {at} {length}")
        expected[at : at + length] = bytes([i + 1]) * length
    qemu_io(target, fmt, *commands[:30])
    qemu_io(target, fmt, *commands[30:])
    with open_disk(target) as disk:
        assert disk.read(0, 60 * MIB) == expected
        for _ in range(100):
            at, length = rng.randrange(60 * MIB), rng.randrange(3 * MIB)
            assert disk.read(at, length) == expected[at : at + length]
    assert inspect(target).clean


@EACH
def test_grown_disks_are_accepted(
    tmp_path: Path, raw: Path, fmt: DiskFormat, allocation: DiskAllocation
) -> None:
    target = tmp_path / "t"
    convert(raw, target, fmt, allocation=allocation)
    for size in (45 * MIB, 200 * MIB):
        resize(target, size)
        assert qemu_info(target, fmt)["virtual-size"] == size
        assert_same(raw, target, fmt)
        if fmt is DiskFormat.VHDX:  # for a VHD, libvhdi tells the size at creation
            assert libvhdi(target)[0] == size
    qemu_io(target, fmt, "write -P 9 199M 1M", "read -P 9 199M 1M")
    with open_disk(target) as disk:
        assert disk.read(199 * MIB, MIB) == b"\x09" * MIB
    if fmt is DiskFormat.VHDX:
        assert "No errors" in run("qemu-img", "check", "-f", "vhdx", target)


def test_more_than_two_tebibytes(tmp_path: Path) -> None:
    """Virtual size and offsets beyond 32 bits of sectors; sparse, so it costs nothing."""
    target = tmp_path / "t.vhdx"
    size = 3 << 40
    create(target, DiskFormat.VHDX, size)
    far = size - 7 * MIB
    qemu_io(target, DiskFormat.VHDX, f"write -P 5 {far} 1M", "write -P 6 1M 4k")
    with open_disk(target) as disk:
        assert disk.size_bytes == size
        assert disk.read(far - 10, 20) == bytes(10) + b"\x05" * 10
        assert disk.read(MIB, 4) == b"\x06" * 4
        assert disk.read(size - 4, 100) == bytes(4)
    ranges = allocated_ranges(target)
    assert sum(r.length for r in ranges) <= 3 * 2 * MIB
    assert qemu_info(target, DiskFormat.VHDX)["virtual-size"] == size
    fixed = tmp_path / "fixed.vhdx"
    facts = create(fixed, DiskFormat.VHDX, size, allocation=DiskAllocation.FIXED)
    assert facts.file_bytes > size
    assert facts.allocated_bytes < 64 * MIB
    qemu_io(fixed, DiskFormat.VHDX, f"write -P 7 {far} 1M")
    with open_disk(fixed) as disk:
        assert disk.read(far, 3) == b"\x07" * 3


def test_4k_sectors_against_libvhdi(tmp_path: Path) -> None:
    """QEMU does not open VHDX files with logical sectors of 4 KiB; libvhdi does."""
    target = tmp_path / "t.vhdx"
    create(target, DiskFormat.VHDX, 5 << 40, logical_sector_bytes=4096)
    assert libvhdi_size(target) == 5 << 40
    assert inspect(target).logical_sector_bytes == 4096


def test_largest_vhd(tmp_path: Path) -> None:
    target = tmp_path / "t.vhd"
    size = 2040 << 30
    create(target, DiskFormat.VHD, size)
    assert qemu_info(target, DiskFormat.VHD)["virtual-size"] == size
    qemu_io(target, DiskFormat.VHD, f"write -P 3 {size - MIB} 1M")
    with open_disk(target) as disk:
        assert disk.read(size - 2, 9) == b"\x03\x03"
    assert libvhdi_size(target) == size


def libvhdi_size(path: Path) -> int:
    script = "import sys,pyvhdi; f=pyvhdi.file(); f.open(sys.argv[1]); print(f.get_media_size())"
    return int(run("/usr/bin/python3", "-c", script, path))


@pytest.mark.parametrize(
    "options", [[], ["-c"], ["-o", "cluster_size=4k"], ["-o", "cluster_size=2M"], ["-o", "compat=0.10"]]
)
def test_qcow2_is_read(tmp_path: Path, raw: Path, options: list[str]) -> None:
    source, back = tmp_path / "a.qcow2", tmp_path / "back.raw"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, source)
    assert inspect(source).format is DiskFormat.QCOW2
    convert(source, back, DiskFormat.RAW)
    assert back.read_bytes() == raw.read_bytes()


@pytest.mark.parametrize("fmt", [DiskFormat.VHD, DiskFormat.VHDX, DiskFormat.RAW])
def test_overlay_reads_through_and_tells_its_changes(tmp_path: Path, raw: Path, fmt: DiskFormat) -> None:
    """The packaging disk: a qcow2 overlay over the boot disk of any format."""
    boot, overlay, flat = tmp_path / "boot", tmp_path / "overlay.qcow2", tmp_path / "flat.raw"
    convert(raw, boot, fmt)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", QEMU_NAMES[fmt], "-b", boot, overlay)
    assert allocated_ranges(overlay) == ()
    qemu_io(overlay, DiskFormat.QCOW2, "write -P 7 1M 70k", "write -z 20M 1M", "write -P 8 39M 512")
    found = [(r.start, r.length) for r in allocated_ranges(overlay)]
    assert found == [(MIB, 2 * 65536), (20 * MIB, MIB), (39 * MIB, 65536)]
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, flat)
    with open_disk(overlay) as disk:
        assert disk.read(0, disk.size_bytes) == flat.read_bytes()
    convert(overlay, tmp_path / "merged.vhdx", DiskFormat.VHDX)
    assert_same(flat, tmp_path / "merged.vhdx", DiskFormat.VHDX)


def test_overlay_ranges_equal_qemus_map(tmp_path: Path, raw: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, overlay)
    rng = random.Random(8)
    commands = [
        f"write -P 1 {rng.randrange(39 * 2048) * 512} {rng.randrange(1, 900) * 512}" for _ in range(40)
    ]
    qemu_io(overlay, DiskFormat.QCOW2, *commands)
    extents = json.loads(run("qemu-img", "map", "--output=json", "-f", "qcow2", overlay))
    theirs = {
        b
        for e in extents
        if e["depth"] == 0
        for b in range(e["start"] >> 16, (e["start"] + e["length"]) >> 16)
    }
    ours = {b for r in allocated_ranges(overlay) for b in range(r.start >> 16, (r.end + 65535) >> 16)}
    assert ours == theirs


def test_differencing_vhd_against_libvhdi(tmp_path: Path) -> None:
    from tests.unit.disks.test_vhd import BLOCK, differencing

    # whole bytes of the bitmap: libvhdi 20210425 takes a byte's eight sectors together
    path, wanted = differencing(tmp_path, mine=b"\xff\xff" + bytes(14), sectors=16)
    size, digest, _ = libvhdi(path, tmp_path / "Base.vhd")
    assert (size, digest) == (2 * BLOCK, hashlib.sha256(wanted).hexdigest())


def test_differencing_vhdx_against_libvhdi(tmp_path: Path) -> None:
    from tests.unit.disks.test_vhdx import TestParents

    path = TestParents().child(tmp_path)
    with open_disk(path) as disk:
        mine = hashlib.sha256(disk.read(0, 4 * MIB)).hexdigest()
    assert libvhdi(path, tmp_path / "Base.vhdx")[1] == mine


def test_large_reads_return_everything(tmp_path: Path) -> None:
    """Reads of 1 MiB and across every block border, in every format."""
    source = tmp_path / "s.raw"
    content = bytes(range(251)) * (9 * MIB // 251 + 1)
    source.write_bytes(content[: 9 * MIB])
    for fmt, allocation in HYPERV:
        target = tmp_path / f"{fmt}{allocation}"
        convert(source, target, fmt, allocation=allocation)
        with open_disk(target) as disk:
            for at in range(0, 8 * MIB, 3 * MIB // 4):
                assert disk.read(at, MIB) == content[at : at + MIB]
            assert disk.read(0, 9 * MIB) == content[: 9 * MIB]
