"""Machines of published images, and their boot tests."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent import machines
from sekiso.agent.contract import (
    BootTestParams,
    CleanUpParams,
    CreateImageMachineParams,
    DiskMade,
    InventoryParams,
    RemoveImageParams,
)
from sekiso.errors import AlreadyExistsError, RuleError
from sekiso.hypervisors.errors import GuestSilentError
from sekiso.hypervisors.facts import DiskAttachment, DiskController, DiskFile, MachineSpec
from sekiso.hypervisors.memory import MemoryHost
from sekiso.model.machine import DiskFormat, Generation

from .bench import HARDWARE, IMAGE, MIB, TASK, VERSION, Bench, FakeEngine, talkative

NAME = "web 2026-11-24 09:30"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "storage", MemoryHost(guest=talkative))


@pytest.fixture
def disk(bench: Bench, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> DiskMade:
    monkeypatch.setattr(machines, "_POLL_S", 0.01)
    recipe = bench.recipe(bench.add_layer())
    params = bench.compose(
        recipe, target="image", owner_id=IMAGE, owner_name=NAME, disk_name="web", cache_bytes=99 * MIB
    )
    return bench.run("disk.compose", params)


def create(bench: Bench, disk: DiskMade, **more: object) -> CreateImageMachineParams:
    params = CreateImageMachineParams(bench.path, IMAGE, NAME, HARDWARE, disk.path, DiskFormat.VHD)
    return replace(params, **more)  # type: ignore[arg-type]


def gone(bench: Bench, machine_id: str = "", **more: object) -> RemoveImageParams:
    return replace(RemoveImageParams(bench.path, IMAGE, NAME, machine_id), **more)  # type: ignore[arg-type]


def test_the_machine_of_an_image_is_off_and_lies_with_its_disk(bench: Bench, disk: DiskMade) -> None:
    made = bench.run("image.create-machine", create(bench, disk))
    machine = bench.driver.get_machine(made.machine_id)
    assert (machine.name, machine.state) == (NAME, "off")
    assert machine.folder == Path(disk.path).parent / "machine"
    [attached] = machine.disks
    assert (str(attached.path), attached.boot_order, attached.controller) == (
        disk.path,
        0,
        DiskController.IDE,
    )
    bench.restarted()
    assert bench.run("image.create-machine", create(bench, disk)) == made
    assert len(bench.driver.list_machines()) == 1


def test_a_machine_for_a_foreign_disk_or_in_a_foreign_folder_is_refused(
    bench: Bench, disk: DiskMade, tmp_path: Path
) -> None:
    outside = tmp_path / "x.vhd"
    outside.write_bytes(b"x")
    with pytest.raises(RuleError):
        bench.run("image.create-machine", create(bench, disk, disk_path=str(outside)))
    with pytest.raises(AlreadyExistsError):
        bench.run("image.create-machine", create(bench, disk, image_id=VERSION))
    assert bench.driver.list_machines() == ()


@pytest.mark.parametrize("known", [True, False])
def test_an_image_is_removed_with_everything(bench: Bench, disk: DiskMade, *, known: bool) -> None:
    made = bench.run("image.create-machine", create(bench, disk))
    bench.driver.start(made.machine_id)
    bench.run("image.remove", gone(bench, made.machine_id if known else ""))
    assert bench.driver.list_machines() == ()
    assert not Path(disk.path).parent.exists()
    bench.run("image.remove", gone(bench, made.machine_id))


def test_removing_takes_no_machine_of_others(bench: Bench, disk: DiskMade, tmp_path: Path) -> None:
    data = tmp_path / "data.vhd"
    data.write_bytes(b"data")
    made = bench.run("image.create-machine", create(bench, disk))
    bench.driver.attach_disk(made.machine_id, DiskAttachment(data, DiskFormat.VHD, DiskController.SCSI))
    other = bench.driver.create_machine(MachineSpec("other", Generation.ONE))
    bench.run("image.remove", gone(bench, other.id))
    assert [m.name for m in bench.driver.list_machines()] == ["other"]
    assert data.exists()
    bench.run("image.remove", gone(bench, other.id))
    assert len(bench.driver.list_machines()) == 1


def boot(bench: Bench, disk: DiskMade, **more: object) -> BootTestParams:
    return BootTestParams(bench.path, TASK, disk.path, DiskFormat.VHD, HARDWARE, **more)  # type: ignore[arg-type]


def test_a_boot_test_shows_the_report_and_leaves_nothing(bench: Bench, disk: DiskMade) -> None:
    bench.run("image.create-machine", create(bench, disk))
    before = bench.tree()
    result = bench.run("image.boot-test", boot(bench, disk))
    assert result.report["os_name"] == "Debian" and result.report["ready"] is True
    assert base64.b64decode(result.screenshot_png).startswith(b"\x89PNG")
    assert bench.tree() == before
    assert len(bench.driver.list_machines()) == 1


def test_a_boot_test_uses_the_template(bench: Bench, disk: DiskMade) -> None:
    template = bench.driver.create_machine(MachineSpec("t", Generation.ONE, 3, 4096 << 20))
    specs: list[MachineSpec] = []
    original = bench.driver.create_machine

    def watched(spec: MachineSpec):
        specs.append(spec)
        return original(spec)

    bench.driver.create_machine = watched  # type: ignore[method-assign]
    bench.run(
        "image.boot-test",
        boot(
            bench,
            disk,
        ),
    )
    params = replace(boot(bench, disk), hardware=replace(HARDWARE, template_vm=template.id))
    bench.run("image.boot-test", params)
    assert [(s.cpus, s.memory_bytes >> 20) for s in specs] == [(2, 1024), (3, 4096)]


def test_a_guest_that_is_silent_fails_the_boot_test(bench: Bench, disk: DiskMade) -> None:
    bench.memory.guest = lambda *_: None
    with pytest.raises(GuestSilentError):
        bench.run("image.boot-test", boot(bench, disk, timeout_s=0.05))
    assert bench.driver.list_machines() == ()


def test_what_a_cut_off_boot_test_left_is_swept(bench: Bench, disk: DiskMade) -> None:
    def leave() -> None:
        workspace = bench.storage / "Tasks" / TASK / "boot-test"
        workspace.mkdir(parents=True, exist_ok=True)
        overlay = bench.driver.create_packaging_disk(
            DiskFile(Path(disk.path), DiskFormat.VHD), workspace / "boot-test-x"
        )
        attached = DiskAttachment(overlay.path, overlay.format, DiskController.IDE, boot_order=0)
        machine = bench.driver.create_machine(
            MachineSpec("boot-test-web-x", Generation.ONE, disks=(attached,))
        )
        bench.driver.start(machine.id)

    leave()
    assert bench.run("host.inventory", InventoryParams()).template_vms == ()
    bench.run("image.boot-test", boot(bench, disk))
    assert bench.driver.list_machines() == ()
    leave()
    bench.run("task.clean-up", CleanUpParams(bench.path, TASK))
    assert bench.driver.list_machines() == ()
    assert not (bench.storage / "Tasks" / TASK).exists()
