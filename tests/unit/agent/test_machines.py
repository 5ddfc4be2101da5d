"""Machines that prove an image and machines that package, on a hypervisor whose guests are scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent import machines
from sekiso.agent.errors import PackagingFailedError
from sekiso.agent.machines import MachineSettings, boot_test, raw_disk, run_packaging_machine
from sekiso.errors import CanceledError
from sekiso.hypervisors.errors import GuestSilentError, StateTimeoutError, SwitchNotFoundError
from sekiso.hypervisors.facts import DiskController, DiskFile, GuestPort, MachineFacts, MachineSpec
from sekiso.hypervisors.memory import GuestEvent, MemoryDriver, MemoryHost
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import SilentProgress

CONTENT = b"the image's content" * 100
BOOT = {"event": "boot", "boot_id": "b1", "os": "Debian", "kernel": "6.1", "firmware": "bios"}
READY = {"event": "ready"}
SETTINGS = MachineSettings(Generation.ONE, timeout_s=20.0)
HASTY = replace(SETTINGS, timeout_s=0.05)

Script = Callable[[MemoryHost, str], None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "_POLL_S", 0.01)


class WatchedDriver(MemoryDriver):
    """Remembers the machines it was asked for."""

    def __init__(self, script: Script) -> None:
        def guest(host: MemoryHost, machine_id: str, event: GuestEvent) -> None:
            if event is GuestEvent.STARTED:
                script(host, machine_id)

        super().__init__(MemoryHost(guest=guest))
        self.specs: list[MachineSpec] = []

    def create_machine(self, spec: MachineSpec) -> MachineFacts:
        self.specs.append(spec)
        return super().create_machine(spec)


class Canceled(SilentProgress):
    def canceled(self) -> bool:
        return True


def says(*events: Mapping[str, object], off: bool = False, console: str = "") -> Script:
    def script(host: MemoryHost, machine_id: str) -> None:
        host.guest_says(machine_id, console, port=GuestPort.CONSOLE)
        for event in events:
            host.guest_says(machine_id, f"SEKISO {json.dumps(event)}\n")
        if off:
            host.guest_powers_off(machine_id)

    return script


@pytest.fixture
def image(tmp_path: Path) -> DiskFile:
    path = tmp_path / "image.vhd"
    path.write_bytes(CONTENT)
    return DiskFile(path, DiskFormat.VHD)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def assert_gone(driver: WatchedDriver, image: DiskFile, workspace: Path) -> None:
    """No machine is left, nothing in the workspace, and the image was never there to be written."""
    assert driver.list_machines() == ()
    assert list(workspace.iterdir()) == []
    assert image.path.read_bytes() == CONTENT
    for spec in driver.specs:
        assert all(d.read_only for d in spec.disks if d.path.resolve() == image.path.resolve())


# --- boot test ---


@pytest.mark.parametrize("generation", list(Generation))
def test_an_image_that_reports(image: DiskFile, workspace: Path, generation: Generation) -> None:
    driver = WatchedDriver(says(BOOT, {"event": "packages", "count": 3, "sha256": "ab"}, READY, console="hi"))
    result = boot_test(driver, image, replace(SETTINGS, generation=generation), workspace)
    assert result.report.ready and result.report.os_name == "Debian" and result.report.package_count == 3
    assert result.screenshot.startswith(b"\x89PNG")
    assert result.console == "hi"
    assert result.reported_s is not None and result.reported_s <= result.elapsed_s
    (spec,) = driver.specs
    assert spec.generation is generation and spec.adapters == ()
    (disk,) = spec.disks
    assert disk.path.parent == workspace
    assert disk.controller is (DiskController.IDE if generation is Generation.ONE else DiskController.SCSI)
    assert_gone(driver, image, workspace)


def test_a_report_that_comes_in_pieces(image: DiskFile, workspace: Path) -> None:
    def script(host: MemoryHost, machine_id: str) -> None:
        host.guest_says(machine_id, 'firmware\x1b[2J SEKISO {"event":"boot","boot_id":"b9"}\nSEKISO {"ev')

    class Late(SilentProgress):
        def __init__(self) -> None:
            self.told = False

        def canceled(self) -> bool:
            if not self.told:
                (machine,) = driver.list_machines()
                driver.memory_host.guest_says(machine.id, 'ent":"ready"}\n')
                self.told = True
            return False

    driver = WatchedDriver(script)
    result = boot_test(driver, image, SETTINGS, workspace, progress=Late())
    assert result.report.boot_id == "b9" and result.report.ready
    assert_gone(driver, image, workspace)


def test_a_silent_guest(image: DiskFile, workspace: Path) -> None:
    driver = WatchedDriver(says(BOOT, console="Kernel panic - not syncing"))
    with pytest.raises(GuestSilentError, match=r"(?s)0\.05 seconds.*Kernel panic"):
        boot_test(driver, image, HASTY, workspace)
    assert_gone(driver, image, workspace)


def test_a_machine_that_goes_off_without_a_report(image: DiskFile, workspace: Path) -> None:
    driver = WatchedDriver(says(BOOT, off=True))
    with pytest.raises(GuestSilentError, match="went off without it"):
        boot_test(driver, image, SETTINGS, workspace)
    assert_gone(driver, image, workspace)


def test_a_canceled_boot_test(image: DiskFile, workspace: Path) -> None:
    driver = WatchedDriver(says(BOOT))
    with pytest.raises(CanceledError):
        boot_test(driver, image, SETTINGS, workspace, progress=Canceled())
    assert_gone(driver, image, workspace)


def test_a_machine_that_cannot_be_made_leaves_nothing(image: DiskFile, workspace: Path) -> None:
    driver = WatchedDriver(says())
    with pytest.raises(SwitchNotFoundError):
        boot_test(driver, image, replace(SETTINGS, switch="No such"), workspace)
    assert_gone(driver, image, workspace)


def test_a_guest_that_fails_at_once_does_not_hide_why(image: DiskFile, workspace: Path) -> None:
    def script(host: MemoryHost, machine_id: str) -> None:
        raise OSError("the hypervisor broke")

    driver = WatchedDriver(script)
    with pytest.raises(OSError, match="broke"):
        boot_test(driver, image, SETTINGS, workspace)
    assert_gone(driver, image, workspace)


# --- packaging machine ---


@pytest.fixture
def packaging(image: DiskFile, workspace: Path) -> Path:
    return workspace / "packaging"


def package(
    driver: WatchedDriver, image: DiskFile, place: Path, settings: MachineSettings = SETTINGS, **more
):  # type: ignore[no-untyped-def]
    disk = driver.create_packaging_disk(image, place)
    try:
        return run_packaging_machine(driver, disk, settings, **more)
    finally:
        assert disk.path.is_file()
        assert driver.list_machines() == ()
        disk.path.unlink()
        assert_gone(driver, image, place.parent)


@pytest.mark.parametrize("generation", list(Generation))
def test_a_packaging_machine_that_finishes(
    image: DiskFile, packaging: Path, tmp_path: Path, generation: Generation
) -> None:
    script_disk = tmp_path / "run-once.raw"
    script_disk.write_bytes(b"fat")
    events = (
        BOOT,
        {"event": "run-once-started", "name": "disk run.sh"},
        {"event": "run-once", "name": "disk run.sh", "status": 0, "output": "done"},
        {"event": "finalize", "ok": True, "freed_kib": 7},
        {"event": "poweroff"},
    )
    driver = WatchedDriver(says(*events, off=True))
    result = package(
        driver,
        image,
        packaging,
        replace(SETTINGS, generation=generation, switch="Isolated"),
        extra_disks=[raw_disk(script_disk)],
    )
    assert result.report.finalize is not None and result.report.finalize.freed_kib == 7
    assert result.reported_s is None
    (spec,) = driver.specs
    first, second = spec.disks
    assert not first.read_only and first.boot_order == 0
    assert second.read_only and second.controller is DiskController.SCSI
    assert [adapter.switch for adapter in spec.adapters] == ["Isolated"]
    assert script_disk.read_bytes() == b"fat"


def test_a_run_once_script_that_fails(image: DiskFile, packaging: Path) -> None:
    events = (
        BOOT,
        {"event": "run-once", "name": "first", "status": 0, "output": ""},
        {"event": "run-once", "name": "second", "status": 3, "output": "no such package"},
        {"event": "finalize", "ok": True},
    )
    driver = WatchedDriver(says(*events, off=True))
    with pytest.raises(PackagingFailedError, match=r"(?s)second failed.*Status 3\. no such package"):
        package(driver, image, packaging)


def test_a_script_cut_off_in_the_middle_is_a_failure(image: DiskFile, packaging: Path) -> None:
    events = (BOOT, {"event": "run-once-started", "name": "install.sh"})
    driver = WatchedDriver(says(*events, off=True))
    with pytest.raises(PackagingFailedError, match=r"install\.sh"):
        package(driver, image, packaging)


def test_a_refused_finalization_says_why(image: DiskFile, packaging: Path) -> None:
    reasons = [{"code": "reboot-required", "detail": "linux-image"}]
    events = (BOOT, {"event": "gate", "ok": False, "reasons": reasons}, {"event": "finalize", "ok": False})
    driver = WatchedDriver(says(*events, off=True))
    with pytest.raises(PackagingFailedError, match="reboot-required: linux-image"):
        package(driver, image, packaging)
    driver = WatchedDriver(says(BOOT, {"event": "finalize", "ok": False}, off=True))
    with pytest.raises(PackagingFailedError, match="No reason was given"):
        package(driver, image, packaging)


def test_a_machine_that_stays_on(image: DiskFile, packaging: Path) -> None:
    driver = WatchedDriver(says(BOOT, READY))
    with pytest.raises(StateTimeoutError, match=r"0\.05 seconds"):
        package(driver, image, packaging, HASTY)


def test_a_canceled_packaging_machine(image: DiskFile, packaging: Path) -> None:
    driver = WatchedDriver(says(BOOT))
    with pytest.raises(CanceledError):
        package(driver, image, packaging, progress=Canceled())
