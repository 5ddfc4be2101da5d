"""Runs a job in a process of its own and brings progress, result and errors back."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from sekiso import process
from sekiso.compositing.jobs.errors import EngineCrashedError, error_from_dict
from sekiso.compositing.jobs.model import RESULTS, JobOf, R
from sekiso.compositing.jobs.workplace import Workplace
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-P", "-m", "sekiso.compositing.jobs")
_POLL_S = 0.2
_GRACE_S = 2.0
_READ_BYTES = 1 << 20
_TAIL_BYTES = 4000
#: A result is never this long; what is comes from a process that has gone astray.
_MESSAGE_LIMIT_BYTES = 256 << 20


def run_job(job: JobOf[R], *, progress: Progress = NO_PROGRESS) -> R:
    """Do engine work in a process of its own.

    The process ends when this one does, however that happens. Files appear under their names only when
    they are complete; whatever else the work has written is removed.

    Args:
        job: what to do.
        progress: gets steps and amounts; asked for cancellation, which ends the process at once.

    Returns:
        The summary that belongs to the job.

    Raises:
        AlreadyExistsError: the file to be made exists.
        NotFoundError: its folder does not exist.
        EngineCrashedError: the process ended before its result.
        CanceledError: the work was canceled; nothing is left behind.
        SekisoError: what the work itself raises, of the same class.
    """
    check_canceled(progress)
    with ExitStack() as places:
        out = getattr(job, "out", None)
        if out is None:
            return _result(job, None, progress)
        place = places.enter_context(Workplace(Path(out)))
        summary = _result(replace(job, out=str(place.out)), place, progress)  # type: ignore[type-var]
        place.deliver()
        return replace(summary, path=out)  # type: ignore[type-var]


def _result(job: JobOf[R], place: Workplace | None, progress: Progress) -> R:
    with _Engine(job, place) as engine:
        found = engine.result(progress)
    try:
        return msgspec.convert(found, RESULTS[type(job)])  # type: ignore[return-value]
    except msgspec.ValidationError as exc:
        raise EngineCrashedError(work=work_name(job), reason=f"Its result makes no sense: {exc}") from exc


def work_name(job: JobOf[Any]) -> str:
    """Return what a job does, as a noun."""
    return _NAMES[type(job).__name__]


_NAMES = {
    "ImportJob": "import",
    "PackJob": "copying of the disk",
    "ComposeJob": "composition",
    "PlanJob": "planning",
    "CaptureJob": "capture",
    "SquashJob": "joining of the layers",
    "ListFilesJob": "listing",
    "DiffLayersJob": "comparison",
    "ConflictsJob": "search for conflicts",
    "VerifyLayerJob": "verification",
}


class _Engine:
    """The process of one job, and all that it starts."""

    def __init__(self, job: JobOf[Any], place: Workplace | None) -> None:
        self._job = job
        self._buffer = bytearray()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end)
        try:
            self._proc: Any = process.spawn(
                _COMMAND,
                stdin=subprocess.PIPE,
                stderr=self._errors,
                detached=True,
                pass_fds=() if place is None else (place.fd,),
            )
        except BaseException:
            self._errors.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        _end_group(self._proc)
        self._errors.close()

    def result(self, progress: Progress) -> object:
        """Give the job to the process and wait for its result.

        Raises:
            SekisoError: as `run_job`.
        """
        request = {"job": type(self._job).__name__, "fields": msgspec.to_builtins(self._job)}
        with contextlib.suppress(BrokenPipeError):
            self._proc.stdin.write(json.dumps(request).encode() + b"\n")
            self._proc.stdin.flush()  # it stays open: its end ends the process
        for message in self._messages(progress):
            if "error" in message:
                raise error_from_dict(message["error"], work=work_name(self._job))
            if "result" in message:
                return message["result"]
            if "step" in message:
                progress.step(message["step"], total=message.get("total"))
            elif "done" in message:
                progress.advance(message["done"])
        raise EngineCrashedError(work=work_name(self._job), reason=self._last_words())

    def _messages(self, progress: Progress) -> Iterator[dict[str, Any]]:
        fd = self._proc.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while True:
                ready = selector.select(_POLL_S)
                check_canceled(progress)
                if not ready:
                    continue
                piece = os.read(fd, _READ_BYTES)
                if not piece:
                    return
                yield from self._split(piece)

    def _split(self, piece: bytes) -> Iterator[dict[str, Any]]:
        self._buffer += piece
        if b"\n" not in piece:
            if len(self._buffer) > _MESSAGE_LIMIT_BYTES:
                raise EngineCrashedError(work=work_name(self._job), reason="Its result has no end.")
            return
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for line in lines:
            yield self._message(bytes(line))

    def _message(self, line: bytes) -> dict[str, Any]:
        try:
            message: object = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise EngineCrashedError(work=work_name(self._job), reason="What it said makes no sense.")
        return message  # pyright: ignore[reportUnknownVariableType]

    def _last_words(self) -> str:
        """Return how the process ended, and the end of what it wrote to its standard error."""
        status = _wait(self._proc, _GRACE_S)
        size = os.fstat(self._errors.fileno()).st_size
        raw = os.pread(self._errors.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        said = raw.decode(errors="replace").strip()
        log.error("engine process ended: %s: %s", _ending(status), said)
        return f"{_ending(status)} {said}".strip()


def _wait(proc: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Return how a process ended, a signal as a negative number, or None; it keeps its process id."""
    deadline = time.monotonic() + timeout_s
    while proc.returncode is None:
        ended = os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return proc.returncode


def _ending(status: int | None) -> str:
    if status is None:
        return "Its process stopped talking."
    if status >= 0:
        return f"Its process ended with status {status}."
    with contextlib.suppress(ValueError):
        return f"Its process was ended by the signal {signal.Signals(-status).name}."
    return f"Its process was ended by the signal {-status}."


def _end_group(proc: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started; harmless if it has ended.

    The process is not waited for until its group is gone, so that its number means no other one.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _wait(proc, 0) is None or number is signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(proc.pid, number)
        if number is signal.SIGTERM:
            _wait(proc, _GRACE_S)
    proc.wait()
    for pipe in (proc.stdin, proc.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
