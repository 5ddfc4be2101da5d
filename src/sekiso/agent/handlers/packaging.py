"""`packaging.*`: the machine in which a layer version is made (LY-2, LY-8)."""

from __future__ import annotations

import base64
import logging
from dataclasses import replace
from pathlib import Path

from sekiso.agent.contract import (
    CreatePackagingParams,
    Done,
    FileFacts,
    FreezePackagingParams,
    PackagingMade,
    PackagingParams,
    PackagingState,
    PackagingStates,
    PackagingStatesParams,
    Picture,
    PressKeysParams,
    ScreenParams,
)
from sekiso.agent.guest_watch import Heard
from sekiso.agent.handlers.context import AgentHost, Command
from sekiso.agent.handlers.hardware import (
    WantedMachine,
    find_machine,
    machine_in,
    make_machine,
    remove_machine,
    require_off,
)
from sekiso.agent.handlers.opening import usable_places
from sekiso.agent.handlers.packaging_home import PACKAGING_STEM, PackagingHome, PackagingRecord
from sekiso.agent.handlers.records import put_in_place, remove_folder
from sekiso.agent.handlers.screens import open_screen
from sekiso.agent.machines import raw_disk
from sekiso.agent.places import Places
from sekiso.agent.port import ByteStream
from sekiso.errors import AlreadyExistsError
from sekiso.guests.report import RunOnceResult
from sekiso.hypervisors.errors import MachineNotFoundError, WrongStateError
from sekiso.hypervisors.facts import DiskFile, MachineFacts, MachineState
from sekiso.transfer.manifest import hash_file

log = logging.getLogger(__name__)
_LAST_WORDS_CHARS = 1500


def create(command: Command, params: CreatePackagingParams) -> PackagingMade:
    """Make the packaging machine of a version and start it once."""
    host, places = command.host, usable_places(params.storage_path)
    home = PackagingHome(places, params.version_id)
    with host.holding(home.folder):
        return _create(command, params, places, home)


def _create(
    command: Command, params: CreatePackagingParams, places: Places, home: PackagingHome
) -> PackagingMade:
    host = command.host
    record = _begin(home, places, params)
    command.progress.step("Making the packaging disk")
    disk = _packaging_disk(host, home, record)
    _take_run_once(home, places, params)
    command.progress.step("Making the packaging machine")
    machine = make_machine(host.driver, _wanted(home, params, disk))
    if record.machine_id != machine.id:
        record = home.save(replace(record, machine_id=machine.id, machine_name=machine.name))
    command.progress.step("Starting the packaging machine")
    _start_first(host, home, record, machine)
    return PackagingMade(machine.id, machine.name, str(disk.path))


def start(command: Command, params: PackagingParams) -> Done:
    """Start a packaging machine again; one that is not off is left as it is."""
    home = PackagingHome(usable_places(params.storage_path), params.version_id)
    with command.host.holding(home.folder):
        home, record, machine = _opened(command, params.storage_path, params.version_id)
        if machine.state in (MachineState.OFF, MachineState.SAVED):
            _start(command.host, home, record, machine)
    return Done()


def shut_down(command: Command, params: PackagingParams) -> Done:
    """Ask the guest to shut down; does not wait for it."""
    _, _, machine = _opened(command, params.storage_path, params.version_id)
    if machine.state in (MachineState.OFF, MachineState.STOPPING):
        return Done()
    try:
        command.host.driver.request_shut_down(machine.id)
    except WrongStateError:
        # It may have gone off by itself between the two looks.
        if command.host.driver.get_machine(machine.id).state is not MachineState.OFF:
            raise
    return Done()


def turn_off(command: Command, params: PackagingParams) -> Done:
    """Cut the power."""
    _, _, machine = _opened(command, params.storage_path, params.version_id)
    command.host.driver.turn_off(machine.id)
    return Done()


def remove(command: Command, params: PackagingParams) -> Done:
    """Remove machine, disks and folder, finished or not; nothing there is no fault."""
    host = command.host
    home = PackagingHome(usable_places(params.storage_path), params.version_id)
    with host.holding(home.folder):
        if not home.folder.exists():
            return Done()
        machine = _machine(host, home, home.record())
        if machine is not None:
            host.watch.forget(machine.id)
            remove_machine(host.driver, machine, home.folder)
        remove_folder(home.folder)
    return Done()


def states(command: Command, params: PackagingStatesParams) -> PackagingStates:
    """Say what packaging machines are doing, and what their guests have said."""
    places = usable_places(params.storage_path)
    found = [_state(command.host, PackagingHome(places, v), v) for v in params.version_ids]
    return PackagingStates(tuple(found))


def freeze(command: Command, params: FreezePackagingParams) -> FileFacts:
    """Hash the packaging disk of a machine that is off."""
    home = PackagingHome(usable_places(params.storage_path), params.version_id)
    machine = _machine(command.host, home, home.record())
    if machine is not None:
        require_off(machine, "be captured")
    disk = home.require_packaging_disk()
    return FileFacts(str(disk), hash_file(disk, progress=command.progress).to_dict())


