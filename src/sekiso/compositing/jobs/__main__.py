"""The process that does one job: `python -m sekiso.compositing.jobs`.

Protocol: one JSON object on one line of standard input says what to do. On standard output come lines with
`{"step", "total"}` and `{"done"}` for progress, and at last `{"result"}` or `{"error"}`. Standard input
stays open; when it ends, the one who asked has ended, and this process does with all that it has started.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sekiso.compositing.jobs.dispatch import do_job
from sekiso.compositing.jobs.model import RESULTS, JobOf
from sekiso.errors import NoSpaceError, SekisoError

_NICENESS = 5
_PROGRESS_EVERY_S = 0.1
_MEMORY_VARIABLE = "SEKISO_ENGINE_MEMORY_MIB"
#: Address space, not memory in use: generous, and yet no runaway takes the machine down.
_MEMORY_MIB = 24 << 10


class _Output:
    """Standard output as the protocol uses it; a progress that nobody cancels: this process is ended."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints must not get between the messages
        self._sent_at = 0.0

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message."""
        rest = memoryview(json.dumps(message).encode() + b"\n")
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def step(self, name: str, *, total: int | None = None) -> None:
        """Tell of a new step."""
        self._sent_at = 0.0
        self.send({"step": name, "total": total})

    def advance(self, done: int) -> None:
        """Tell how far the step is, not too often."""
        now = time.monotonic()
        if now - self._sent_at >= _PROGRESS_EVERY_S:
            self._sent_at = now
            self.send({"done": done})

    def canceled(self) -> bool:
        """Never canceled."""
        return False


def _end_with_caller() -> None:
    """End this process and its group as soon as standard input ends."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    limit_mib = _MEMORY_MIB
    with contextlib.suppress(ValueError):
        limit_mib = int(os.environ.get(_MEMORY_VARIABLE, ""))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if limit_mib > 0:
        wanted = limit_mib << 20
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _read_job() -> JobOf[Any]:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            sys.exit(0)
        line += piece
    request = json.loads(line)
    kinds = {kind.__name__: kind for kind in RESULTS}
    return msgspec.convert(request["fields"], kinds[request["job"]])


def _error(error: SekisoError) -> dict[str, Any]:
    return {"error": {**error.to_dict(), "text": error.render()}}


def _no_space(error: OSError, job: JobOf[Any]) -> SekisoError | None:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    folder = Path(str(getattr(job, "out", "/"))).parent
    return NoSpaceError(path=folder, needed_bytes="More", free_bytes=shutil.disk_usage(folder).free)


def main() -> None:
    """Do the job that standard input names."""
    os.umask(0o077)
    _bound()
    output = _Output()
    job = _read_job()
    _end_with_caller()
    try:
        output.send({"result": msgspec.to_builtins(do_job(job, output))})
    except SekisoError as exc:
        output.send(_error(exc))
    except OSError as exc:
        known = _no_space(exc, job)
        if known is None:
            raise
        output.send(_error(known))
    except MemoryError:
        # The traceback would hold on to what there is no room for.
        sys.stderr.write("There is not enough memory for it.\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
