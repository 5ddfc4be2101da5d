"""Runs machines to the point that matters: until the guest reports, or until it has switched itself off."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sekiso.agent.errors import PackagingFailedError
from sekiso.guests.report import GuestReport, ReportReader
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.errors import GuestSilentError, StateTimeoutError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    GuestPort,
    MachineFacts,
    MachineSpec,
    MachineState,
    NetworkAdapter,
)
from sekiso.model.machine import DiskFormat, Generation, SecureBootTemplate
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Hardware and patience for one run.

    Attributes:
        generation: Hyper-V generation.
        cpus: virtual processors.
        memory_bytes: memory.
        secure_boot: enforce Secure Boot (generation 2).
        secure_boot_template: whose signatures the firmware trusts.
        switch: virtual switch; None = no network.
        timeout_s: how long the guest may take.
    """

    generation: Generation
    cpus: int = 1
    memory_bytes: int = 1 << 30
    secure_boot: bool = False
    secure_boot_template: SecureBootTemplate = SecureBootTemplate.MICROSOFT_UEFI_CA
    switch: str | None = None
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run showed.

    Attributes:
        report: what the guest said.
        elapsed_s: from power on to the end of the run.
        reported_s: from power on to the guest's complete report; None if it never came.
        screenshot: the screen as PNG after the report; empty if none was taken.
        console: the end of the text console.
    """

    report: GuestReport
    elapsed_s: float
    reported_s: float | None
    screenshot: bytes = field(default=b"", repr=False)
    console: str = field(default="", repr=False)


def boot_test(
    driver: HypervisorDriver,
    image: DiskFile,
    settings: MachineSettings,
    workspace: Path,
    *,
    progress: Progress = NO_PROGRESS,
) -> RunResult:
    """Start an image, wait for its guest's report, keep the screen as a picture, stop it (IM-6).

    The image is not written: what the guest writes goes to a disk of its own in `workspace`, removed later.

    Args:
        driver: the hypervisor.
        image: the disk.
        settings: hardware and patience.
        workspace: a folder of the caller's.
        progress: a step per stage; asked for cancellation.

    Raises:
        GuestSilentError: no report came in time, or the machine went off.
        CanceledError: the work was canceled; the machine is gone.
    """
    writable = driver.create_packaging_disk(image, workspace / f"boot-test-{uuid.uuid4().hex[:8]}")
    try:
        disks = [_boot_attachment(writable, settings)]
        with _machine(driver, f"boot-test-{image.path.stem}", settings, disks) as machine:
            run = _Run(driver, machine, settings, progress)
            run.start()
            run.until_ready()
            picture = driver.screenshot(machine.id)
            # Nothing it wrote is kept, so it need not be shut down: leaving turns it off.
            return run.result(picture)
    finally:
        writable.path.unlink(missing_ok=True)


def run_packaging_machine(
    driver: HypervisorDriver,
    packaging_disk: DiskFile,
    settings: MachineSettings,
    *,
    extra_disks: Sequence[DiskFile] = (),
    progress: Progress = NO_PROGRESS,
) -> RunResult:
    """Start a packaging machine and wait until it has switched itself off (LY-2).

    Args:
        driver: the hypervisor.
        packaging_disk: the writable disk over its boot disk.
        settings: hardware and patience.
        extra_disks: disks with run-once scripts and packages, attached read-only.
        progress: a step per stage; asked for cancellation.

    Raises:
        PackagingFailedError: a run-once script or the finalization failed; the packaging disk stays.
        StateTimeoutError: the machine did not switch itself off in time; the packaging disk stays.
        CanceledError: the work was canceled; the machine is gone, the packaging disk stays.
    """
    # SCSI in both generations: an IDE disk cannot be read-only.
    disks = [
        _boot_attachment(packaging_disk, settings),
        *(DiskAttachment(d.path, d.format, DiskController.SCSI, read_only=True) for d in extra_disks),
    ]
    with _machine(driver, f"packaging-{packaging_disk.path.stem}", settings, disks) as machine:
        run = _Run(driver, machine, settings, progress)
        run.start()
        run.until_off()
        result = run.result()
    _check_packaging(result)
    return result


class _Run:
    """One machine that runs, and what its guest has said so far."""

    def __init__(
        self, driver: HypervisorDriver, machine: MachineFacts, settings: MachineSettings, progress: Progress
    ) -> None:
        self._driver = driver
        self._machine = machine
        self._timeout_s = settings.timeout_s
        self._progress = progress
        self._reader = ReportReader()
        self._offset = 0
        self._console_offset = 0
        self._console = ""
        self._begun = 0.0
        self._reported_s: float | None = None

    def start(self) -> None:
        self._progress.step("Starting the machine")
        self._begun = time.monotonic()
        self._driver.start(self._machine.id)

    def until_ready(self) -> None:
        self._progress.step("Waiting for the guest's report")
        self._wait(stop_when_ready=True)

    def until_off(self) -> None:
        self._progress.step("Waiting for the machine to switch itself off")
        self._wait(stop_when_ready=False)

    def result(self, screenshot: bytes = b"") -> RunResult:
        self._read()
        return RunResult(
            self._reader.report, time.monotonic() - self._begun, self._reported_s, screenshot, self._console
        )

    def _wait(self, *, stop_when_ready: bool) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            state = self._driver.get_machine(self._machine.id).state
            self._read()
            if stop_when_ready and self._reader.report.ready:
                return
            if state is MachineState.OFF:
                if stop_when_ready:
                    raise self._silent("The machine went off without it.")
                return
            if time.monotonic() > deadline:
                if stop_when_ready:
                    raise self._silent(f"It did not come within {self._timeout_s:g} seconds.")
                raise StateTimeoutError(
                    machine=self._machine.name,
                    state=state.value,
                    wanted=MachineState.OFF.value,
                    timeout_s=self._timeout_s,
                )
            check_canceled(self._progress)
            time.sleep(_POLL_S)

    def _read(self) -> None:
        while True:
            news = self._driver.guest_messages(self._machine.id, GuestPort.REPORT, since=self._offset)
            if not news.text:
                break
            self._offset = news.next_offset
            self._reader.feed(news.text.encode())
        console = self._driver.guest_messages(self._machine.id, GuestPort.CONSOLE, since=self._console_offset)
        self._console_offset = console.next_offset
        self._console = (self._console + console.text)[-20_000:]
        if self._reported_s is None and self._reader.report.ready:
            self._reported_s = time.monotonic() - self._begun

    def _silent(self, reason: str) -> GuestSilentError:
        last = self._console.strip()[-400:] or "none"
        return GuestSilentError(
            machine=self._machine.name, wanted="a complete report", reason=reason, last=last
        )


@contextmanager
def _machine(
    driver: HypervisorDriver, name: str, settings: MachineSettings, disks: Sequence[DiskAttachment]
) -> Generator[MachineFacts]:
    """Make a machine for one run and remove it afterwards; its disks stay."""
    spec = MachineSpec(
        name=f"{name}-{uuid.uuid4().hex[:6]}",
        generation=settings.generation,
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        adapters=(NetworkAdapter(switch=settings.switch),) if settings.switch else (),
        disks=tuple(disks),
        secure_boot=settings.secure_boot,
        secure_boot_template=settings.secure_boot_template,
    )
    machine = driver.create_machine(spec)
    try:
        yield machine
    finally:
        driver.turn_off(machine.id)
        driver.delete_machine(machine.id, delete_disks=False)


def _boot_attachment(disk: DiskFile, settings: MachineSettings) -> DiskAttachment:
    return DiskAttachment(disk.path, disk.format, _controller(settings), boot_order=0)


def _controller(settings: MachineSettings) -> DiskController:
    return DiskController.IDE if settings.generation is Generation.ONE else DiskController.SCSI


def _check_packaging(result: RunResult) -> None:
    report = result.report
    failed = [item for item in report.run_once if item.status not in (0, None)]
    if failed:
        output = failed[0].output.strip()[-1500:]
        raise PackagingFailedError(what=failed[0].name, reason=f"Status {failed[0].status}. {output}")
    cut_off = [item for item in report.run_once if item.status is None]
    if cut_off:
        raise PackagingFailedError(what=cut_off[0].name, reason="The machine went off while it still ran.")
    if report.finalize is not None and not report.finalize.ok:
        reasons = report.gate.reasons if report.gate is not None else ()
        raise PackagingFailedError(
            what="finalize",
            reason="; ".join(f"{r.code}: {r.detail}" for r in reasons) or "No reason was given.",
        )


def raw_disk(path: Path) -> DiskFile:
    """Return a raw disk file as drivers want it named."""
    return DiskFile(path.resolve(), DiskFormat.RAW)
