"""The appliance's layer files: each once, under its identity, never changed after it is there (TR-5).

`<folder>/<first two digits>/<identity>.wim`, and beside it `<identity>.json`, the file's manifest for
transfers, made once when the file is taken in.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sekiso.errors import DamagedInputError, NotFoundError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import LayerFile
from sekiso.transfer.manifest import Manifest, hash_file
from sekiso.wim.writer import sync_folder

_IDENTITY = re.compile(r"[0-9a-f]{64}")
_PART = ".part"
_ABANDONED_S = 24 * 3600
_FILE_MODE = 0o440


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer file of the store.

    Attributes:
        identity: its identity.
        file_bytes: size of the file.
    """

    identity: str
    file_bytes: int


class LayerStore:
    """Layer files by identity, written once. Safe for threads and for several processes."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made if it is not there.

        Args:
            folder: the folder; nothing else may lie in it.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_parts()

    def adopt(self, path: Path, *, progress: Progress = NO_PROGRESS) -> str:
        """Take a layer file into the store; it is gone from where it was.

        Harmless when repeated with a file of the same layer: the one that is there already stays.

        Args:
            path: the layer file.
            progress: counts bytes hashed; asked for cancellation, after which all is as before.

        Returns:
            Its identity.

        Raises:
            NotFoundError: there is no such file.
            DamagedInputError: the file is damaged.
            UnsupportedInputError: it is no layer.
            CanceledError: the work was canceled.
        """
        with LayerFile(path) as layer:
            identity = layer.manifest.identity
            layer.tree()  # is the one that the identity names
        final = self.path(identity)
        if not final.exists():
            final.parent.mkdir(exist_ok=True, mode=0o700)
            _sync_file(path)
            manifest = hash_file(path, progress=progress)
            if self._put(path, final):
                self._write_manifest(identity, manifest)
            sync_folder(self.folder)
        path.unlink(missing_ok=True)
        return identity

    def path(self, identity: str) -> Path:
        """Return where the file of a layer lies or would lie.

        Raises:
            NotFoundError: the text is no identity.
        """
        if _IDENTITY.fullmatch(identity) is None:
            raise NotFoundError(
                what="The layer",
                name=identity or "(none)",
                remedy="Check the identity: 64 hexadecimal digits.",
            )
        return self.folder / identity[:2] / f"{identity}.wim"

    def exists(self, identity: str) -> bool:
        """Whether the store has a layer."""
        return _IDENTITY.fullmatch(identity) is not None and self.path(identity).is_file()

    def size_bytes(self, identity: str) -> int:
        """Return the size of a layer's file.

        Raises:
            NotFoundError: the store does not have it.
        """
        try:
            return self.path(identity).stat().st_size
        except FileNotFoundError:
            raise self._missing(identity) from None

    def manifest(self, identity: str, *, progress: Progress = NO_PROGRESS) -> Manifest:
        """Return the manifest of a layer's file, for transfers; at once, if nobody took it away.

        Raises:
            NotFoundError: the store does not have the layer.
            CanceledError: the work was canceled.
        """
        size_bytes = self.size_bytes(identity)
        kept = self._read_manifest(identity)
        if kept is not None and kept.size_bytes == size_bytes:
            return kept
        made = hash_file(self.path(identity), progress=progress)
        self._write_manifest(identity, made)
        return made

    def remove(self, identity: str) -> bool:
        """Remove a layer; harmless if it is not there.

        Returns:
            Whether it was there.
        """
        if _IDENTITY.fullmatch(identity) is None:
            return False
        path = self.path(identity)
        was_there = path.exists()
        path.unlink(missing_ok=True)
        self._manifest_path(identity).unlink(missing_ok=True)
        return was_there

    def list(self) -> tuple[StoredLayer, ...]:
        """Return all layers, by identity."""
        found: list[StoredLayer] = []
        for path in self.folder.glob("??/*.wim"):
            if _IDENTITY.fullmatch(path.stem) is None:
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found.append(StoredLayer(path.stem, path.stat().st_size))
        return tuple(sorted(found, key=lambda layer: layer.identity))

    def total_bytes(self) -> int:
        """Return the size of all layer files together."""
        return sum(layer.file_bytes for layer in self.list())

    def _put(self, path: Path, final: Path) -> bool:
        """Give a file its place, unless another one has taken it; return whether it did."""
        try:
            path.chmod(_FILE_MODE)
            done = _link(path, final)
        except OSError as exc:
            if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            done = _copy(path, final.with_name(f".{final.name}.{secrets.token_hex(4)}{_PART}"), final)
        sync_folder(final.parent)
        return done

    def _manifest_path(self, identity: str) -> Path:
        return self.path(identity).with_suffix(".json")

    def _read_manifest(self, identity: str) -> Manifest | None:
        path = self._manifest_path(identity)
        try:
            return Manifest.from_dict(json.loads(path.read_bytes()), path=path.name)
        except (FileNotFoundError, ValueError, RecursionError, DamagedInputError):
            return None

    def _write_manifest(self, identity: str, manifest: Manifest) -> None:
        path = self._manifest_path(identity)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
        with part.open("x", encoding="ascii") as stream:
            json.dump(manifest.to_dict(), stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(_FILE_MODE)
        part.replace(path)

    def _forget_parts(self) -> None:
        """Remove what a process has left that was killed while it copied."""
        for part in self._parts():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _ABANDONED_S:
                    part.unlink()

    def _parts(self) -> Iterator[Path]:
        return self.folder.glob(f"??/.*{_PART}")

    def _missing(self, identity: str) -> NotFoundError:
        return NotFoundError(
            what="The layer",
            name=identity,
            remedy="Import or capture it again: its file is not in the store.",
        )


def _link(path: Path, final: Path) -> bool:
    try:
        os.link(path, final)
    except FileExistsError:
        return False
    return True


def _copy(path: Path, part: Path, final: Path) -> bool:
    """Copy from another file system, or on one without hard links."""
    try:
        shutil.copyfile(path, part)
        part.chmod(_FILE_MODE)
        _sync_file(part)
        taken = final.exists()
        if not taken:
            part.rename(final)
        return not taken
    finally:
        part.unlink(missing_ok=True)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
