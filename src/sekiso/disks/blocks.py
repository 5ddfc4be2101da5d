"""Random access to the bytes of a disk or of a part of it, whatever file format they lie in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class BlockReader(Protocol):
    """Read-only bytes of a disk, a partition or a volume. Holes read as zeros."""

    @property
    def name(self) -> str:
        """What error messages call it: the path of the file, with the partition if it is one."""
        ...

    @property
    def size_bytes(self) -> int:
        """Length in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end.

        Raises:
            ValueError: a negative offset or length.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A half-open range of bytes of a disk or volume."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """First byte after the range."""
        return self.start + self.length


class FileBlocks:
    """The bytes of a raw file, or a slice of it. Use as a context manager or call `close`."""

    def __init__(self, path: Path, *, offset: int = 0, size_bytes: int | None = None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._path = path
        self.offset = offset
        end = os.lseek(self._fd, 0, os.SEEK_END)
        self._size = max(0, end - offset) if size_bytes is None else size_bytes

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self._path)

    @property
    def path(self) -> Path:
        """The raw file itself, for readers that can copy from it without passing the bytes through Python."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """Length of the slice."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the slice; see `BlockReader.read`."""
        if offset < 0 or length < 0:
            raise ValueError(f"negative offset or length: {offset}, {length}")
        length = min(length, self._size - offset)
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self._fd, length, self.offset + offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class SliceBlocks:
    """A part of another reader, such as one partition of a disk."""

    def __init__(self, whole: BlockReader, offset: int, size_bytes: int, *, label: str = "") -> None:
        self.whole = whole
        self.offset = offset
        self._size = size_bytes
        self._label = label

    @property
    def name(self) -> str:
        """Name of the whole, with the part's own label."""
        return f"{self.whole.name} ({self._label})" if self._label else self.whole.name

    @property
    def size_bytes(self) -> int:
        """Length of the part."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the part; see `BlockReader.read`."""
        if offset < 0 or length < 0:
            raise ValueError(f"negative offset or length: {offset}, {length}")
        return self.whole.read(self.offset + offset, max(0, min(length, self._size - offset)))


def intersect(ranges: Sequence[ByteRange], part: ByteRange) -> tuple[ByteRange, ...]:
    """Return what of `ranges` lies in `part`, relative to the start of `part`."""
    out: list[ByteRange] = []
    for item in ranges:
        start, end = max(item.start, part.start), min(item.end, part.end)
        if start < end:
            out.append(ByteRange(start - part.start, end - start))
    return tuple(out)
