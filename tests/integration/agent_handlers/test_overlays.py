"""Overlays of machines as import sources, made by QEMU's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sekiso.agent.contract import ImportOsParams, PackOsParams, SourceDisk
from sekiso.agent.handlers.systems import disks_below
from sekiso.disks.image import create
from sekiso.disks.open import open_disk
from sekiso.hypervisors.facts import DiskAttachment, DiskController, DiskFile, MachineSpec
from sekiso.model.machine import DiskFormat, Generation

from ...unit.agent.handlers.bench import MIB, TASK, Bench, FakeEngine, install


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "storage")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return install(monkeypatch, FakeEngine())


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "source.vhdx"
    create(path, DiskFormat.VHDX, 16 * MIB)
    return path


def asked(bench: Bench, source: SourceDisk) -> ImportOsParams:
    return ImportOsParams(bench.path, TASK, source, "debian", "12", guest_tools=True)


def overlay(base: Path, name: str) -> Path:
    path = base.parent / name
    path.parent.mkdir(exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "vhdx", "-b", base, path], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 7 1M 64k", path], check=True, capture_output=True)
    return path


def test_the_overlay_of_a_machine_is_read_with_the_disks_below(
    bench: Bench, fake: FakeEngine, disk: Path
) -> None:
    top = overlay(disk, "over/top.qcow2")
    assert disks_below(top) == (disk,)
    attached = DiskAttachment(top, DiskFormat.QCOW2, DiskController.SCSI, boot_order=0)
    machine_id = bench.driver.create_machine(MachineSpec("m", Generation.TWO, disks=(attached,))).id
    bench.memory.parents[top.resolve()] = DiskFile(disk, DiskFormat.VHDX)
    seen: list[bytes] = []

    def look() -> None:
        with open_disk(fake.imported[-1]) as blocks:
            seen.append(blocks.read(MIB, 4))

    fake.moment = look
    bench.run("os.import", asked(bench, SourceDisk(machine=machine_id)))
    assert seen == [b"\7\7\7\7"]
    assert not fake.imported[0].exists()
    facts = bench.run("os.pack", PackOsParams(bench.path, TASK, SourceDisk(machine=machine_id)))
    with open_disk(Path(facts.path)) as blocks:
        assert blocks.read(MIB, 4) == b"\7\7\7\7"
