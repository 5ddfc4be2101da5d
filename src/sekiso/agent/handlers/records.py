"""Small JSON records that stand beside what was made; replaced atomically, durable when written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from sekiso.disks.fileio import sync_folder

_LARGEST_BYTES = 16 << 20
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
