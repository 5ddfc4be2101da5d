"""Operating systems at the host: which disk is read, when it may be, and that it is read once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import CleanUpParams, ImportOsParams, PackOsParams, SourceDisk
from sekiso.disks.image import create
from sekiso.errors import AmbiguousNameError, NotFoundError, RuleError
from sekiso.hypervisors.errors import DiskInUseError, MachineNotFoundError, WrongStateError
from sekiso.hypervisors.facts import DiskAttachment, DiskController, MachineSpec
from sekiso.model.machine import DiskFormat, Generation
from sekiso.transfer.manifest import Manifest, hash_file

from .bench import MIB, TASK, Bench, FakeEngine


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "source.vhdx"
    create(path, DiskFormat.VHDX, 16 * MIB)
    return path


def asked(bench: Bench, source: SourceDisk) -> ImportOsParams:
    return ImportOsParams(bench.path, TASK, source, "debian", "12", guest_tools=True)


def machine(bench: Bench, disk: Path, name: str = "source") -> str:
    attached = DiskAttachment(disk, DiskFormat.VHDX, DiskController.SCSI, boot_order=0)
    return bench.driver.create_machine(MachineSpec(name, Generation.TWO, disks=(attached,))).id


def test_a_disk_becomes_a_layer_once(bench: Bench, fake: FakeEngine, disk: Path) -> None:
    made = bench.run("os.import", asked(bench, SourceDisk(str(disk))))
    assert Path(made.path) == bench.storage / "Layers" / f"{made.identity}.wim"
    assert (made.os_name, made.changed, made.deleted, made.notes) == ("Small OS", 2, 0, ("a note",))
    bench.restarted()
    assert bench.run("os.import", asked(bench, SourceDisk(str(disk)))) == made
    assert fake.imported == [disk]
    bench.run("task.clean-up", CleanUpParams(bench.path, TASK))
    assert bench.tree() == [f"Layers/{made.identity}.json", f"Layers/{made.identity}.wim"]


@pytest.mark.parametrize("by", ["id", "name"])
def test_the_boot_disk_of_a_machine_is_read(bench: Bench, fake: FakeEngine, disk: Path, by: str) -> None:
    machine_id = machine(bench, disk)
    bench.run("os.import", asked(bench, SourceDisk(machine=machine_id if by == "id" else "SOURCE")))
    assert fake.imported == [disk]


def test_a_machine_must_be_off(bench: Bench, fake: FakeEngine, disk: Path) -> None:
    machine_id = machine(bench, disk)
    bench.driver.start(machine_id)
    with pytest.raises(WrongStateError):
        bench.run("os.import", asked(bench, SourceDisk(machine=machine_id)))
    with pytest.raises(DiskInUseError):
        bench.run("os.import", asked(bench, SourceDisk(str(disk))))
    assert fake.imported == []


def test_what_cannot_be_a_source_is_refused(bench: Bench, disk: Path) -> None:
    bench.driver.create_machine(MachineSpec("empty", Generation.ONE))
    for source, error in (
        (SourceDisk(), RuleError),
        (SourceDisk(str(disk), "both"), RuleError),
        (SourceDisk("relative.vhdx"), RuleError),
        (SourceDisk("/a\0b"), RuleError),
        (SourceDisk("/no/such/disk.vhdx"), NotFoundError),
        (SourceDisk(machine="nobody"), MachineNotFoundError),
        (SourceDisk(machine="empty"), RuleError),
    ):
        with pytest.raises(error):
            bench.run("os.import", asked(bench, source))


def test_a_name_that_several_have_is_not_guessed(bench: Bench, disk: Path) -> None:
    other = disk.with_name("other.vhdx")
    create(other, DiskFormat.VHDX, 16 * MIB)
    ids = [machine(bench, disk, "one"), machine(bench, other, "two")]
    facts = bench.memory.machines[ids[1]]
    facts.spec = replace(facts.spec, name="one")
    with pytest.raises(AmbiguousNameError) as caught:
        bench.run("os.import", asked(bench, SourceDisk(machine="one")))
    assert ids[0] in caught.value.render()


def test_packing_freezes_a_compact_copy(bench: Bench, disk: Path) -> None:
    params = PackOsParams(bench.path, TASK, SourceDisk(str(disk)))
    facts = bench.run("os.pack", params)
    path = Path(facts.path)
    assert bench.storage / "Tasks" / TASK in path.parents and path.suffix == ".vhdx"
    assert Manifest.from_dict(facts.manifest) == hash_file(path)
    inode = path.stat().st_ino
    disk.unlink()
    assert bench.run("os.pack", params) == facts
    assert path.stat().st_ino == inode
