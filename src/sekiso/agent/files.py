"""Small private files of appliance and agent, written so that the old one or the new one is there, whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sekiso.disks.fileio import sync_folder


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read; after a crash the old file or the new one is there.

    Args:
        path: the file; its folder is made if absent, readable by the owner only.
        content: what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def load_or_create(path: Path, size_bytes: int = 32) -> bytes:
    """Return a random secret that is kept in a file; made at the first call."""
    if not path.exists():
        write_private(path, secrets.token_bytes(size_bytes))
    return path.read_bytes()
