"""Making, finding and deleting machines, and the rules for disks and templates: no machine is started."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.errors import AlreadyExistsError, CanceledError, RuleError
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.errors import (
    DiskInUseError,
    DiskNotFoundError,
    GenerationError,
    MachineNotFoundError,
    NameTakenError,
    NoSlotError,
    SwitchNotFoundError,
    TemplateUnsuitableError,
    WrongStateError,
)
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    GuestPort,
    MachineSpec,
    MachineState,
    NetworkAdapter,
    SwitchKind,
    Video,
)
from sekiso.hypervisors.waiting import find_machine
from sekiso.model.machine import DiskFormat, Firmware, Generation, SecureBootTemplate
from sekiso.model.progress import SilentProgress
from tests.contract.hypervisors.rigs import Rig, blank_disk, boot_from, small

ONE, TWO = Generation.ONE, Generation.TWO
IDE, SCSI = DiskController.IDE, DiskController.SCSI
NOBODY = "11111111-2222-3333-4444-555555555555"


def scsi(path: Path, **more: object) -> DiskAttachment:
    return replace(DiskAttachment(path, DiskFormat.VHDX, SCSI), **more)


def test_host_says_what_it_can_do(rig: Rig) -> None:
    host = rig.driver.host()
    assert host.name
    assert host.version
    assert host.cpus >= 1
    assert {DiskFormat.VHD, DiskFormat.VHDX} <= set(host.disk_formats)
    assert host.volumes
    assert all(0 <= v.free_bytes <= v.size_bytes for v in host.volumes)


def test_switches_tell_which_reach_the_host(rig: Rig) -> None:
    switches = {s.name: s for s in rig.driver.list_switches()}
    assert switches["Default Switch"].kind is SwitchKind.DEFAULT
    assert switches["Default Switch"].reaches_host
    assert not switches["Isolated"].reaches_host


@pytest.mark.parametrize("generation", [ONE, TWO])
def test_a_new_machine_is_off_and_is_found_again(rig: Rig, generation: Generation) -> None:
    made = rig.driver.create_machine(small("maki", generation))
    assert made.state is MachineState.OFF
    assert made.uptime_s == 0
    assert made.generation is generation
    assert rig.driver.get_machine(made.id) == made
    assert rig.reopen().list_machines() == (made,)
    assert find_machine(rig.driver, "maki") == made
    assert find_machine(rig.driver, "sushi") is None


def test_everything_of_the_spec_is_kept(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "a b, c.vhdx")
    spec = MachineSpec(
        "名前, with comma",
        TWO,
        cpus=3,
        memory_bytes=512 << 20,
        adapters=(NetworkAdapter("Isolated", "00:15:5d:01:02:03", "LAN"), NetworkAdapter()),
        disks=(scsi(disk.path, boot_order=4, slot=7),),
        secure_boot=True,
        secure_boot_template=SecureBootTemplate.MICROSOFT_UEFI_CA,
        tpm=True,
        video=Video(1280, 800),
        folder=rig.folder / "machine",
    )
    made = rig.reopen().get_machine(rig.driver.create_machine(spec).id)
    mac = made.spec.adapters[1].mac
    assert mac
    assert made.spec == replace(spec, adapters=(spec.adapters[0], NetworkAdapter(mac=mac)))
    assert made.spec.firmware is Firmware.UEFI_SECURE_BOOT
    assert made.folder == rig.folder / "machine"


def test_a_name_is_used_once(rig: Rig) -> None:
    rig.driver.create_machine(small("maki", ONE))
    with pytest.raises(NameTakenError, match="MAKI"):
        rig.driver.create_machine(small("MAKI", TWO))


@pytest.mark.parametrize("name", ["", " ", " maki", "a\nb", "x" * 101])
def test_names_that_no_machine_can_have(rig: Rig, name: str) -> None:
    with pytest.raises(RuleError, match="name"):
        rig.driver.create_machine(small(name, ONE))


@pytest.mark.parametrize(
    "change",
    [
        {"cpus": 0},
        {"cpus": 1000},
        {"memory_bytes": 1 << 20},
        {"memory_bytes": (64 << 20) + 1},
        {"video": Video(1, 1)},
        {"adapters": (NetworkAdapter(mac="00:15:5d,x"),)},
        {"adapters": (NetworkAdapter(mac="01:00:00:00:00:00"),)},
        {"adapters": (NetworkAdapter(),) * 9},
        {"folder": Path("relative")},
    ],
)
def test_values_that_no_machine_can_have(rig: Rig, change: dict[str, object]) -> None:
    with pytest.raises(RuleError):
        rig.driver.create_machine(replace(small("maki", ONE), **change))
    assert rig.driver.list_machines() == ()


def test_an_unknown_switch_is_refused_with_the_known_ones(rig: Rig) -> None:
    spec = replace(small("maki", ONE), adapters=(NetworkAdapter("Tokyo"),))
    with pytest.raises(SwitchNotFoundError, match="Isolated"):
        rig.driver.create_machine(spec)


def test_a_folder_that_holds_something_is_refused(rig: Rig) -> None:
    folder = rig.folder / "full"
    folder.mkdir()
    (folder / "thesis.txt").touch()
    with pytest.raises(AlreadyExistsError):
        rig.driver.create_machine(replace(small("maki", ONE), folder=folder))
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("machine_id", [NOBODY, "", ".", "..", "../machines", "/etc", ".new-x"])
def test_unknown_machines(rig: Rig, machine_id: str) -> None:
    driver = rig.driver
    disk = scsi(blank_disk(rig.folder / "d.vhdx").path)
    for call in (
        lambda: driver.get_machine(machine_id),
        lambda: driver.start(machine_id),
        lambda: driver.request_shut_down(machine_id),
        lambda: driver.turn_off(machine_id),
        lambda: driver.delete_machine(machine_id, delete_disks=True),
        lambda: driver.attach_disk(machine_id, disk),
        lambda: driver.detach_disk(machine_id, disk.path),
        lambda: driver.screenshot(machine_id),
        lambda: driver.guest_messages(machine_id, GuestPort.REPORT),
        lambda: driver.send_keys(machine_id, ["a"]),
        lambda: driver.create_machine_from_template(machine_id, name="new"),
    ):
        with pytest.raises(MachineNotFoundError):
            call()


def test_generation_one_has_neither_secure_boot_nor_tpm(rig: Rig) -> None:
    for change in ({"secure_boot": True}, {"tpm": True}):
        with pytest.raises(GenerationError, match="generation 1 machine maki"):
            rig.driver.create_machine(replace(small("maki", ONE), **change))


@pytest.mark.parametrize(
    ("generation", "disk_format", "controller", "boots", "allowed"),
    [
        (ONE, DiskFormat.VHD, IDE, True, True),
        (ONE, DiskFormat.VHDX, IDE, True, True),
        (ONE, DiskFormat.VHD, SCSI, True, False),
        (ONE, DiskFormat.VHD, SCSI, False, True),
        (TWO, DiskFormat.VHDX, SCSI, True, True),
        (TWO, DiskFormat.VHD, SCSI, True, False),
        (TWO, DiskFormat.VHD, SCSI, False, True),
        (TWO, DiskFormat.VHDX, IDE, True, False),
        (TWO, DiskFormat.VHDX, IDE, False, False),
    ],
)
def test_which_disks_a_generation_takes(
    rig: Rig,
    generation: Generation,
    disk_format: DiskFormat,
    controller: DiskController,
    boots: bool,
    allowed: bool,
) -> None:
    disk = blank_disk(rig.folder / "d", disk_format)
    attachment = DiskAttachment(disk.path, disk_format, controller, boot_order=0 if boots else None)
    machine = rig.driver.create_machine(small("maki", generation))
    if allowed:
        placed = rig.driver.attach_disk(machine.id, attachment)
        assert rig.reopen().get_machine(machine.id).disks == (placed,)
        assert placed == replace(attachment, slot=0)
        rig.driver.create_machine(small("sushi", generation))
    else:
        with pytest.raises(GenerationError):
            rig.driver.attach_disk(machine.id, attachment)
        with pytest.raises(GenerationError):
            rig.driver.create_machine(small("sushi", generation, attachment))
        assert rig.driver.get_machine(machine.id).disks == ()


def test_an_ide_disk_cannot_be_read_only(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "d.vhd", DiskFormat.VHD)
    with pytest.raises(GenerationError, match="IDE"):
        rig.driver.create_machine(
            small("maki", ONE, DiskAttachment(disk.path, disk.format, IDE, read_only=True))
        )


def test_slots(rig: Rig) -> None:
    disks = [blank_disk(rig.folder / f"{n}.vhdx") for n in range(6)]
    machine = rig.driver.create_machine(
        small("maki", TWO, scsi(disks[0].path), scsi(disks[1].path, slot=0), scsi(disks[2].path))
    )
    slots = {d.path.name: d.slot for d in machine.disks}
    assert slots == {"0.vhdx": 1, "1.vhdx": 0, "2.vhdx": 2}
    with pytest.raises(NoSlotError, match="Slot 2 is taken"):
        rig.driver.attach_disk(machine.id, scsi(disks[3].path, slot=2))
    with pytest.raises(NoSlotError, match="0 to 63"):
        rig.driver.attach_disk(machine.id, scsi(disks[3].path, slot=64))
    rig.driver.detach_disk(machine.id, disks[1].path)
    assert rig.driver.attach_disk(machine.id, scsi(disks[3].path)).slot == 0


def test_four_ide_places(rig: Rig) -> None:
    disks = [blank_disk(rig.folder / f"{n}.vhdx") for n in range(5)]
    ide = [DiskAttachment(d.path, d.format, IDE) for d in disks]
    machine = rig.driver.create_machine(small("maki", ONE, *ide[:4]))
    assert [d.slot for d in machine.disks] == [0, 1, 2, 3]
    with pytest.raises(NoSlotError, match="All its slots"):
        rig.driver.attach_disk(machine.id, ide[4])


def test_a_missing_disk_is_refused(rig: Rig) -> None:
    ghost = scsi(rig.folder / "ghost.vhdx")
    with pytest.raises(DiskNotFoundError, match="ghost"):
        rig.driver.create_machine(small("maki", TWO, ghost))
    machine = rig.driver.create_machine(small("maki", TWO))
    with pytest.raises(DiskNotFoundError, match="ghost"):
        rig.driver.attach_disk(machine.id, ghost)
    with pytest.raises(DiskNotFoundError, match="not attached to the machine maki"):
        rig.driver.detach_disk(machine.id, ghost.path)


def test_a_disk_has_one_writer_or_many_readers(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "d.vhdx").path
    writer, reader = scsi(disk), scsi(disk, read_only=True)
    first = rig.driver.create_machine(small("maki", TWO, writer))
    for more in (writer, reader):
        with pytest.raises(DiskInUseError, match="the machine maki"):
            rig.driver.create_machine(small("sushi", TWO, more))
    rig.driver.detach_disk(first.id, disk)
    rig.driver.attach_disk(first.id, reader)
    second = rig.driver.create_machine(small("sushi", TWO, reader))
    with pytest.raises(DiskInUseError, match="twice"):
        rig.driver.attach_disk(second.id, reader)
    with pytest.raises(DiskInUseError, match="in use by the machine"):
        rig.driver.create_machine(small("temaki", TWO, writer))


def test_a_disk_is_the_same_under_another_path(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "d.vhdx").path
    rig.driver.create_machine(small("maki", TWO, scsi(disk)))
    (rig.folder / "link.vhdx").symlink_to(disk)
    with pytest.raises(DiskInUseError, match="the machine maki"):
        rig.driver.create_machine(small("sushi", TWO, scsi(rig.folder / "link.vhdx")))


def test_delete_keeps_disks_unless_asked(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "d.vhdx").path
    machine = rig.driver.create_machine(small("maki", TWO, scsi(disk)))
    rig.driver.delete_machine(machine.id, delete_disks=False)
    assert disk.exists()
    assert rig.reopen().list_machines() == ()
    machine = rig.driver.create_machine(small("maki", TWO, scsi(disk)))
    rig.driver.delete_machine(machine.id, delete_disks=True)
    assert not disk.exists()
    with pytest.raises(MachineNotFoundError):
        rig.driver.delete_machine(machine.id, delete_disks=True)


def test_delete_with_disks_spares_what_others_need(rig: Rig) -> None:
    shared = blank_disk(rig.folder / "shared.vhdx")
    base = blank_disk(rig.folder / "base.vhdx")
    packaging = rig.driver.create_packaging_disk(base, rig.folder / "work")
    disks = (
        scsi(shared.path, read_only=True),
        scsi(packaging.path, format=packaging.format),
        scsi(base.path, read_only=True),
    )
    machine = rig.driver.create_machine(small("maki", TWO, *disks))
    rig.driver.delete_machine(machine.id, delete_disks=True)
    assert shared.path.exists()
    assert base.path.exists()
    assert not packaging.path.exists()


def test_a_machine_in_a_folder_of_its_own(rig: Rig) -> None:
    folder = rig.folder / "elsewhere" / "maki"
    for _ in range(2):
        machine = rig.driver.create_machine(replace(small("maki", TWO), folder=folder))
        assert rig.reopen().get_machine(machine.id).folder == folder
        rig.driver.delete_machine(machine.id, delete_disks=False)
        assert rig.driver.list_machines() == ()


def test_templates_have_an_adapter_and_no_disk(rig: Rig) -> None:
    disk = blank_disk(rig.folder / "d.vhdx").path
    good = rig.driver.create_machine(small("good", TWO))
    with_disk = rig.driver.create_machine(small("with-disk", TWO, scsi(disk)))
    deaf = rig.driver.create_machine(replace(small("deaf", TWO), adapters=()))
    templates = rig.driver.list_templates()
    assert [t.name for t in templates] == ["good"]
    assert templates[0].id == good.id
    assert templates[0].switches == ("Isolated",)
    with pytest.raises(TemplateUnsuitableError, match=r"with-disk.*has 1: d\.vhdx"):
        rig.driver.create_machine_from_template(with_disk.id, name="new")
    with pytest.raises(TemplateUnsuitableError, match="deaf has none"):
        rig.driver.create_machine_from_template(deaf.id, name="new")


def test_hardware_is_taken_over_from_the_template(rig: Rig) -> None:
    hardware = MachineSpec(
        "template",
        TWO,
        cpus=7,
        memory_bytes=384 << 20,
        adapters=(NetworkAdapter("Isolated", name="LAN"), NetworkAdapter(None)),
        secure_boot=True,
        secure_boot_template=SecureBootTemplate.MICROSOFT_UEFI_CA,
        tpm=True,
        video=Video(1600, 1200),
    )
    template = rig.driver.create_machine(hardware)
    disk = blank_disk(rig.folder / "d.vhdx").path
    made = rig.driver.create_machine_from_template(
        template.id, name="made", disks=[scsi(disk, boot_order=0)], folder=rig.folder / "made"
    )
    macs = {a.mac for a in (*made.spec.adapters, *template.spec.adapters)}
    assert len(macs) == 4
    assert replace(made.spec, adapters=tuple(replace(a, mac=None) for a in made.spec.adapters)) == replace(
        hardware,
        name="made",
        disks=(scsi(disk, boot_order=0, slot=0),),
        folder=rig.folder / "made",
    )
    assert rig.driver.list_templates()[0].firmware is Firmware.UEFI_SECURE_BOOT


def test_packaging_disks_protect_their_base(rig: Rig) -> None:
    base = blank_disk(rig.folder / "base.vhdx")
    first = rig.driver.create_packaging_disk(base, rig.folder / "first 1.0")
    second = rig.driver.create_packaging_disk(base, rig.folder / "second")
    assert first.path.is_file()
    assert first.path.name.startswith("first 1.0.")
    assert first.format is rig.driver.host().packaging_format
    with pytest.raises(AlreadyExistsError):
        rig.driver.create_packaging_disk(base, rig.folder / "second")
    rig.driver.create_machine(small("maki", TWO, scsi(first.path, format=first.format)))
    rig.driver.create_machine(small("sushi", TWO, scsi(second.path, format=second.format)))
    with pytest.raises(DiskInUseError, match="base of"):
        rig.driver.create_machine(small("temaki", TWO, scsi(base.path)))
    rig.driver.create_machine(small("reader", TWO, scsi(base.path, read_only=True)))


def test_a_disk_that_is_written_cannot_become_a_base(rig: Rig) -> None:
    base = blank_disk(rig.folder / "base.vhdx")
    packaging = rig.driver.create_packaging_disk(base, rig.folder / "work")
    rig.driver.create_machine(small("maki", TWO, scsi(base.path)))
    with pytest.raises(DiskInUseError, match="the machine maki"):
        rig.driver.create_packaging_disk(base, rig.folder / "more")
    with pytest.raises(DiskInUseError, match="the machine maki"):
        rig.driver.create_machine(small("sushi", TWO, scsi(packaging.path, format=packaging.format)))
    with pytest.raises(DiskNotFoundError):
        rig.driver.create_packaging_disk(replace(base, path=rig.folder / "ghost"), rig.folder / "x")


def test_only_packaging_disks_are_merged(rig: Rig) -> None:
    base = blank_disk(rig.folder / "base.vhdx")
    target = replace(base, path=rig.folder / "merged.vhdx")
    with pytest.raises(DiskNotFoundError, match="no packaging disk"):
        rig.driver.merge_packaging_disk(base.path, target)
    packaging = rig.driver.create_packaging_disk(base, rig.folder / "work")
    target.path.write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        rig.driver.merge_packaging_disk(packaging.path, target)
    assert target.path.read_bytes() == b"precious"


def test_a_canceled_merge_leaves_nothing(rig: Rig) -> None:
    class Canceled(SilentProgress):
        def canceled(self) -> bool:
            return True

    packaging = rig.driver.create_packaging_disk(blank_disk(rig.folder / "base.vhdx"), rig.folder / "work")
    before = sorted(rig.folder.iterdir())
    target = replace(packaging, path=rig.folder / "merged.qcow2")
    with pytest.raises(CanceledError):
        rig.driver.merge_packaging_disk(packaging.path, target, progress=Canceled())
    assert sorted(rig.folder.iterdir()) == before
    rig.driver.merge_packaging_disk(packaging.path, target)
    assert target.path.is_file()


def test_what_needs_a_running_machine(rig: Rig) -> None:
    machine = rig.driver.create_machine(small("maki", ONE))
    for call in (
        lambda: rig.driver.request_shut_down(machine.id),
        lambda: rig.driver.screenshot(machine.id),
        lambda: rig.driver.send_keys(machine.id, ["a"]),
    ):
        with pytest.raises(WrongStateError, match="maki is off"):
            call()
    rig.driver.turn_off(machine.id)
    with pytest.raises(RuleError, match="any"):
        rig.driver.send_keys(machine.id, ["ctrl-any"])


def test_a_machine_that_never_ran_has_said_nothing(rig: Rig) -> None:
    machine = rig.driver.create_machine(small("maki", ONE))
    for port in GuestPort:
        messages = rig.driver.guest_messages(machine.id, port, since=0)
        assert (messages.text, messages.next_offset) == ("", 0)


def test_of_many_at_once_one_gets_the_name_and_one_the_disk(rig: Rig) -> None:
    drivers = [rig.reopen() for _ in range(6)]
    made: list[str] = []

    def create(driver: HypervisorDriver) -> str:
        try:
            made.append(driver.create_machine(small("maki", TWO)).id)
        except NameTakenError:
            return "taken"
        return "made"

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, drivers)) == ["made"] + ["taken"] * 5
    disk = scsi(blank_disk(rig.folder / "d.vhdx").path)
    ids = [*made, *(rig.driver.create_machine(small(f"m{n}", TWO)).id for n in range(5))]

    def attach(driver: HypervisorDriver, machine_id: str) -> str:
        try:
            driver.attach_disk(machine_id, disk)
        except DiskInUseError:
            return "in use"
        return "attached"

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(attach, drivers, ids)) == ["attached"] + ["in use"] * 5
    assert sum(len(m.disks) for m in rig.driver.list_machines()) == 1


def test_boot_disk_helper_fits_the_rules(rig: Rig) -> None:
    for generation in Generation:
        disk = blank_disk(rig.folder / f"{generation}.vhdx")
        rig.driver.create_machine(small(f"m{generation}", generation, boot_from(disk, generation)))
