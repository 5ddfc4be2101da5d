"""QEMU processes: starting one so that it outlives us, and finding it again later."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso import process
from sekiso.hypervisors.errors import HypervisorError
from sekiso.hypervisors.qemu.qmp import QmpUnreachableError, session

_START_TIMEOUT_S = 90.0
_TAIL_BYTES = 4000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """A live process.

    Attributes:
        pid: its identifier.
        uptime_s: how long it runs.
    """

    pid: int
    uptime_s: float


def find(pidfile: Path) -> Running | None:
    """Return the process that wrote a pid file, or None when it is gone.

    A pid may have been given to another program since. The process is ours only if it is no zombie and its
    command line names this very pid file.
    """
    try:
        pid = int(pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        now_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return None
    # Source: proc(5): field 3 is the state, field 22 the start in ticks since the host's start.
    own = os.fsencode(pidfile)
    if fields[0] in "ZX" or not {own, b"file=" + own} & set(command):
        return None
    return Running(pid, max(0.0, now_s - int(fields[19]) / _TICKS))


def launch(argv: Sequence[str], folder: Path, machine: str, *, pass_fds: Sequence[int] = ()) -> None:
    """Start QEMU in a session of its own and wait until it answers.

    Raises:
        ToolMissingError: QEMU is not installed.
        HypervisorError: it ended or did not answer; the reason is its own message.
    """
    with (folder / "qemu.log").open("wb") as stream:
        child = process.spawn(
            argv, cwd=folder, stdout=stream, stderr=stream, detached=True, pass_fds=pass_fds
        )
    # Somebody has to collect the exit status while this process lives; afterwards the system does.
    threading.Thread(target=child.wait, name=f"qemu-{child.pid}", daemon=True).start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < deadline:
        if _answers(folder, machine):
            return
        time.sleep(0.02)
    reason = last_words(folder)
    if child.poll() is None:
        child.kill()
        reason = f"QEMU did not answer within {_START_TIMEOUT_S:g} seconds. {reason}"
    elif child.returncode == 0 or not reason:
        # A guest that lives for less than a moment is none of our failure.
        if child.returncode == 0:
            return
        reason = f"QEMU ended with status {child.returncode}."
    raise HypervisorError(machine=machine, operation="start the machine", reason=reason)


def _answers(folder: Path, machine: str) -> bool:
    try:
        with session(folder, machine) as qmp:
            qmp.execute("query-status")
    except QmpUnreachableError:
        return False
    return True


def last_words(folder: Path) -> str:
    """Return the end of what QEMU itself said."""
    try:
        data = (folder / "qemu.log").read_bytes()
    except OSError:
        return ""
    return data[-_TAIL_BYTES:].decode(errors="replace").strip()


def kill(pidfile: Path) -> None:
    """End a QEMU process for sure, if it still is the one that wrote the pid file."""
    running = find(pidfile)
    if running is None:
        return
    try:
        handle = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        # The handle pins the process: look again, so that no stranger is hit.
        if find(pidfile) is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)


def users_of(path: Path) -> tuple[str, ...]:
    """Return which programs hold a file open, as `qemu-nbd (process 123)`, as far as we may look."""
    wanted = path.stat()
    found: set[str] = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            seen = link.stat()
            if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                pid = link.parts[2]
                found.add(f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})")
        except OSError:
            continue
    return tuple(sorted(found))
