"""What a machine is doing, asked of its process and of QEMU; and who holds a disk that QEMU could not get."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from sekiso.hypervisors.errors import DiskInUseError, HypervisorError
from sekiso.hypervisors.facts import DiskAttachment, MachineState
from sekiso.hypervisors.qemu import procs
from sekiso.hypervisors.qemu.qmp import QmpTimeoutError, QmpUnreachableError, session

#: QEMU's run states. Source: QAPI, RunState.
_STATES = {
    "running": MachineState.RUNNING,
    "paused": MachineState.PAUSED,
    "suspended": MachineState.PAUSED,
    "prelaunch": MachineState.STARTING,
    "shutdown": MachineState.STOPPING,
    "save-vm": MachineState.STOPPING,
}
_STARTING_S = 60.0
#: A QEMU that does not say its state for so long hangs; a busy host may well need seconds.
_STATUS_S = 10.0


def machine_state(folder: Path, name: str) -> tuple[MachineState, float]:
    """Return the state of the machine in `folder`, and the seconds since it was started."""
    pidfile = folder / "qemu.pid"
    uptime_s = 0.0
    for _ in range(10):
        running = procs.find(pidfile)
        if running is None:
            return MachineState.OFF, 0.0
        uptime_s = running.uptime_s
        try:
            with session(folder, name, timeout_s=_STATUS_S) as qmp:
                status = str(qmp.execute("query-status")["status"])
            return _STATES.get(status, MachineState.CRITICAL), uptime_s
        except QmpTimeoutError:
            return MachineState.CRITICAL, uptime_s
        except QmpUnreachableError:
            # It is coming up or going down; both pass quickly.
            time.sleep(0.05)
    return (MachineState.STARTING if uptime_s < _STARTING_S else MachineState.CRITICAL), uptime_s


def explain_lock(error: HypervisorError, disks: Sequence[DiskAttachment]) -> None:
    """Turn QEMU's complaint about a locked disk into one that says who holds it.

    Raises:
        DiskInUseError: the complaint was about a lock.
    """
    if not disks or not re.search(r"Failed to get .*lock", str(error)):
        return
    found = re.search(r"\[(/[^\]]*)\]", str(error))
    path = Path(found[1]) if found else disks[0].path
    users = ", ".join(procs.users_of(path)) or "another program"
    reason = "The file is locked; two users of one disk would destroy it."
    raise DiskInUseError(path=path, user=users, reason=reason) from error
