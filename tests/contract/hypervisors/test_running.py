"""Machines that run: scripted guests in memory, real ones under QEMU."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from sekiso.errors import CanceledError
from sekiso.hypervisors.errors import (
    DiskInUseError,
    DiskNotFoundError,
    GuestSilentError,
    StateTimeoutError,
    WrongStateError,
)
from sekiso.hypervisors.facts import DiskAttachment, DiskController, DiskFile, GuestPort, MachineState
from sekiso.hypervisors.waiting import shut_down, stop, wait_for_message, wait_for_state
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import SilentProgress
from tests.contract.hypervisors.rigs import MARK, Guest, Rig, blank_disk, boot_from, small

ONE, TWO = Generation.ONE, Generation.TWO
TIMEOUT_S = 120.0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scsi(disk: DiskFile) -> DiskAttachment:
    return DiskAttachment(disk.path, disk.format, DiskController.SCSI)


@pytest.mark.parametrize("generation", [ONE, TWO])
def test_a_guest_starts_reports_and_powers_off(live: Rig, generation: Generation) -> None:
    disk = boot_from(live.guest_disk(Guest.HALTS, generation), generation)
    machine = live.driver.create_machine(small("maki", generation, disk))
    ends = [0]
    # The second round shows that offsets go on over restarts of the machine.
    for _ in range(2 if generation is ONE else 1):
        live.driver.start(machine.id)
        heard = wait_for_message(live.driver, machine.id, "GUEST-UP", since=ends[-1], timeout_s=TIMEOUT_S)
        wait_for_state(live.driver, machine.id, MachineState.OFF, timeout_s=TIMEOUT_S)
        assert heard.next_offset > ends[-1]
        ends.append(live.driver.guest_messages(machine.id, GuestPort.REPORT, since=ends[-1]).next_offset)
    again = live.reopen().guest_messages(machine.id, GuestPort.REPORT, since=0)
    assert again.text.count("GUEST-UP") == len(ends) - 1
    assert again.next_offset == ends[-1]
    with pytest.raises(GuestSilentError, match="went off"):
        wait_for_message(live.driver, machine.id, "NEVER", since=ends[-1], timeout_s=TIMEOUT_S)


def test_a_guest_that_ignores_the_button_is_turned_off(live: Rig) -> None:
    disk = live.guest_disk(Guest.STAYS, ONE)
    machine = live.driver.create_machine(small("maki", ONE, boot_from(disk, ONE)))
    live.driver.start(machine.id)
    wait_for_message(live.driver, machine.id, "GUEST-UP", timeout_s=TIMEOUT_S)
    with pytest.raises(StateTimeoutError, match="not off within 1 "):
        shut_down(live.driver, machine.id, timeout_s=1)
    with pytest.raises(GuestSilentError, match=r"within 0\.5 seconds"):
        wait_for_message(live.driver, machine.id, "NEVER", timeout_s=0.5)
    facts = live.driver.get_machine(machine.id)
    assert facts.state is MachineState.RUNNING
    assert facts.uptime_s > 0
    began = time.monotonic()
    assert stop(live.driver, machine.id, timeout_s=0.5) is False
    assert time.monotonic() - began < 10
    assert live.driver.get_machine(machine.id).state is MachineState.OFF
    assert live.driver.get_machine(machine.id).uptime_s == 0
    live.driver.turn_off(machine.id)


def test_what_a_running_machine_refuses(live: Rig) -> None:
    ide = blank_disk(live.folder / "ide.vhd", DiskFormat.VHD)
    more = DiskAttachment(
        blank_disk(live.folder / "more.vhd", DiskFormat.VHD).path, DiskFormat.VHD, DiskController.IDE
    )
    machine = live.driver.create_machine(small("maki", ONE, boot_from(ide, ONE)))
    live.driver.start(machine.id)
    for call in (
        lambda: live.driver.start(machine.id),
        lambda: live.driver.delete_machine(machine.id, delete_disks=True),
        lambda: live.driver.attach_disk(machine.id, more),
        lambda: live.driver.detach_disk(machine.id, ide.path),
    ):
        with pytest.raises(WrongStateError, match="maki is running"):
            call()
    assert ide.path.exists()
    live.driver.turn_off(machine.id)
    live.driver.attach_disk(machine.id, more)
    live.driver.detach_disk(machine.id, ide.path)
    live.driver.delete_machine(machine.id, delete_disks=True)
    assert not more.path.exists()


def test_a_machine_is_adopted_by_a_new_driver(live: Rig) -> None:
    machine = live.driver.create_machine(small("maki", TWO))
    live.driver.start(machine.id)
    later = live.reopen()
    facts = later.get_machine(machine.id)
    assert facts.state is MachineState.RUNNING
    assert later.list_machines()[0].id == machine.id
    with pytest.raises(WrongStateError):
        later.start(machine.id)
    later.turn_off(machine.id)
    assert live.driver.get_machine(machine.id).state is MachineState.OFF


def test_hot_plug_is_remembered(live: Rig) -> None:
    disk = scsi(blank_disk(live.folder / "data.vhdx"))
    machine = live.driver.create_machine(small("maki", TWO))
    live.driver.start(machine.id)
    placed = live.driver.attach_disk(machine.id, disk)
    assert live.reopen().get_machine(machine.id).disks == (placed,)
    with pytest.raises(DiskInUseError, match="the machine maki"):
        live.driver.create_machine(small("sushi", TWO, disk))
    live.reopen().detach_disk(machine.id, disk.path)
    assert live.driver.get_machine(machine.id).disks == ()
    assert live.driver.attach_disk(machine.id, disk) == placed
    live.driver.turn_off(machine.id)
    assert live.driver.get_machine(machine.id).disks == (placed,)
    live.driver.start(machine.id)
    live.driver.turn_off(machine.id)


def test_a_disk_that_went_missing_stops_the_start(live: Rig) -> None:
    disk = scsi(blank_disk(live.folder / "data.vhdx"))
    machine = live.driver.create_machine(small("maki", TWO, disk))
    disk.path.unlink()
    with pytest.raises(DiskNotFoundError):
        live.driver.start(machine.id)
    assert live.driver.get_machine(machine.id).state is MachineState.OFF


def test_screen_and_keys(live: Rig) -> None:
    machine = live.driver.create_machine(small("maki", ONE))
    live.driver.start(machine.id)
    live.driver.send_keys(machine.id, ["a", "shift-b", "enter", "ctrl-alt-delete", "pageup", "f12"])
    picture = live.driver.screenshot(machine.id)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert 100 < len(picture) < 1 << 20
    width, height = (int.from_bytes(picture[n : n + 4], "big") for n in (16, 20))
    assert 320 <= width <= 1024
    assert 200 <= height <= 768


def test_waiting_can_be_canceled(live: Rig) -> None:
    class Canceled(SilentProgress):
        def canceled(self) -> bool:
            return True

    machine = live.driver.create_machine(small("maki", ONE))
    with pytest.raises(CanceledError):
        wait_for_state(
            live.driver, machine.id, MachineState.RUNNING, timeout_s=TIMEOUT_S, progress=Canceled()
        )


def test_a_packaging_machine_from_start_to_merge(live: Rig) -> None:
    """LY-2 as far as the hypervisor goes: the boot disk is never written, the changes are all there."""
    boot = live.guest_disk(Guest.WORKS, TWO)
    before = digest(boot.path)
    work = live.driver.create_packaging_disk(boot, live.folder / "works-packaging")
    machine = live.driver.create_machine(small("maki", TWO, boot_from(work, TWO)))
    live.driver.start(machine.id)
    heard = wait_for_message(live.driver, machine.id, r"MARKED[\s\S]*DISKS=1", timeout_s=TIMEOUT_S)

    tool = blank_disk(live.folder / "tool.vhdx")
    live.driver.attach_disk(machine.id, scsi(tool))
    heard = wait_for_message(live.driver, machine.id, "DISKS=2", since=heard.next_offset, timeout_s=TIMEOUT_S)
    live.driver.detach_disk(machine.id, tool.path)
    wait_for_message(live.driver, machine.id, "DISKS=1", since=heard.next_offset, timeout_s=TIMEOUT_S)
    target = DiskFile(live.folder / "merged.raw", DiskFormat.RAW)
    with pytest.raises(DiskInUseError, match="the machine maki"):
        live.driver.merge_packaging_disk(work.path, target)

    shut_down(live.reopen(), machine.id, timeout_s=TIMEOUT_S)
    assert digest(boot.path) == before
    live.driver.merge_packaging_disk(work.path, target)
    assert MARK in target.path.read_bytes()
    assert MARK not in boot.path.read_bytes()
    live.driver.delete_machine(machine.id, delete_disks=True)
    assert not work.path.exists()
    assert digest(boot.path) == before
