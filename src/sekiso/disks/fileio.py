"""Writing files so that a crash leaves either the old state or the new one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

from sekiso.errors import AlreadyExistsError, NoSpaceError


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view = view[done:]
        offset += done


def refuse_existing(path: Path) -> None:
    """Refuse to overwrite.

    Raises:
        AlreadyExistsError: something has this path.
    """
    if path.exists() or path.is_symlink():
        raise AlreadyExistsError(
            what="The disk file", name=str(path), remedy="Choose another name or remove the file."
        )


def refuse_full(path: Path, needed_bytes: int) -> None:
    """Refuse to begin what cannot end.

    Raises:
        NoSpaceError: the file system of `path` has less room than `needed_bytes`.
    """
    state = os.statvfs(path.parent)
    free = state.f_bavail * state.f_frsize
    if free < needed_bytes:
        raise NoSpaceError(path=str(path.parent), needed_bytes=needed_bytes, free_bytes=free)


@contextlib.contextmanager
def new_file(path: Path) -> Generator[tuple[int, Path]]:
    """Give a new file beside `path` for writing; when all went well it is on the disk under that name.

    Yields:
        Its descriptor and its temporary path.

    Raises:
        AlreadyExistsError: `path` exists, then or at the end.
    """
    refuse_existing(path)
    temp = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            yield fd, temp
            os.fsync(fd)
        finally:
            os.close(fd)
        _publish(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def _publish(temp: Path, path: Path) -> None:
    """Give the file its name; a hard link, unlike a rename, fails if the name was taken meanwhile."""
    try:
        os.link(temp, path)
    except FileExistsError:
        refuse_existing(path)
        raise
    except OSError:  # a file system without hard links
        refuse_existing(path)
        temp.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
