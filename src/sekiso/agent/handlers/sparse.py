"""Large files of disks: hashed by what they hold, and copied without their holes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from sekiso.disks.fileio import refuse_full, sync_folder, write_all
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

#: Unit in which zeros are told from content, so that where a file system keeps holes does not matter.
GRAIN_BYTES = 1 << 20
_ZEROS = bytes(GRAIN_BYTES)
_CONTEXT = "sekiso 2026-11 sparse file content v1"
#: ioctl that makes a copy share the blocks of its source. Source: Linux, include/uapi/linux/fs.h.
_FICLONE = 0x40049409
_NO_CLONE = (
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.EBADF,
)


def allocated_bytes(path: Path) -> int:
    """Return the room that a file takes up."""
    return path.stat().st_blocks * 512


def content_root(path: Path, *, progress: Progress = NO_PROGRESS) -> str:
    """Return one hash over size and content of a file; only what is allocated is read.

    BLAKE3 in key-derivation mode over the size and, for each unit of 1 MiB that is not all zeros, its offset
    (both 8 bytes, little-endian) and its bytes.

    Raises:
        OSError: it cannot be read.
        CanceledError: the work was canceled.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        state = os.fstat(fd)
        hasher = blake3(state.st_size.to_bytes(8, "little"), derive_key_context=_CONTEXT)
        progress.step("Examining the disk file", total=state.st_blocks * 512)
        done = 0
        for at in _grains(fd, state.st_size):
            check_canceled(progress)
            data = os.pread(fd, GRAIN_BYTES, at)
            if data != _ZEROS[: len(data)]:
                hasher.update(at.to_bytes(8, "little"))
                hasher.update(data)
            done += len(data)
            progress.advance(done)
        return hasher.hexdigest()
    finally:
        os.close(fd)


def copy_disk_file(source: Path, target: Path, *, progress: Progress = NO_PROGRESS) -> None:
    """Copy a file: its blocks are shared where the file system can, else holes stay holes.

    Args:
        source: the file.
        target: its copy; replaced if it exists; durable when this returns.
        progress: gets bytes; asked for cancellation.

    Raises:
        NoSpaceError: it does not fit.
        CanceledError: the work was canceled; the target is left as it is.
    """
    with contextlib.ExitStack() as stack:
        reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, reading)
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, writing)
        progress.step("Copying the disk", total=os.fstat(reading).st_blocks * 512)
        if not _clone(reading, writing):
            refuse_full(target, os.fstat(reading).st_blocks * 512)
            _copy_grains(reading, writing, progress)
        os.fsync(writing)
    with contextlib.suppress(OSError):
        sync_folder(target.parent)


def _clone(reading: int, writing: int) -> bool:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    return True


def _copy_grains(reading: int, writing: int, progress: Progress) -> None:
    size, done = os.fstat(reading).st_size, 0
    for at in _grains(reading, size):
        check_canceled(progress)
        data = os.pread(reading, GRAIN_BYTES, at)
        if data != _ZEROS[: len(data)]:
            write_all(writing, data, at)
        done += len(data)
        progress.advance(done)
    os.ftruncate(writing, size)


def _grains(fd: int, size_bytes: int) -> Iterator[int]:
    """Yield the offsets of the grains that may hold something."""
    at = 0
    while at < size_bytes:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: only a hole is left
        end = os.lseek(fd, start, os.SEEK_HOLE)
        at = start - start % GRAIN_BYTES
        while at < end:
            yield at
            at += GRAIN_BYTES
