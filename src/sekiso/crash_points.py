"""Points at which tests of crash safety kill this process; nothing happens unless a variable is set.

`SEKISO_CRASH_AT=<kind>:<step>:<before|after>` kills the process (SIGKILL, as a power cut would) there: before
a step of a flow takes effect, or after it did and before its result is recorded. `undo` and `ended` are
steps, too; an agent's commands are the steps of the kind `agent`.

`SEKISO_CRASH_EACH=<file>` kills it at every point after something, each once: the points that it has died at
are in the file.
"""

from __future__ import annotations

import os
import signal
from typing import Literal

#: The variable that names one point.
VARIABLE = "SEKISO_CRASH_AT"
#: The variable that names the file of the points passed.
EACH_VARIABLE = "SEKISO_CRASH_EACH"

#: The steps that every flow has besides its own.
UNDO = "undo"
ENDED = "ended"


def point(kind: str, step: str, moment: Literal["before", "after"]) -> str:
    """Return the name of a point."""
    return f"{kind}:{step}:{moment}"


def crash_point(kind: str, step: str, moment: Literal["before", "after"]) -> None:
    """Die here if a variable says so."""
    name = point(kind, step, moment)
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "after" and EACH_VARIABLE in os.environ and _is_new(os.environ[EACH_VARIABLE], name):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_new(path: str, name: str) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        passed = os.pread(fd, 1 << 20, 0).decode().splitlines()
        if name in passed:
            return False
        os.write(fd, f"{name}\n".encode())
        os.fsync(fd)
        return True
    finally:
        os.close(fd)
