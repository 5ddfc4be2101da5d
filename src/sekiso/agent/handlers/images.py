"""`image.*`: the machines of published images (IM-2, IM-6)."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sekiso.agent.contract import (
    BootTestParams,
    BootTestResult,
    CreateImageMachineParams,
    Done,
    Hardware,
    MachineMade,
    RemoveImageParams,
)
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.hardware import (
    WantedMachine,
    find_machine,
    machine_in,
    make_machine,
    refuse_busy,
    remove_machine,
    secure_boot_template,
    sweep_machines,
)
from sekiso.agent.handlers.image_home import ImageHome, ImageRecordFile
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.records import read_record, remove_folder
from sekiso.agent.handlers.results import fresh_folder
from sekiso.agent.handlers.sparse import copy_disk_file
from sekiso.agent.machines import MachineSettings, boot_test
from sekiso.agent.places import IMAGE_RECORD
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.facts import DiskFile, MachineFacts
from sekiso.model.progress import Progress


def create_machine(command: Command, params: CreateImageMachineParams) -> MachineMade:
    """Make the machine of an image, switched off; it lies in the image's folder."""
    places = usable_places(params.storage_path)
    home = ImageHome(places, params.image_id, params.name)
    record = home.open()
    disk = DiskFile(places.file_below(params.disk_path, field="disk_path"), params.disk_format)
    family = record.facts.family if record.facts is not None else ""
    wanted = WantedMachine(params.name, params.hardware, disk, home.machine_folder, family=family)
    machine = make_machine(command.host.driver, wanted)
    if record.machine_id != machine.id:
        home.save(replace(record, machine_id=machine.id))
    return MachineMade(machine.id, machine.name)


def remove(command: Command, params: RemoveImageParams) -> Done:
    """Remove the machine, the disk and the folder of an image; another image of that name is left alone."""
    driver = command.host.driver
    home = ImageHome(usable_places(params.storage_path), params.image_id, params.name)
    record = home.record()
    machine = _own_machine(driver, home, record, params.machine_id)
    if machine is not None:
        remove_machine(driver, machine, home.folder)
    if home.folder.exists() and not home.is_foreign():
        remove_folder(home.folder)
    return Done()


def boot_test_image(command: Command, params: BootTestParams) -> BootTestResult:
    """Start an image without writing to it, until its guest has reported (IM-6)."""
    places, driver = usable_places(params.storage_path), command.host.driver
    disk = DiskFile(places.file_below(params.disk_path, field="disk_path"), params.disk_format)
    workspace = places.scratch(params.task_id) / "boot-test"
    # A cut-off call has left its machine running.
    sweep_machines(driver, workspace)
    fresh_folder(workspace)
    try:
        settings = _test_settings(driver, params, disk.path)
        base = _base_of_test(driver, disk, workspace, command.progress)
        result = boot_test(driver, base, settings, workspace, progress=command.progress)
    finally:
        remove_folder(workspace)
    report: dict[str, Any] = msgspec.to_builtins(result.report)
    picture = base64.b64encode(result.screenshot).decode()
    return BootTestResult(result.reported_s or result.elapsed_s, report, picture)


def _own_machine(
    driver: HypervisorDriver, home: ImageHome, record: ImageRecordFile | None, machine_id: str
) -> MachineFacts | None:
    """Return the machine of an image; one that somebody else made is never taken for it."""
    if home.is_foreign():
        return None
    recorded = record.machine_id if record is not None else ""
    for machine in (find_machine(driver, recorded), find_machine(driver, machine_id)):
        if machine is None:
            continue
        places = [machine.folder.resolve(), *(d.path.resolve() for d in machine.disks)]
        if machine.id == recorded or any(home.folder in place.parents for place in places):
            return machine
    return machine_in(driver, home.machine_folder)


def _base_of_test(driver: HypervisorDriver, disk: DiskFile, workspace: Path, progress: Progress) -> DiskFile:
    """Return the disk under another name, for reading only: its own is attached to the image's machine.

    Raises:
        DiskInUseError: that machine runs.
    """
    refuse_busy(driver, disk.path)
    base = workspace / disk.path.name
    try:
        # The same file: whoever starts the image's machine meanwhile finds it locked by the test.
        base.hardlink_to(disk.path)
    except OSError:  # a file system without hard links
        copy_disk_file(disk.path, base, progress=progress)
    return DiskFile(base, disk.format)


def _test_settings(driver: HypervisorDriver, params: BootTestParams, disk: Path) -> MachineSettings:
    """Return the image's own hardware, without a network."""
    hardware = params.hardware
    record = read_record(disk.parent / IMAGE_RECORD, ImageRecordFile)
    family = record.facts.family if record is not None and record.facts is not None else ""
    if hardware.template_vm is not None:
        return _as_template(driver.get_machine(hardware.template_vm), hardware, params.timeout_s)
    return MachineSettings(
        generation=hardware.generation,
        cpus=hardware.cpus,
        memory_bytes=hardware.memory_mb << 20,
        secure_boot=hardware.secure_boot,
        secure_boot_template=secure_boot_template(family),
        timeout_s=params.timeout_s,
    )


def _as_template(template: MachineFacts, hardware: Hardware, timeout_s: float) -> MachineSettings:
    spec = template.spec
    return MachineSettings(
        generation=spec.generation,
        cpus=spec.cpus,
        memory_bytes=max(spec.memory_bytes, hardware.memory_mb << 20),
        secure_boot=spec.secure_boot,
        secure_boot_template=spec.secure_boot_template,
        timeout_s=timeout_s,
    )
