"""Secure Boot as Hyper-V's templates have it, with a loader that Microsoft really signed (CC-3)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    GuestPort,
    MachineSpec,
    MachineState,
)
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.hypervisors.waiting import wait_for_message, wait_for_state
from sekiso.model.machine import DiskFormat, Generation, SecureBootTemplate
from tests.support.micro_guest import Loader, nano

pytestmark = pytest.mark.boot
REFUSED = r"(Access Denied|Security Violation)"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> QemuDriver:
    return QemuDriver(tmp_path_factory.mktemp("secure-boot"))


def spec(folder: Path, template: SecureBootTemplate, loader: Loader) -> MachineSpec:
    disk = nano(folder / "nano.raw", Generation.TWO, loader=loader)
    attachment = DiskAttachment(disk, DiskFormat.RAW, DiskController.SCSI, boot_order=0)
    return MachineSpec(
        folder.name,
        Generation.TWO,
        cpus=1,
        memory_bytes=256 << 20,
        disks=(attachment,),
        secure_boot=True,
        secure_boot_template=template,
    )


def test_a_signed_loader_starts_under_the_uefi_ca_template(driver: QemuDriver, tmp_path: Path) -> None:
    machine = driver.create_machine(spec(tmp_path, SecureBootTemplate.MICROSOFT_UEFI_CA, Loader.SIGNED))
    driver.start(machine.id)
    wait_for_message(driver, machine.id, "NANO-UP", timeout_s=120)
    wait_for_state(driver, machine.id, MachineState.OFF, timeout_s=30)


@pytest.mark.parametrize(
    ("template", "loader"),
    [
        pytest.param(SecureBootTemplate.MICROSOFT_UEFI_CA, Loader.UNSIGNED, id="unsigned loader"),
        pytest.param(SecureBootTemplate.MICROSOFT_WINDOWS, Loader.SIGNED, id="shim under MicrosoftWindows"),
    ],
)
def test_what_the_template_does_not_trust_is_refused_by_the_firmware(
    driver: QemuDriver, tmp_path: Path, template: SecureBootTemplate, loader: Loader
) -> None:
    machine = driver.create_machine(spec(tmp_path, template, loader))
    driver.start(machine.id)
    wait_for_message(driver, machine.id, REFUSED, port=GuestPort.CONSOLE, timeout_s=120)
    driver.turn_off(machine.id)
    assert not re.search("NANO-UP", driver.guest_messages(machine.id, GuestPort.CONSOLE).text)
