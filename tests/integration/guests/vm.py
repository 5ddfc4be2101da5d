"""Starts a disk under QEMU's pure emulation and reads what the guest reports on its second serial port."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso.guests.report import GuestReport, ReportReader

FIRMWARE = Path("/usr/share/OVMF")
DRIVERS = {".vhd": "vpc", ".vhdx": "vhdx", ".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}


@dataclass
class Boot:
    """What came of one start."""

    report: GuestReport
    seconds: float
    console: str
    ended: bool


def boot(
    disk: Path,
    scratch: Path,
    *,
    generation: int,
    secure: bool = False,
    extra: Sequence[Path] = (),
    until: Callable[[GuestReport], bool],
    limit_s: float = 180,
) -> Boot:
    """Start `disk`, with the further disks `extra`, until the report satisfies `until` or the guest ends.

    Writes go to a temporary overlay; those to a qcow2 disk stay in it.
    """
    ports = [scratch / "com1", scratch / "com2"]
    for port in ports:
        port.write_bytes(b"")
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-m", "768", "-smp", "1"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-vga", "std"]
    argv += [a for port in ports for a in ("-serial", f"file:{port}")]
    argv += machine(generation, secure=secure, scratch=scratch)
    for number, path in enumerate((disk, *extra)):
        argv += attach(number, path, generation)
    started = time.monotonic()
    with (scratch / "qemu.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as guest:
        try:
            report, seen = follow(guest, ports[1], until, started + limit_s)
        finally:
            ended = guest.poll() is not None
            guest.kill()
    assert guest.returncode in (0, -9), (scratch / "qemu.log").read_text()
    console = ports[0].read_bytes().decode(errors="replace")
    return Boot(report, seen - started, console, ended)


def follow(
    guest: subprocess.Popen[bytes], port: Path, until: Callable[[GuestReport], bool], deadline: float
) -> tuple[GuestReport, float]:
    reader = ReportReader()
    with port.open("rb") as stream:
        while time.monotonic() < deadline:
            over = guest.poll() is not None
            reader.feed(stream.read())
            if until(reader.report) or over:
                break
            time.sleep(0.2)
    return reader.report, time.monotonic()


def machine(generation: int, *, secure: bool, scratch: Path) -> list[str]:
    if generation == 1:
        return ["-machine", "pc,hpet=off"]
    code, variables = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
    own = scratch / "vars.fd"
    argv = ["-machine", f"q35,hpet=off,smm={'on' if secure else 'off'}"]
    if secure:
        code, variables = ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd")
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        argv += ["-global", "ICH9-LPC.disable_s3=1"]
    shutil.copy(FIRMWARE / variables, own)
    argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE / code}"]
    argv += ["-drive", f"if=pflash,unit=1,format=raw,file={own}"]
    return [*argv, "-device", "virtio-scsi-pci,id=scsi0"]


def attach(number: int, path: Path, generation: int) -> list[str]:
    driver = DRIVERS.get(path.suffix, "raw")
    snapshot = "off" if path.suffix == ".qcow2" else "on"
    argv = ["-drive", f"if=none,id=d{number},format={driver},snapshot={snapshot},file={path}"]
    order = f",bootindex={number}"
    if generation == 1:
        return [*argv, "-device", f"ide-hd,bus=ide.{number // 2},unit={number % 2},drive=d{number}{order}"]
    return [*argv, "-device", f"scsi-hd,bus=scsi0.0,scsi-id={number},drive=d{number}{order}"]
