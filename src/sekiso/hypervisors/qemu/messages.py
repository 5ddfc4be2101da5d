"""What guests wrote to their serial ports: files that QEMU appends to, read by offset."""

from __future__ import annotations

import os
from pathlib import Path

from sekiso.hypervisors.facts import GuestMessages, GuestPort

MAX_READ_BYTES = 1 << 20
#: A guest may write without end; a log longer than this is emptied once its end has been read.
MAX_LOG_BYTES = 32 << 20


def read(folder: Path, port: GuestPort, since: int) -> GuestMessages:
    """Return what came after an offset; what was dropped before it is skipped."""
    path = folder / f"{port.value}.log"
    dropped = _dropped_bytes(folder, port)
    start = max(0, since - dropped)
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(MAX_READ_BYTES)
            size_bytes = os.fstat(stream.fileno()).st_size
    except FileNotFoundError:
        return GuestMessages("", dropped)
    if start > size_bytes:
        return GuestMessages("", dropped + size_bytes)
    end = start + len(data)
    if end >= MAX_LOG_BYTES and end >= size_bytes:
        _drop(folder, port, path, size_bytes)
    return GuestMessages(data.decode(errors="replace"), dropped + end)


def _dropped_bytes(folder: Path, port: GuestPort) -> int:
    try:
        return int((folder / f"{port.value}.base").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _drop(folder: Path, port: GuestPort, path: Path, size_bytes: int) -> None:
    # QEMU appends, so it writes on at the new end. The count goes first: after a crash between the two,
    # readers find an offset in the future and start at what there is.
    base = folder / f"{port.value}.base"
    fresh = base.with_suffix(".new")
    fresh.write_text(str(_dropped_bytes(folder, port) + size_bytes))
    fresh.replace(base)
    os.truncate(path, 0)
