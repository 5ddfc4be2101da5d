"""Locks as files, held against other threads and processes; they end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

_POLL_S = 0.2


def try_lock(path: Path) -> int | None:
    """Take the lock of a file, which its holder may remove.

    Returns:
        A descriptor, to be closed to let go; None if somebody else holds it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The one who held it may have removed it between the two calls.
        if path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


@contextmanager
def holding_file(path: Path, *, progress: Progress = NO_PROGRESS) -> Generator[None]:
    """Hold the lock of a file; waits for its turn.

    Raises:
        CanceledError: the work was canceled meanwhile.
    """
    while (fd := try_lock(path)) is None:
        check_canceled(progress)
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(fd)
