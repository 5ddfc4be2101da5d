"""Changes 200 files of a mounted volume, writes down which, and judges what a capture found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sekiso.store.layer_file import LayerFile

from .bench_tree import Content, regular_files, spread

CHANGED_FILES = 200
_SILENT = 30  # edits that keep size and time
_APPENDED = 40
_ADDED = 20
_DELETED = 20
_NUMBER = 1 << 41
_LEAST_BYTES = 64


@dataclass(frozen=True)
class Changes:
    """What was really done, by path in the volume."""

    silent: tuple[str, ...]
    edited: tuple[str, ...]
    added: tuple[str, ...]
    deleted: tuple[str, ...]


def change_files(mount: Path, os_layer: Path) -> Changes:
    """Change files below a mount point: 30 silently, 90 rewritten, 40 appended to, 20 added, 20 deleted."""
    with LayerFile(os_layer) as layer:
        files = [
            (path, node)
            for path, node in regular_files(layer.tree())
            if layer.wim.locate_blob(node.data).size_bytes >= _LEAST_BYTES
        ]
        chosen = [path for path, _ in spread(files, CHANGED_FILES)]
    # Every fifth, then every fifth from the second on, ...: each kind is spread over the whole volume.
    mixed = [path for start in range(5) for path in chosen[start::5]]
    silent, rest = mixed[:_SILENT], mixed[_SILENT:]
    deleted, rest = rest[:_DELETED], rest[_DELETED:]
    beside, edited = rest[:_ADDED], rest[_ADDED:]
    added = [f"{path}.added" for path in beside]
    content = Content()
    for path in silent:
        _edit_silently(_under(mount, path))
    for number, path in enumerate((*edited, *added)):
        new = b"".join(content.pieces(_NUMBER + number, 2000 + 997 * (number % 40)))
        mode = "ab" if number < _APPENDED else "wb"
        with _under(mount, path).open(mode) as stream:
            stream.write(new)
    for path in deleted:
        _under(mount, path).unlink()
    return Changes(tuple(silent), tuple(edited), tuple(added), tuple(deleted))


def check(changes: Changes, found_changed: Sequence[str], found_deleted: Sequence[str]) -> str:
    """Compare what a capture found with what was done; folders that hold changed entries may be named too.

    Raises:
        SystemExit: something was missed, or is false.
    """
    wanted = {*changes.silent, *changes.edited, *changes.added}
    folders = {path.rpartition("/")[0] or "/" for path in (*wanted, *changes.deleted)}
    missed = sorted((wanted - set(found_changed)) | (set(changes.deleted) - set(found_deleted)))
    false = sorted((set(found_changed) - wanted - folders) | (set(found_deleted) - set(changes.deleted)))
    if missed or false:
        raise SystemExit(f"the capture is wrong: missed {missed[:10]}, false {false[:10]}")
    total = len(wanted) + len(changes.deleted)
    silent = f"{len(changes.silent)} of them with the same size and time"
    return f"{total} changes found, {silent}; none missed, none false"


def _edit_silently(path: Path) -> None:
    """Change one byte in the middle of a file and put its times back."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)
        stream.seek(before.st_size // 2)
        stream.write(bytes([byte[0] ^ 0xFF]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise SystemExit(f"the time of {path.name} could not be kept")


def _under(mount: Path, path: str) -> Path:
    return mount / path.lstrip("/")