def screenshot(command: Command, params: ScreenParams) -> Picture:
    """Return the screen of a packaging machine."""
    _, _, machine = _opened(command, params.storage_path, params.version_id)
    return Picture(base64.b64encode(command.host.driver.screenshot(machine.id)).decode())


def screen(command: Command, params: ScreenParams) -> ByteStream:
    """Open the screen of a packaging machine that is on."""
    _, _, machine = _opened(command, params.storage_path, params.version_id)
    return open_screen(command.host.driver, machine.id)


def press_keys(command: Command, params: PressKeysParams) -> Done:
    """Type into a packaging machine."""
    _, _, machine = _opened(command, params.storage_path, params.version_id)
    command.host.driver.send_keys(machine.id, params.keys)
    return Done()


# Creation


def _begin(home: PackagingHome, places: Places, params: CreatePackagingParams) -> PackagingRecord:
    boot_disk = places.file_below(params.boot_disk, field="boot_disk")
    record = home.record()
    if record is None:
        record = PackagingRecord(home.version_id, params.machine_name, str(boot_disk), params.disk_format)
        return home.save(record)
    if record.boot_disk != str(boot_disk):
        raise AlreadyExistsError(
            what="The packaging machine of the layer version",
            name=home.version_id,
            remedy="It was begun on another boot disk. Remove it first.",
        )
    return record


def _packaging_disk(host: AgentHost, home: PackagingHome, record: PackagingRecord) -> DiskFile:
    """Return the writable disk; one that is there may hold a person's work and is kept."""
    found = home.packaging_disk()
    if found is not None:
        return DiskFile(found, host.driver.host().packaging_format)
    boot_disk = DiskFile(Path(record.boot_disk), record.disk_format)
    return host.driver.create_packaging_disk(boot_disk, home.folder / PACKAGING_STEM)


def _take_run_once(home: PackagingHome, places: Places, params: CreatePackagingParams) -> None:
    if params.run_once is None or home.run_once.is_file():
        return
    put_in_place(places.file_below(params.run_once, field="run_once"), home.run_once)


def _wanted(home: PackagingHome, params: CreatePackagingParams, disk: DiskFile) -> WantedMachine:
    claim = home.claim()
    return WantedMachine(
        name=params.machine_name,
        hardware=params.hardware,
        boot_disk=disk,
        folder=home.machine_folder,
        read_only=(raw_disk(home.run_once),) if params.run_once is not None else (),
        family=claim.facts.family if claim is not None and claim.facts is not None else "",
    )


def _start_first(
    host: AgentHost, home: PackagingHome, record: PackagingRecord, machine: MachineFacts
) -> None:
    """Start a new machine, unless an earlier call that was cut off has done so."""
    if record.started:
        return
    if machine.state is MachineState.OFF:
        # A guest that has spoken was started, and has shut down since.
        spoken = host.watch.end_offset(machine.id, record.report_offset) > record.report_offset
        if not spoken:
            _start(host, home, record, machine)
            return
    home.save(replace(record, started=True))


def _start(host: AgentHost, home: PackagingHome, record: PackagingRecord, machine: MachineFacts) -> None:
    """Start a machine; what its guest says from now on is what counts."""
    offset = host.watch.end_offset(machine.id, record.report_offset)
    record = home.save(replace(record, report_offset=offset, machine_id=machine.id))
    host.driver.start(machine.id)
    home.save(replace(record, started=True))


# Finding and judging


def _opened(
    command: Command, storage_path: str, version_id: str
) -> tuple[PackagingHome, PackagingRecord, MachineFacts]:
    home = PackagingHome(usable_places(storage_path), version_id)
    record = home.require()
    machine = _machine(command.host, home, record)
    if machine is None:
        raise MachineNotFoundError(machine=record.machine_name)
    return home, record, machine


def _machine(host: AgentHost, home: PackagingHome, record: PackagingRecord | None) -> MachineFacts | None:
    known = find_machine(host.driver, record.machine_id) if record is not None else None
    return known or machine_in(host.driver, home.machine_folder)


def _state(host: AgentHost, home: PackagingHome, version_id: str) -> PackagingState:
    record = home.record()
    try:
        machine = _machine(host, home, record) if record is not None else None
        if record is None or machine is None:
            return PackagingState(version_id, "")
        heard = host.watch.heard(machine.id, record.report_offset)
    except MachineNotFoundError:
        return PackagingState(version_id, "")
    return _judged(version_id, machine, heard)


def _judged(version_id: str, machine: MachineFacts, heard: Heard) -> PackagingState:
    report = heard.report
    gate = report.gate
    failed = [r for r in heard.run_once if r.status not in (0, None)]
    return PackagingState(
        version_id=version_id,
        state=machine.state.value,
        uptime_s=machine.uptime_s,
        ready=report.ready,
        gate_known=gate is not None,
        gate=() if gate is None or gate.ok else tuple(f"{r.code}: {r.detail}" for r in gate.reasons),
        finalized=None if report.finalize is None else report.finalize.ok,
        run_once_running=tuple(r.name for r in heard.run_once if r.status is None),
        run_once_failed=tuple(_failure(r) for r in failed),
    )


def _failure(result: RunOnceResult) -> str:
    return f"{result.name}: status {result.status}. {result.output.strip()[-_LAST_WORDS_CHARS:]}".strip()
