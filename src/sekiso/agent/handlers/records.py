"""Small JSON records that stand beside what was made; replaced atomically, durable when written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from sekiso.disks.fileio import sync_folder

_LARGEST_BYTES = 16 << 20
_REMOVAL_ATTEMPTS = 30
_REMOVAL_PAUSE_S = 0.1
_T = TypeVar("_T")


def read_record(path: Path, kind: type[_T]) -> _T | None:
    """Read a record; None if there is none, or none that this version can read.

    One that cannot be read is treated as absent: what it stands for is then looked at again or made anew.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_BYTES)
        return msgspec.json.decode(data, type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_record(path: Path, value: object) -> None:
    """Write a record; after a power cut it is the old or the new one, never half."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor, for its mode
        stream.write(msgspec.json.format(msgspec.json.encode(value), indent=1))
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
    with contextlib.suppress(OSError):  # some network file systems refuse it on a folder
        sync_folder(path.parent)


def put_in_place(source: Path, target: Path) -> None:
    """Give a finished file its name: durable content first, then one atomic rename.

    Raises:
        FileNotFoundError: the source is not there.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    source.replace(target)
    for folder in {source.parent, target.parent}:
        with contextlib.suppress(OSError):
            sync_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; one that is not there is no fault.

    What a killed agent had started ends by itself, but may write for a moment still: removal is tried again.
    """
    for attempt in range(_REMOVAL_ATTEMPTS):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == _REMOVAL_ATTEMPTS - 1:
                raise
        else:
            return
        time.sleep(_REMOVAL_PAUSE_S)
