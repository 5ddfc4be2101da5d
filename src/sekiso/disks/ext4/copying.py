"""Copying content to its blocks: read into one large buffer, written where it runs out of neighbours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sekiso.disks.ext4.content import BlobPlace, BlobStream, Sources, cut_off
from sekiso.disks.ext4.encode import Extent
from sekiso.errors import DamagedInputError

_BUFFER_BYTES = 4 << 20


class Copier:
    """Writes content in the order of its blocks, so that the target is written from front to back.

    Neighbouring small files are gathered and written in one call; the rest of a last block is zeroed.
    """

    def __init__(self, fd: int, base: int, block_size: int, sources: Sources) -> None:
        self._fd = fd
        self._base = base
        self._block_size = block_size
        self._sources = sources
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._start = 0
        self._filled = 0

    def copy(self, blob: BlobPlace | BlobStream, extents: Sequence[Extent]) -> None:
        """Copy the parts of a blob that have blocks (the others are holes).

        Raises:
            DamagedInputError: the content is shorter than it was said to be.
        """
        if isinstance(blob, BlobStream):
            self._copy_stream(blob, extents)
            return
        fd = self._sources.fd(blob.path)
        size = self._block_size
        for extent in extents:
            first = extent.logical * size
            length = min(extent.length * size, blob.size_bytes - first)
            self._copy_range(fd, blob, first, length, extent.physical * size)
            self._pad(extent.length * size - length)

    def write(self, block: int, data: bytes | bytearray) -> None:
        """Write one or more whole blocks."""
        self._seek(block * self._block_size)
        self._put(data)

    def flush(self) -> None:
        """Write what is gathered."""
        pwrite_all(self._fd, self._view[: self._filled], self._base + self._start)
        self._start += self._filled
        self._filled = 0

    def _copy_range(self, fd: int, blob: BlobPlace, first: int, length: int, target: int) -> None:
        self._seek(target)
        offset = blob.offset + first
        while length > 0:
            if self._filled == _BUFFER_BYTES:
                self.flush()
            end = min(_BUFFER_BYTES, self._filled + length)
            got = os.preadv(fd, [self._view[self._filled : end]], offset)
            if got <= 0:
                raise cut_off(blob.path, offset)
            self._filled += got
            offset += got
            length -= got

    def _copy_stream(self, blob: BlobStream, extents: Sequence[Extent]) -> None:
        size = self._block_size
        reader = _StreamReader(blob)
        for extent in extents:
            first = extent.logical * size
            length = min(extent.length * size, blob.size_bytes - first)
            self._seek(extent.physical * size)
            for piece in reader.read(first, length):
                self._put(piece)
            self._pad(extent.length * size - length)

    def _seek(self, target: int) -> None:
        if target != self._start + self._filled:
            self.flush()
            self._start = target

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            if self._filled == _BUFFER_BYTES:
                self.flush()
            part = rest[: _BUFFER_BYTES - self._filled]
            self._view[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rest = rest[len(part) :]

    def _pad(self, length: int) -> None:
        if length:
            self._put(bytes(length))


class _StreamReader:
    """Reads rising ranges of content that comes in pieces."""

    def __init__(self, blob: BlobStream) -> None:
        self._pieces = blob.open()
        self._piece = memoryview(b"")
        self._at = 0

    def read(self, first: int, length: int) -> Iterator[memoryview]:
        while length > 0:
            if not self._piece:
                self._piece = memoryview(next(self._pieces, b""))
                if not self._piece:
                    raise DamagedInputError(
                        path="content", offset=self._at, reason="The content is shorter than it should be."
                    )
            skip = min(len(self._piece), first - self._at)
            self._piece, self._at = self._piece[skip:], self._at + skip
            part = self._piece[:length] if self._at == first else self._piece[:0]
            if part:
                yield part
                self._piece, self._at = self._piece[len(part) :], self._at + len(part)
                first, length = first + len(part), length - len(part)


def pwrite_all(fd: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of `data` at `offset`."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, offset)
        rest, offset = rest[done:], offset + done
