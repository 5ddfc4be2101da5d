"""What the readers of disk formats share: a disk is runs of data, zeros and pieces of a parent."""

from __future__ import annotations

import enum
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sekiso.disks.blocks import ByteRange
from sekiso.errors import DamagedInputError


class Where(enum.Enum):
    """Where the bytes of a run come from."""

    FILE = "file"
    ZERO = "zero"
    PARENT = "parent"


class Run(NamedTuple):
    """Consecutive bytes of a disk that come from one place.

    Attributes:
        where: which place.
        offset: offset in the file, for `Where.FILE`.
        length: bytes, at least 1.
    """

    where: Where
    offset: int
    length: int


class SourceFile:
    """A disk file opened for reading: every read is checked against its length."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.lseek(self.fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes.

        Raises:
            DamagedInputError: the file ends before.
        """
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise DamagedInputError(
                path=str(self.path),
                offset=offset,
                reason="The file ends before a structure that it announces.",
            )
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self.fd, length, offset)
            if not part:
                raise DamagedInputError(
                    path=str(self.path), offset=offset, reason="The file became shorter while it was read."
                )
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class DiskBlocks(ABC):
    """The content of a disk file, whatever its format: a `BlockReader` that must be closed.

    Attributes:
        path: the disk file.
        parent: the disk below a differencing disk or overlay, opened too; None for a disk of its own.
    """

    path: Path
    parent: DiskBlocks | None = None

    @property
    def name(self) -> str:
        """Path of the disk file."""
        return str(self.path)

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Virtual size of the disk."""

    @property
    @abstractmethod
    def logical_sector_bytes(self) -> int:
        """Sector size that the guest sees."""

    @abstractmethod
    def locate(self, offset: int, limit: int) -> Run:
        """Return the run that begins at `offset`, at most `limit` bytes long (it may end early)."""

    @abstractmethod
    def _fetch(self, offset: int, length: int) -> bytes:
        """Return bytes of the file."""

    @abstractmethod
    def top_ranges(self) -> Iterator[ByteRange]:
        """Yield, in order, what this file itself holds (its parent's content left out)."""

    @abstractmethod
    def close(self) -> None:
        """Close the file and those of its parents."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk; see `BlockReader.read`.

        Raises:
            DamagedInputError: the disk file is damaged there.
        """
        if offset < 0 or length < 0:
            raise ValueError(f"negative offset or length: {offset}, {length}")
        length = min(length, self.size_bytes - offset)
        parts: list[bytes] = []
        while length > 0:
            run = self.locate(offset, length)
            parts.append(self._run_bytes(run, offset))
            offset += run.length
            length -= run.length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _run_bytes(self, run: Run, offset: int) -> bytes:
        if run.where is Where.FILE:
            return self._fetch(run.offset, run.length)
        if run.where is Where.PARENT and self.parent is not None:
            below = self.parent.read(offset, run.length)
            return below + bytes(run.length - len(below))
        return bytes(run.length)

    def data_ranges(self) -> tuple[ByteRange, ...]:
        """Return the ranges that may hold something else than zeros, in this file or below it."""
        own = merge_ranges(self.top_ranges())
        if self.parent is None:
            return own
        below = (
            ByteRange(r.start, min(r.end, self.size_bytes) - r.start)
            for r in self.parent.data_ranges()
            if r.start < self.size_bytes
        )
        return merge_ranges(sorted((*own, *below), key=lambda r: r.start))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def merge_ranges(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Join ranges that touch or overlap; they come sorted by start."""
    out: list[ByteRange] = []
    for item in ranges:
        if out and item.start <= out[-1].end:
            last = out[-1]
            out[-1] = ByteRange(last.start, max(last.end, item.end) - last.start)
        elif item.length > 0:
            out.append(item)
    return tuple(out)


class RawBlocks(DiskBlocks):
    """A raw disk file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SourceFile(path)

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._file.size_bytes

    @property
    def logical_sector_bytes(self) -> int:
        """A raw file does not say; 512 is what machines give it."""
        return 512

    def locate(self, offset: int, limit: int) -> Run:
        """A raw disk is one run."""
        return Run(Where.FILE, offset, limit)

    def _fetch(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def top_ranges(self) -> Iterator[ByteRange]:
        """Yield the parts of the file that the file system holds blocks for."""
        at = 0
        while at < self.size_bytes:
            try:
                start = os.lseek(self._file.fd, at, os.SEEK_DATA)
            except OSError:
                return  # ENXIO: only a hole is left
            at = os.lseek(self._file.fd, start, os.SEEK_HOLE)
            yield ByteRange(start, at - start)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
