"""The one door to external programs: list arguments, time limits, typed failures, debug log."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sekiso.errors import CanceledError, ToolFailedError, ToolMissingError, ToolTimeoutError
from sekiso.model.progress import NO_PROGRESS, Progress

log = logging.getLogger(__name__)

#: Debian package of each program that Sekiso runs; anything else names itself.
PACKAGES: Mapping[str, str] = {
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "grub-mkimage": "grub-common",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.ntfs": "ntfs-3g",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "qemu-system-x86_64": "qemu-system-x86",
    "sfdisk": "fdisk",
    "tune2fs": "e2fsprogs",
}
_TAIL_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Completed:
    """What an external program printed.

    Attributes:
        stdout: its standard output, raw.
        stderr: its standard error, raw.
        status: its exit status.
    """

    stdout: bytes
    stderr: bytes
    status: int

    @property
    def text(self) -> str:
        """Standard output as text, bytes that are not UTF-8 replaced."""
        return self.stdout.decode(errors="replace")


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    timeout_s: float = 600.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ok_statuses: Sequence[int] = (0,),
    progress: Progress = NO_PROGRESS,
) -> Completed:
    """Run a program to its end.

    Args:
        argv: the program and its arguments; never a shell line.
        stdin: what it reads; nothing when left out.
        timeout_s: the program is killed after this many seconds.
        env: variables added to this process's own (`LC_ALL=C` always).
        cwd: its working directory.
        ok_statuses: exit statuses that are no failure.
        progress: asked whether the work was canceled while the program runs.

    Raises:
        ToolMissingError: the program is not installed.
        ToolFailedError: it ended with another status.
        ToolTimeoutError: it ran too long.
        CanceledError: the work was canceled.
    """
    # Input comes from a file: `communicate` stops writing to a pipe once its timeout has passed.
    with tempfile.TemporaryFile() if stdin is not None else contextlib.nullcontext() as source:
        if source is not None:
            source.write(stdin or b"")
            source.seek(0)
        proc = spawn(argv, env=env, cwd=cwd, stdin=source or subprocess.DEVNULL)
    try:
        out, err = _communicate(proc, argv, timeout_s, progress)
    finally:
        if proc.poll() is None:
            kill(proc)
    if proc.returncode not in ok_statuses:
        reason = (err or out).decode(errors="replace").strip()[-_TAIL_CHARS:]
        raise ToolFailedError(
            tool=_name(argv), command=command_line(argv), status=proc.returncode, reason=reason
        )
    return Completed(out, err, proc.returncode)


def _communicate(
    proc: subprocess.Popen[bytes], argv: Sequence[str | Path], timeout_s: float, progress: Progress
) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return proc.communicate(timeout=min(0.5, max(0.01, deadline - time.monotonic())))
        if progress.canceled():
            raise CanceledError
        if time.monotonic() >= deadline:
            raise ToolTimeoutError(tool=_name(argv), command=command_line(argv), timeout_s=timeout_s)


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    detached: bool = False,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program and return at once; the caller owns it.

    Args:
        argv: the program and its arguments.
        env: variables added to this process's own.
        cwd: its working directory.
        stdin: as in `subprocess.Popen`; nothing by default.
        stdout: as in `subprocess.Popen`; a pipe by default.
        stderr: as in `subprocess.Popen`; a pipe by default.
        detached: start it in a session of its own, so that it outlives this process.
        pass_fds: file descriptors that the program inherits.

    Raises:
        ToolMissingError: the program is not installed.
    """
    log.debug("run: %s", command_line(argv))
    try:
        return subprocess.Popen(
            [str(a) for a in argv],
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=detached,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as exc:
        if cwd is not None and not cwd.is_dir():
            raise
        raise ToolMissingError(tool=_name(argv), package=PACKAGES.get(_name(argv), _name(argv))) from exc


def kill(proc: subprocess.Popen[bytes], *, grace_s: float = 2.0) -> None:
    """End a program: politely first, then for sure; its pipes are closed."""
    if proc.poll() is None:
        proc.send_signal(signal.SIGTERM)
        try:
            proc.wait(grace_s)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
    for pipe in (proc.stdin, proc.stdout, proc.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def command_line(argv: Sequence[str | Path]) -> str:
    """Return the command as a line that can be pasted into a shell."""
    return shlex.join(str(a) for a in argv)


def _name(argv: Sequence[str | Path]) -> str:
    return Path(str(argv[0])).name
