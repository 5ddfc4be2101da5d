"""Client of the libwim worker: apply, capture, export, verify, decompress.

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
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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

Compression = Literal["none", "xpress", "lzx", "lzx20", "solid"]

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What libwim said while it worked.

    Attributes:
        warnings: its warnings, one line each: things it left out or could not set.
        version: its version, such as `1.13.6`.
    """

    warnings: tuple[str, ...]
    version: str


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
        result: dict[str, Any] = {}
        for message in self._talk(operation, arguments, progress):
            result = message.get("result", result)
        lines = self._tail(_WARNINGS_BYTES).splitlines()
        marked = (line.partition("[WARNING]") for line in lines)
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

    def _tail(self, length: int = _TAIL_BYTES) -> str:
        """Return the end of what libwim wrote to its standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - length))
        return self._errors.read().decode(errors="replace").strip()


def _rebuild(error: Mapping[str, Any], operation: str, tail: str) -> SekisoError:
    kind = _ERRORS.get(error["code"], ToolFailedError)
    params: dict[str, Any] = dict(error["params"])
    if kind is ToolFailedError:
        params.setdefault("command", f"libwim {operation}")
        params.setdefault("tool", "libwim")
        params["reason"] = "\n".join(t for t in (params.get("reason", ""), tail) if t)
    return kind(**params)


def _run(operation: str, arguments: Mapping[str, Any], progress: Progress) -> Outcome:
    with Worker() as worker:
        result = worker.call(operation, arguments, progress)
    return Outcome(tuple(result.get("warnings", ())), result.get("version", ""))


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(p.absolute()) for p in paths]


@contextlib.contextmanager
def _new_file(path: Path) -> Generator[Path, None, None]:
    """Give a name beside `path` to write to; it becomes `path` when all went well."""
    if path.exists():
        raise AlreadyExistsError(what="The file", name=path, remedy="Choose another name or remove it.")
    temporary = path.absolute().parent / f".{path.name[:64]}.{os.urandom(8).hex()}.part"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def apply_ntfs(
    wim: Path,
    references: Sequence[Path],
    volume_file: Path,
    progress: Progress = NO_PROGRESS,
    *,
    image: int = 1,
) -> Outcome:
    """Write an image to an empty NTFS volume, with all that NTFS keeps; needs no root and no mount.

    Args:
        wim: WIM file with the image.
        references: WIM files that hold blobs which `wim` lacks.
        volume_file: plain file (or device) with the NTFS at offset 0.
        progress: counts bytes of content; asked for cancellation.
        image: number of the image.

    Raises:
        DamagedInputError: a WIM file is damaged.
        NotFoundError: none of the files has some content of the image.
        ToolFailedError: the volume could not be written, is not empty, or is full.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; the volume is half written then.
    """
    arguments = {"wim": str(wim.absolute()), "references": _names(references), "image": image}
    return _run("apply", {**arguments, "target": str(volume_file.absolute()), "ntfs": True}, progress)


def apply_folder(
    wim: Path,
    references: Sequence[Path],
    folder: Path,
    progress: Progress = NO_PROGRESS,
    *,
    image: int = 1,
) -> Outcome:
    """Write an image to an empty folder, with owners, modes, devices and extended attributes (as root).

    Args and Raises as `apply_ntfs`, and:
        AlreadyExistsError: the folder is not empty.
    """
    folder.mkdir(exist_ok=True)
    if any(folder.iterdir()):
        raise AlreadyExistsError(what="Content in", name=folder, remedy="Use an empty folder.")
    arguments = {"wim": str(wim.absolute()), "references": _names(references), "image": image}
    return _run("apply", {**arguments, "target": str(folder.absolute()), "ntfs": False}, progress)


def capture_ntfs(
    volume_file: Path,
    out_wim: Path,
    progress: Progress = NO_PROGRESS,
    *,
    name: str = "image",
    compression: Compression = "none",
) -> Outcome:
    """Capture a whole NTFS volume into a new WIM file.

    The caller has checked that the volume is clean: libwim captures a dirty one without a word.

    Args:
        volume_file: plain file (or device) with the NTFS at offset 0; only read.
        out_wim: the file to make.
        progress: counts bytes of content; asked for cancellation.
        name: name of the image.
        compression: how to compress.

    Raises:
        AlreadyExistsError: `out_wim` exists.
        ToolFailedError: the volume cannot be read.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; nothing is left.
    """
    return _capture(volume_file, out_wim, progress, name=name, compression=compression, ntfs=True)


def capture_folder(
    folder: Path,
    out_wim: Path,
    progress: Progress = NO_PROGRESS,
    *,
    name: str = "image",
    compression: Compression = "none",
) -> Outcome:
    """Capture a Linux folder, with owners, modes, devices and extended attributes, into a new WIM file.

    Args and Raises as `capture_ntfs`, and:
        UnsupportedInputError: a file name is not UTF-8, which libwim cannot capture.
    """
    _refuse_raw_names(folder)
    return _capture(folder, out_wim, progress, name=name, compression=compression, ntfs=False)


def _capture(
    source: Path, out_wim: Path, progress: Progress, *, name: str, compression: Compression, ntfs: bool
) -> Outcome:
    with _new_file(out_wim) as temporary:
        arguments = {"source": str(source.absolute()), "out": str(temporary), "name": name, "ntfs": ntfs}
        return _run("capture", {**arguments, "compression": compression}, progress)


def _refuse_raw_names(folder: Path) -> None:
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            try:
                name.decode()
            except UnicodeDecodeError:
                raise UnsupportedInputError(
                    path=os.fsdecode(os.path.join(parent, name)),  # noqa: PTH118 (bytes)
                    reason="Its name is not UTF-8, which libwim cannot capture from a folder.",
                    remedy="Rename it, or import the file system image instead of the folder.",
                ) from None


def export(
    src: Path,
    dst: Path,
    compression: Compression = "none",
    progress: Progress = NO_PROGRESS,
    *,
    references: Sequence[Path] = (),
) -> Outcome:
    """Write a WIM file again with another compression: same images, XML properties and blobs.

    Args:
        src: the file to read.
        dst: the file to make.
        compression: how to compress: `xpress` and `lzx20` (fast LZX) for the wire, `solid` (LZMS) is small.
        progress: counts bytes of content; asked for cancellation.
        references: WIM files with blobs that `src` lacks; they are taken into `dst`.

    Raises:
        AlreadyExistsError: `dst` exists.
        DamagedInputError: `src` is damaged.
        NotFoundError: some content of an image is in none of the files.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled; nothing is left.
    """
    with _new_file(dst) as temporary:
        arguments = {"wim": str(src.absolute()), "references": _names(references), "out": str(temporary)}
        return _run("export", {**arguments, "compression": compression}, progress)


def verify(wim: Path, progress: Progress = NO_PROGRESS, *, references: Sequence[Path] = ()) -> Outcome:
    """Let libwim read every image and every blob of a WIM file and check every hash.

    Raises:
        DamagedInputError: something is damaged.
        NotFoundError: some content of an image is in none of the files.
        ToolMissingError: libwim is not installed.
        CanceledError: canceled.
    """
    return _run("verify", {"wim": str(wim.absolute()), "references": _names(references)}, progress)


def version() -> str:
    """Return the version of libwim.

    Raises:
        ToolMissingError: libwim is not installed.
    """
    return _run("version", {}, NO_PROGRESS).version
