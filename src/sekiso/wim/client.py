"""Talking to the libwim worker: one process, one request after the other.

libwim and libntfs-3g are C code under other licences that parse foreign disks. They run in a process of
their own (`sekiso.wim.worker`), which is killed when the work is canceled or its caller ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sekiso import process
from sekiso.errors import (
    AlreadyExistsError,
    CanceledError,
    DamagedInputError,
    NoSpaceError,
    NotFoundError,
    SekisoError,
    ToolFailedError,
    ToolMissingError,
    ToolTimeoutError,
    UnsupportedInputError,
)
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobtable import BlobLocation

_COMMAND = (sys.executable, "-P", "-m", "sekiso.wim.worker")
_POLL_S = 0.2
#: A worker that says nothing for so long hangs.
STALL_S = 1800.0
_READ_BYTES = 1 << 20
_TAIL_BYTES = 4000
_WARNINGS_BYTES = 1 << 20
_ERRORS: Mapping[str, type[SekisoError]] = {
    kind.code: kind
    for kind in (
        AlreadyExistsError,
        DamagedInputError,
        NoSpaceError,
        NotFoundError,
        ToolFailedError,
        ToolMissingError,
        UnsupportedInputError,
    )
}


class Worker:
    """One worker process, started when it is first needed. Use as a context manager, or call `close`."""

    def __init__(self, *, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        self._proc: Any = None
        self._errors: Any = None
        self._buffer = bytearray()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; harmless when repeated."""
        if self._proc is not None:
            process.kill(self._proc, grace_s=0.5)
            self._errors.close()
            self._proc = None
            self._buffer.clear()

    def call(
        self, operation: str, arguments: Mapping[str, Any], progress: Progress = NO_PROGRESS
    ) -> dict[str, Any]:
        """Do one operation to its end and return its result.

        Raises:
            SekisoError: whatever the worker reports; see the functions of this module.
            CanceledError: the work was canceled; the process is gone then.
        """
        self._start()
        said = os.fstat(self._errors.fileno()).st_size
        result: dict[str, Any] = {}
        for message in self._talk(operation, arguments, progress):
            result = message.get("result", result)
        marked = (line.partition("[WARNING]") for line in self._said(said, _WARNINGS_BYTES).splitlines())
        return {**result, "warnings": [text.strip() for _, mark, text in marked if mark]}

    def decompress(self, location: BlobLocation) -> Iterator[bytes]:
        """Yield a compressed resource, decompressed, in pieces of 1 MiB at most; its hash is not checked.

        Raises:
            DamagedInputError: it cannot be decompressed.
            ToolMissingError: libwim is not installed.
        """
        arguments = {
            "path": str(location.path),
            "offset": location.offset,
            "stored_bytes": location.stored_bytes,
            "size_bytes": location.size_bytes,
            "compression": location.compression,
            "chunk_bytes": location.chunk_bytes,
            "solid_bytes": location.solid_bytes,
            "solid_offset": location.solid_offset,
        }
        for message in self._talk("decompress", arguments, NO_PROGRESS):
            if "data" in message:
                yield message["data"]

    def _talk(
        self, operation: str, arguments: Mapping[str, Any], progress: Progress
    ) -> Iterator[dict[str, Any]]:
        """Send one request and yield data and result; whatever breaks off before its end ends the process."""
        self._start()
        done = False
        try:
            line = json.dumps({"operation": operation, "arguments": arguments})
            with contextlib.suppress(BrokenPipeError):
                self._proc.stdin.write(line.encode() + b"\n")
                self._proc.stdin.flush()
            while not done:
                message = self._message(progress)
                if "error" in message:
                    done = True
                    raise _rebuild(message["error"], operation, self._tail())
                if "step" in message:
                    progress.step(message["step"], total=message.get("total"))
                elif "done" in message:
                    progress.advance(message["done"])
                else:
                    done = "result" in message
                    yield message
        finally:
            if not done:
                self.close()

    def _start(self) -> None:
        if self._proc is not None and self._proc.poll() is None:
            return
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        try:
            self._proc = process.spawn(_COMMAND, stdin=subprocess.PIPE, stderr=self._errors)
        except BaseException:
            self._errors.close()
            raise
        os.set_blocking(self._proc.stdout.fileno(), False)

    def _message(self, progress: Progress) -> dict[str, Any]:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(progress)
        message: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        if "data" in message:
            length = message["data"]
            while len(self._buffer) < length:
                self._fill(progress)
            message["data"] = bytes(self._buffer[:length])
            del self._buffer[:length]
        return message

    def _fill(self, progress: Progress) -> None:
        """Read what the worker has to say; wait for it, but not for ever."""
        fd = self._proc.stdout.fileno()
        deadline = time.monotonic() + self._stall_s
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while not selector.select(_POLL_S):
                if progress.canceled():
                    raise CanceledError
                if time.monotonic() > deadline:
                    command = process.command_line(_COMMAND)
                    raise ToolTimeoutError(tool="libwim", command=command, timeout_s=self._stall_s)
        if progress.canceled():
            raise CanceledError
        piece = os.read(fd, _READ_BYTES)
        if not piece:
            status = self._proc.wait()
            raise ToolFailedError(
                tool="libwim",
                command=process.command_line(_COMMAND),
                status=status,
                reason=f"Its process ended. {self._tail()}".strip(),
            )
        self._buffer += piece

    def _tail(self) -> str:
        """Return the end of what libwim wrote to its standard error."""
        return self._said(max(0, os.fstat(self._errors.fileno()).st_size - _TAIL_BYTES), _TAIL_BYTES)

    def _said(self, offset: int, length: int) -> str:
        # The worker shares the position in this file; reading must not move it.
        return os.pread(self._errors.fileno(), length, offset).decode(errors="replace").strip()


def _rebuild(error: Mapping[str, Any], operation: str, tail: str) -> SekisoError:
    kind = _ERRORS.get(error["code"], ToolFailedError)
    params: dict[str, Any] = dict(error["params"])
    if kind is ToolFailedError:
        params.setdefault("command", f"libwim {operation}")
        params.setdefault("tool", "libwim")
        params["reason"] = "\n".join(t for t in (params.get("reason", ""), tail) if t)
    return kind(**params)
