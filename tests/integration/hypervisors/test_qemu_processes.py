"""The QEMU process and ours: each may die at any time (AG-5)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sekiso.hypervisors.errors import DiskInUseError, HypervisorError, WrongStateError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    MachineSpec,
    MachineState,
    NetworkAdapter,
)
from sekiso.hypervisors.qemu import accel, procs
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.hypervisors.waiting import wait_for_state
from sekiso.model.machine import DiskFormat, Generation

pytestmark = pytest.mark.boot

STARTER = """
import sys, time
from pathlib import Path
from sekiso.hypervisors.qemu.driver import QemuDriver
QemuDriver(Path(sys.argv[1])).start(sys.argv[2])
print("started", flush=True)
time.sleep(600)
"""


def small(name: str, *disks: DiskAttachment, generation: Generation = Generation.ONE) -> MachineSpec:
    return MachineSpec(name, generation, cpus=1, memory_bytes=64 << 20, disks=disks)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[QemuDriver]:
    driver = QemuDriver(tmp_path / "storage")
    yield driver
    for machine in driver.list_machines():
        driver.turn_off(machine.id)


def pid_of(driver: QemuDriver, machine_id: str) -> int:
    running = procs.find(driver.get_machine(machine_id).folder / "qemu.pid")
    assert running is not None
    return running.pid


def test_a_machine_outlives_the_process_that_started_it(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))
    argv = [sys.executable, "-c", STARTER, str(driver.storage.path), machine.id]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        starter.kill()
    facts = driver.get_machine(machine.id)
    assert facts.state is MachineState.RUNNING
    assert driver.screenshot(machine.id).startswith(b"\x89PNG")
    with pytest.raises(WrongStateError):
        driver.start(machine.id)
    driver.turn_off(machine.id)
    driver.start(machine.id)


def test_a_dead_qemu_is_a_machine_that_is_off(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))
    driver.start(machine.id)
    os.kill(pid_of(driver, machine.id), signal.SIGKILL)
    wait_for_state(driver, machine.id, MachineState.OFF, timeout_s=10)
    assert (machine.folder / "qemu.pid").exists()
    driver.start(machine.id)
    assert driver.get_machine(machine.id).state is MachineState.RUNNING


def test_a_pid_that_belongs_to_somebody_else_now(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))
    (machine.folder / "qemu.pid").write_text(f"{os.getpid()}\n")
    assert driver.get_machine(machine.id).state is MachineState.OFF
    driver.turn_off(machine.id)
    driver.start(machine.id)


def test_a_qemu_that_hangs_is_killed(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))
    driver.start(machine.id)
    pid = pid_of(driver, machine.id)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    driver.turn_off(machine.id, timeout_s=6)
    assert time.monotonic() - began < 10
    assert driver.get_machine(machine.id).state is MachineState.OFF


def test_of_many_starts_one_wins(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))

    def start(_: int) -> str:
        try:
            QemuDriver(driver.storage.path).start(machine.id)
        except WrongStateError:
            return "refused"
        return "started"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(start, range(4))) == ["refused"] * 3 + ["started"]


def test_a_disk_held_by_another_program_is_named_with_it(driver: QemuDriver, tmp_path: Path) -> None:
    disk = tmp_path / "disk, with comma.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "4M"], check=True)
    attachment = DiskAttachment(disk, DiskFormat.QCOW2, DiskController.SCSI)
    holder = driver.create_machine(small("holder", attachment))
    driver.start(holder.id)
    # Another storage path: an agent that knows nothing of the first.
    other = QemuDriver(tmp_path / "other")
    machine = other.create_machine(small("maki", attachment))
    with pytest.raises(
        DiskInUseError, match=r"disk, with comma\.qcow2 is in use by qemu-system-x86.*process"
    ):
        other.start(machine.id)
    assert other.get_machine(machine.id).state is MachineState.OFF
    other.detach_disk(machine.id, disk)
    other.start(machine.id)
    try:
        with pytest.raises(DiskInUseError, match="qemu-system-x86"):
            other.attach_disk(machine.id, attachment)
        assert other.get_machine(machine.id).disks == ()
    finally:
        other.turn_off(machine.id)


def test_qemu_says_why_it_does_not_start(driver: QemuDriver, tmp_path: Path) -> None:
    broken = tmp_path / "broken.vhdx"
    broken.write_bytes(b"no disk" * 1000)
    attachment = DiskAttachment(broken, DiskFormat.VHDX, DiskController.SCSI)
    machine = driver.create_machine(small("maki", attachment))
    with pytest.raises(HypervisorError, match=r"maki[\s\S]*broken\.vhdx|maki[\s\S]*[Hh]eader"):
        driver.start(machine.id)
    assert driver.get_machine(machine.id).state is MachineState.OFF


def test_a_storage_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    driver = QemuDriver(deep)
    spec = MachineSpec(
        "maki", Generation.ONE, cpus=1, memory_bytes=64 << 20, adapters=(NetworkAdapter("Private"),)
    )
    machine = driver.create_machine(spec)
    driver.start(machine.id)
    try:
        assert driver.get_machine(machine.id).state is MachineState.RUNNING
        with driver.open_screen(machine.id) as screen:
            assert screen.recv(12) == b"RFB 003.008\n"
    finally:
        driver.turn_off(machine.id)


def test_nothing_listens_on_the_network_and_no_stranger_may_connect(driver: QemuDriver) -> None:
    machine = driver.create_machine(small("maki"))
    driver.start(machine.id)
    inodes = {str(fd.readlink()) for fd in Path(f"/proc/{pid_of(driver, machine.id)}/fd").iterdir()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        assert not {f"socket:[{line.split()[9]}]" for line in lines} & inodes
    assert driver.storage.root.stat().st_mode & 0o077 == 0


def test_a_tpm_lives_and_dies_with_its_machine(driver: QemuDriver) -> None:
    spec = MachineSpec("maki", Generation.TWO, cpus=1, memory_bytes=128 << 20, tpm=True)
    machine = driver.create_machine(spec)
    for _ in range(2):
        driver.start(machine.id)
        assert procs.find(machine.folder / "tpm.pid") is not None
        driver.turn_off(machine.id)
        deadline = time.monotonic() + 10
        while procs.find(machine.folder / "tpm.pid") is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    driver.delete_machine(machine.id, delete_disks=True)
    assert not machine.folder.exists()


def test_the_canary_guest_runs_to_its_end() -> None:
    assert accel.canary("tcg")
    assert not accel.canary("no-such-accelerator")
