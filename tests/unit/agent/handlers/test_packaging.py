"""Packaging machines: made once, started, judged by what their guests say, removed with everything."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import (
    CaptureLayerParams,
    CreatePackagingParams,
    FreezePackagingParams,
    Hardware,
    PackagingParams,
    PackagingState,
    PackagingStatesParams,
    PressKeysParams,
    ScreenParams,
)
from sekiso.errors import NotFoundError, RuleError
from sekiso.hypervisors.errors import MachineNotFoundError, SwitchNotFoundError, WrongStateError
from sekiso.hypervisors.facts import DiskController, MachineSpec, NetworkAdapter
from sekiso.hypervisors.memory import GuestEvent, MemoryHost
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskFormat, Generation, SecureBootTemplate
from sekiso.transfer.manifest import hash_file

from .bench import HARDWARE, OTHER_TASK, TASK, VERSION, Bench, FakeEngine, says, talkative


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "storage", MemoryHost(guest=talkative))


def asked(bench: Bench, **more: object) -> CreatePackagingParams:
    """A boot disk at its place, and what asks for a machine on it."""
    boot = bench.storage / "Packaging" / VERSION / "boot.vhd"
    boot.parent.mkdir(parents=True, exist_ok=True)
    boot.write_bytes(b"boot disk")
    params = CreatePackagingParams(
        bench.path, TASK, VERSION, "packaging-web-1", HARDWARE, str(boot), DiskFormat.VHD
    )
    return replace(params, **more)  # type: ignore[arg-type]


def state(bench: Bench) -> PackagingState:
    return bench.run("packaging.states", PackagingStatesParams(bench.path, (VERSION,))).states[0]


def this(bench: Bench) -> PackagingParams:
    return PackagingParams(bench.path, VERSION)


def run_once_disk(bench: Bench) -> Path:
    disk = bench.storage / "Tasks" / TASK / "run-once.raw"
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(b"run once")
    return disk


def test_a_machine_is_made_and_started_once(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    machine = bench.driver.get_machine(made.machine_id)
    home = bench.storage / "Packaging" / VERSION
    assert machine.name == made.machine_name == "packaging-web-1"
    assert machine.folder == home / "machine"
    assert machine.spec.memory_bytes == 1024 << 20 and machine.spec.cpus == 2
    [disk] = machine.disks
    assert disk.path == Path(made.packaging_disk) == home / "packaging.qcow2"
    assert (disk.controller, disk.boot_order, disk.read_only) == (DiskController.IDE, 0, False)
    assert machine.spec.adapters == ()
    assert machine.state == "running"
    bench.restarted()
    assert bench.run("packaging.create", asked(bench)) == made
    assert len(bench.driver.list_machines()) == 1


def test_a_run_once_disk_is_attached_for_reading(bench: Bench) -> None:
    disk = run_once_disk(bench)
    made = bench.run("packaging.create", asked(bench, run_once=str(disk)))
    attached = bench.driver.get_machine(made.machine_id).disks[1]
    assert attached.path == bench.storage / "Packaging" / VERSION / "run-once.raw"
    assert attached.read_only and attached.controller is DiskController.SCSI
    assert not disk.exists()
    assert bench.run("packaging.create", asked(bench, run_once=str(disk))) == made


def test_generation_two_with_secure_boot_trusts_the_signers_of_linux(bench: Bench) -> None:
    boot = bench.storage / "Packaging" / VERSION / "boot.vhdx"
    boot.parent.mkdir(parents=True)
    boot.write_bytes(b"x")
    hardware = Hardware(Generation.TWO, 1, 512, network="Isolated", secure_boot=True)
    params = asked(bench, boot_disk=str(boot), disk_format=DiskFormat.VHDX, hardware=hardware)
    spec = bench.driver.get_machine(bench.run("packaging.create", params).machine_id).spec
    assert spec.secure_boot and spec.secure_boot_template is SecureBootTemplate.MICROSOFT_UEFI_CA
    assert spec.disks[0].controller is DiskController.SCSI
    assert [a.switch for a in spec.adapters] == ["Isolated"]


def template(bench: Bench, *switches: str | None) -> str:
    adapters = tuple(NetworkAdapter(switch=s) for s in switches)
    return bench.driver.create_machine(MachineSpec("template", Generation.ONE, 3, 2048 << 20, adapters)).id


def test_a_template_lends_its_hardware(bench: Bench) -> None:
    hardware = replace(HARDWARE, template_vm=template(bench, "Private", None), network="Isolated")
    spec = bench.driver.get_machine(
        bench.run("packaging.create", asked(bench, hardware=hardware)).machine_id
    ).spec
    assert (spec.cpus, spec.memory_bytes) == (3, 2048 << 20)
    assert [a.switch for a in spec.adapters] == ["Private", "Isolated"]
    assert spec.folder == bench.storage / "Packaging" / VERSION / "machine"


def test_a_template_that_is_gone_or_of_another_generation_is_refused(bench: Bench) -> None:
    with pytest.raises(MachineNotFoundError):
        bench.run("packaging.create", asked(bench, hardware=replace(HARDWARE, template_vm="gone")))
    other = replace(HARDWARE, template_vm=template(bench, None), generation=Generation.TWO)
    with pytest.raises(RuleError):
        bench.run("packaging.create", asked(bench, hardware=other))
    assert len(bench.driver.list_machines()) == 1


def test_what_failed_can_be_asked_again_or_removed(bench: Bench) -> None:
    wrong = asked(bench, hardware=replace(HARDWARE, network="Nowhere"))
    with pytest.raises(SwitchNotFoundError):
        bench.run("packaging.create", wrong)
    assert state(bench) == PackagingState(VERSION, "")
    bench.run("packaging.create", asked(bench))
    bench.run("packaging.remove", this(bench))
    assert bench.driver.list_machines() == () and bench.tree() == []
    bench.run("packaging.remove", this(bench))


def test_the_boot_disk_must_be_below_the_storage_path(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "boot.vhd"
    outside.write_bytes(b"x")
    with pytest.raises(RuleError):
        bench.run("packaging.create", asked(bench, boot_disk=str(outside)))


def test_states_tell_what_the_guest_said(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    first = state(bench)
    assert (first.state, first.ready, first.gate_known, first.gate) == ("running", True, True, ())
    says(bench.memory, made.machine_id, event="run-once-started", name="disk run.sh")
    assert state(bench).run_once_running == ("disk run.sh",)
    says(
        bench.memory, made.machine_id, event="run-once", name="disk run.sh", status=3, output="no such file",
    )  # fmt: skip
    reasons = [{"code": "reboot-required", "detail": "kernel"}]
    says(bench.memory, made.machine_id, event="gate", ok=False, reasons=reasons)
    says(bench.memory, made.machine_id, event="finalize", ok=False)
    said = state(bench)
    assert said.run_once_running == ()
    assert said.run_once_failed == ("disk run.sh: status 3. no such file",)
    assert said.gate == ("reboot-required: kernel",) and said.finalized is False
    bench.restarted()
    assert replace(state(bench), uptime_s=0) == replace(said, uptime_s=0)


def test_a_script_that_failed_before_the_guest_restarted_has_failed(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    says(bench.memory, made.machine_id, event="run-once", name="a", status=1, output="x")
    says(bench.memory, made.machine_id, event="run-once-started", name="b")
    talkative(bench.memory, made.machine_id, GuestEvent.STARTED)
    says(bench.memory, made.machine_id, event="run-once", name="b", status=0)
    assert state(bench).run_once_failed == ("a: status 1. x",)
    assert state(bench).run_once_running == ()


def test_a_start_begins_a_new_report(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    says(bench.memory, made.machine_id, event="finalize", ok=True)
    assert state(bench).finalized is True
    bench.run("packaging.shut-down", this(bench))
    assert (state(bench).state, state(bench).finalized) == ("off", True)
    bench.run("packaging.shut-down", this(bench))
    bench.memory.guest = lambda *_: None
    bench.run("packaging.start", this(bench))
    said = state(bench)
    assert (said.state, said.ready, said.gate_known, said.finalized) == ("running", False, False, None)
    bench.run("packaging.start", this(bench))
    bench.restarted()
    assert state(bench).finalized is None
    bench.run("packaging.turn-off", this(bench))
    bench.run("packaging.turn-off", this(bench))
    assert state(bench).state == "off"


def test_a_machine_somebody_deleted_is_absent(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    bench.driver.turn_off(made.machine_id)
    bench.driver.delete_machine(made.machine_id, delete_disks=False)
    assert state(bench).state == ""
    with pytest.raises(MachineNotFoundError):
        bench.run("packaging.start", this(bench))
    bench.run("packaging.remove", this(bench))
    assert bench.tree() == []


def test_what_was_never_made_is_not_found(bench: Bench) -> None:
    for method in ("packaging.start", "packaging.shut-down", "packaging.turn-off"):
        with pytest.raises(NotFoundError):
            bench.run(method, this(bench))
    with pytest.raises(NotFoundError):
        bench.run("packaging.freeze", FreezePackagingParams(bench.path, VERSION))


def test_removing_spares_disks_that_are_not_ours(bench: Bench, tmp_path: Path) -> None:
    from sekiso.hypervisors.facts import DiskAttachment

    made = bench.run("packaging.create", asked(bench))
    foreign = tmp_path / "tools.vhd"
    foreign.write_bytes(b"a person's disk")
    bench.driver.attach_disk(made.machine_id, DiskAttachment(foreign, DiskFormat.VHD, DiskController.SCSI))
    bench.run("packaging.remove", this(bench))
    assert foreign.read_bytes() == b"a person's disk"
    assert not (bench.storage / "Packaging" / VERSION).exists()


def test_freezing_hashes_the_packaging_disk_of_a_machine_that_is_off(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    with pytest.raises(WrongStateError):
        bench.run("packaging.freeze", FreezePackagingParams(bench.path, VERSION))
    bench.run("packaging.turn-off", this(bench))
    Path(made.packaging_disk).write_bytes(os.urandom(100_000))
    facts = bench.run("packaging.freeze", FreezePackagingParams(bench.path, VERSION))
    assert facts.path == made.packaging_disk
    assert facts.manifest == hash_file(Path(made.packaging_disk)).to_dict()


def test_screen_and_keys(bench: Bench) -> None:
    made = bench.run("packaging.create", asked(bench))
    png = bench.run("packaging.screenshot", ScreenParams(bench.path, VERSION)).png
    assert base64.b64decode(png).startswith(b"\x89PNG")
    bench.run("packaging.press-keys", PressKeysParams(bench.path, VERSION, ("a", "ctrl-alt-delete")))
    assert bench.memory.keys_pressed(made.machine_id) == ("a", "ctrl-alt-delete")


def capture_params(bench: Bench, base: str, **more: object) -> CaptureLayerParams:
    params = CaptureLayerParams(
        bench.path, OTHER_TASK, VERSION, (base,), "web", "1", LayerKind.APP, ignore_gate=False
    )
    return replace(params, **more)  # type: ignore[arg-type]


def test_a_capture_becomes_a_layer_at_the_agent(bench: Bench, fake: FakeEngine) -> None:
    base = bench.add_layer()
    made = bench.run("packaging.create", asked(bench))
    with pytest.raises(WrongStateError):
        bench.run("layer.capture", capture_params(bench, base), task=OTHER_TASK)
    bench.run("packaging.turn-off", this(bench))
    layer = bench.run("layer.capture", capture_params(bench, base), task=OTHER_TASK)
    assert Path(layer.path) == bench.storage / "Layers" / f"{layer.identity}.wim"
    assert (layer.changed, layer.deleted, layer.file_bytes) == (5, 1, Path(layer.path).stat().st_size)
    [wish] = fake.captured
    assert wish.packaging_disk == Path(made.packaging_disk)
    assert wish.boot_disk == bench.storage / "Packaging" / VERSION / "boot.vhd"
    assert wish.base == (bench.storage / "Layers" / f"{base}.wim",)
    assert bench.run("layer.capture", capture_params(bench, base), task=OTHER_TASK) == layer
    assert len(fake.captured) == 1


def test_a_capture_needs_its_base(bench: Bench, fake: FakeEngine) -> None:
    bench.run("packaging.create", asked(bench))
    bench.run("packaging.turn-off", this(bench))
    with pytest.raises(NotFoundError):
        bench.run("layer.capture", capture_params(bench, "1" * 64), task=OTHER_TASK)
