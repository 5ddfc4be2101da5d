"""Points at which tests of crash safety kill this process; nothing happens unless a variable is set.

`SEKISO_CRASH_AT=<kind>:<step>:<before|after>` kills the process (SIGKILL, as a power cut would) before a step
of a flow takes effect or after it did and before its result is recorded. `undo` and `ended` are steps, too.
"""

from __future__ import annotations

import os
import signal
from typing import Literal

#: The variable that names the point.
VARIABLE = "SEKISO_CRASH_AT"

#: The steps that every flow has besides its own.
UNDO = "undo"
ENDED = "ended"


def point(kind: str, step: str, moment: Literal["before", "after"]) -> str:
    """Return the name of a point."""
    return f"{kind}:{step}:{moment}"


def crash_point(kind: str, step: str, moment: Literal["before", "after"]) -> None:
    """Die here if the variable names this point."""
    if os.environ.get(VARIABLE) == point(kind, step, moment):
        os.kill(os.getpid(), signal.SIGKILL)
