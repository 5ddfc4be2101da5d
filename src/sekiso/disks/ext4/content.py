"""Where the filler gets content from: blobs by hash, lying in files or produced in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sekiso.errors import DamagedInputError, NotFoundError
from sekiso.wim.file import WimFile

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Content that lies uncompressed in a file.

    Attributes:
        path: the file (a WIM, mostly).
        offset: where in it the content starts, in bytes.
        size_bytes: length of the content.
    """

    path: Path
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobStream:
    """Content that must be produced, such as a compressed blob.

    Attributes:
        size_bytes: length of the content.
        open: starts anew at the beginning and yields it in pieces.
    """

    size_bytes: int
    open: Callable[[], Iterator[bytes]]


class BlobProvider(Protocol):
    """Knows where the content of a tree lies."""

    def locate(self, sha1: bytes) -> BlobPlace | BlobStream:
        """Return where the content with this SHA-1 lies.

        Raises:
            NotFoundError: nobody has it.
        """
        ...


class WimBlobs:
    """The content of open WIM files, the first that has a blob gives it; compressed blobs as streams."""

    def __init__(self, files: Sequence[WimFile]) -> None:
        self._files = files

    def locate(self, sha1: bytes) -> BlobPlace | BlobStream:
        """Return where a blob lies; see `BlobProvider.locate`."""
        for wim in self._files:
            if sha1 in wim.blobs:
                found = wim.locate_blob(sha1)
                if found.compressed:
                    return BlobStream(found.size_bytes, partial(wim.blob_chunks, sha1))
                return BlobPlace(found.path, found.offset, found.size_bytes)
        names = ", ".join(str(wim.path) for wim in self._files) or "no file"
        raise NotFoundError(
            what="The content", name=sha1.hex(), remedy=f"Use layer files that hold it; searched: {names}."
        )


class Sources:
    """Open source files, each opened once. Use as a context manager or call `close`."""

    def __init__(self) -> None:
        self._fds: dict[Path, int] = {}

    def fd(self, path: Path) -> int:
        """Return a file descriptor of the file."""
        fd = self._fds.get(path)
        if fd is None:
            fd = self._fds[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return fd

    def pieces(self, blob: BlobPlace | BlobStream, piece_bytes: int = _PIECE_BYTES) -> Iterator[bytes]:
        """Yield the content of a blob, all pieces but the last `piece_bytes` long if it lies in a file."""
        if isinstance(blob, BlobStream):
            yield from blob.open()
            return
        fd, offset, left = self.fd(blob.path), blob.offset, blob.size_bytes
        while left > 0:
            data = os.pread(fd, min(left, piece_bytes), offset)
            if not data:
                raise cut_off(blob.path, offset)
            yield data
            offset += len(data)
            left -= len(data)

    def read_all(self, blob: BlobPlace | BlobStream) -> bytes:
        """Return the whole content of a (small) blob."""
        return b"".join(self.pieces(blob))

    def close(self) -> None:
        """Close all files; harmless when repeated."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cut_off(path: Path | str, offset: int) -> DamagedInputError:
    """Return the error for a file that ends before its content does."""
    return DamagedInputError(path=path, offset=offset, reason="The file ends before its content does.")
