"""A file that is not complete yet, with a journal of what of it is durable.

`PartFile` is the small interface that uploads (server) and downloads (client) build on. Two implementations
pass one contract suite: `DiskPartFile`, and `MemoryPartFile`, which can also lose its power.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

#: Journals longer than this are written anew with one entry when they are opened.
_COMPACT_ENTRIES = 4096
_LARGEST_JOURNAL_BYTES = 256 << 20

Entry = dict[str, Any]


class PartBusyError(Exception):
    """Somebody else holds this part file."""


class PartExistsError(Exception):
    """Something has the final name already."""


class PartFile(Protocol):
    """Data and journal of one file under way. The first journal entry says what the file is to be."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The journal as it was when the file was opened, plus what was recorded since."""
        ...

    def size_bytes(self) -> int:
        """How much data there is; 0 if none."""
        ...

    def write_at(self, offset_bytes: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write pieces one after another; they are not durable yet."""
        ...

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Read some data; short at the end."""
        ...

    def cut(self, size_bytes: int) -> None:
        """Drop the data from here on."""
        ...

    def sync(self) -> None:
        """Make the data durable."""
        ...

    def record(self, entry: Entry) -> None:
        """Add an entry to the journal and make it durable."""
        ...

    def compact(self, entries: Sequence[Entry]) -> None:
        """Replace a long journal by entries that say the same; do nothing while it is short."""
        ...

    def publish(self) -> None:
        """Give the data its final name, durably, in one step; do nothing if that has happened already.

        Raises:
            PartExistsError: something else has the name.
        """
        ...

    def discard(self) -> None:
        """Remove the data and the journal."""
        ...

    def close(self) -> None:
        """Let go of it; nothing is removed."""
        ...


class DiskPartFile:
    """A part file in the final file's folder, with a journal wherever the caller wants it.

    The journal is text: per line the CRC-32 of the rest of the line (8 hexadecimal digits), a space, and one
    JSON object. A torn last line is what a crash leaves; it is dropped when the journal is opened.
    """

    def __init__(self, data: Path, journal: Path, final: Path) -> None:
        """Open or make the part file.

        Args:
            data: the data while it is incomplete; in the same folder as `final`.
            journal: the journal.
            final: the final name.

        Raises:
            PartBusyError: another process or session holds it.
            OSError: a folder is missing, or the like.
        """
        self._data, self._journal, self._final = data, journal, final
        self._fd = -1
        is_new = not journal.exists()
        self._journal_fd = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take()
            self.entries: list[Entry] = self._read_journal()
            if is_new:
                _sync_folder(journal.parent)
        except BaseException:
            os.close(self._journal_fd)
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._journal_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PartBusyError(self._journal.name) from exc
        # The one who held it may have removed or replaced it between our two calls.
        if not self._journal.exists() or self._journal.stat().st_ino != os.fstat(self._journal_fd).st_ino:
            raise PartBusyError(self._journal.name)

    def _read_journal(self) -> list[Entry]:
        if os.fstat(self._journal_fd).st_size > _LARGEST_JOURNAL_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self._journal))
        with open(self._journal_fd, "rb", closefd=False) as stream:
            raw = stream.read()
        entries, good_bytes = parse_journal(raw)
        os.ftruncate(self._journal_fd, good_bytes)
        os.lseek(self._journal_fd, good_bytes, os.SEEK_SET)
        return entries

    def _open_data(self) -> int:
        if self._fd < 0:
            is_new = not self._data.exists()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._data, flags, 0o600)
            if is_new:
                _sync_folder(self._data.parent)
        return self._fd

    def size_bytes(self) -> int:
        """See `PartFile`."""
        return self._data.stat().st_size if self._data.exists() else 0

    def write_at(self, offset_bytes: int, pieces: Sequence[bytes | memoryview]) -> None:
        """See `PartFile`."""
        fd, first = self._open_data(), offset_bytes
        for piece in pieces:
            view = memoryview(piece)
            while view:
                count = os.pwrite(fd, view, offset_bytes)
                offset_bytes += count
                view = view[count:]
        # Linux begins to write the range back at once and drops nothing that is still dirty: the next `sync`
        # finds little left to do (measured: half the time).
        os.posix_fadvise(fd, first, offset_bytes - first, os.POSIX_FADV_DONTNEED)

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        """See `PartFile`."""
        return os.pread(self._open_data(), size_bytes, offset_bytes)

    def cut(self, size_bytes: int) -> None:
        """See `PartFile`."""
        os.ftruncate(self._open_data(), size_bytes)

    def sync(self) -> None:
        """See `PartFile`."""
        os.fdatasync(self._open_data())

    def record(self, entry: Entry) -> None:
        """See `PartFile`."""
        _write_all(self._journal_fd, journal_line(entry))
        os.fdatasync(self._journal_fd)
        self.entries.append(entry)

    def compact(self, entries: Sequence[Entry]) -> None:
        """Replace a long journal by entries that say the same, in one step."""
        if len(self.entries) < _COMPACT_ENTRIES:
            return
        fresh = self._journal.with_name(self._journal.name + ".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(fd, b"".join(journal_line(entry) for entry in entries))
        os.fsync(fd)
        fresh.replace(self._journal)
        _sync_folder(self._journal.parent)
        os.close(self._journal_fd)
        self._journal_fd, self.entries = fd, list(entries)

    def restart(self, head: Entry) -> None:
        """Forget data and journal and begin anew with this first entry."""
        os.ftruncate(self._journal_fd, 0)
        os.lseek(self._journal_fd, 0, os.SEEK_SET)
        self.entries.clear()
        os.ftruncate(self._open_data(), 0)
        self.record(head)

    def publish(self) -> None:
        """See `PartFile`."""
        if not self._data.exists():
            # A crash came between the two steps below, or the answer to the first call was lost.
            if any(entry.get("state") == "publishing" for entry in self.entries) and self._final.exists():
                _sync_folder(self._final.parent)
                return
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._data))
        _give_name(self._data, self._final)
        _sync_folder(self._final.parent)

    def discard(self) -> None:
        """See `PartFile`."""
        self._data.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)
        _sync_folder(self._journal.parent)
        self.close()

    def close(self) -> None:
        """See `PartFile`."""
        for fd in (self._fd, self._journal_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._journal_fd = -1


class MemoryPartFile:
    """A part file in memory that tells apart what is durable: `lose_power` forgets the rest."""

    def __init__(self, published: dict[str, bytes], final: str) -> None:
        """Make an empty one; `published` receives the data under the name `final`."""
        self._published, self._final = published, final
        self._data, self._durable = bytearray(), bytearray()
        self.entries: list[Entry] = []
        self.is_published = False

    def lose_power(self) -> None:
        """Forget what is not durable."""
        self._data = bytearray(self._durable)

    def size_bytes(self) -> int:
        """See `PartFile`."""
        return len(self._data)

    def write_at(self, offset_bytes: int, pieces: Sequence[bytes | memoryview]) -> None:
        """See `PartFile`."""
        for piece in pieces:
            missing = offset_bytes - len(self._data)
            if missing > 0:
                self._data.extend(bytes(missing))
            self._data[offset_bytes : offset_bytes + len(piece)] = piece
            offset_bytes += len(piece)

    def read_at(self, offset_bytes: int, size_bytes: int) -> bytes:
        """See `PartFile`."""
        return bytes(self._data[offset_bytes : offset_bytes + size_bytes])

    def cut(self, size_bytes: int) -> None:
        """See `PartFile`."""
        del self._data[size_bytes:]

    def sync(self) -> None:
        """See `PartFile`."""
        self._durable = bytearray(self._data)

    def record(self, entry: Entry) -> None:
        """See `PartFile`."""
        self.entries.append(entry)

    def compact(self, entries: Sequence[Entry]) -> None:
        """Replace a long journal by entries that say the same."""
        if len(self.entries) >= _COMPACT_ENTRIES:
            self.entries = list(entries)

    def publish(self) -> None:
        """See `PartFile`."""
        if self.is_published:
            return
        if self._final in self._published:
            raise PartExistsError(self._final)
        self._published[self._final] = bytes(self._data)
        self.is_published = True

    def discard(self) -> None:
        """See `PartFile`."""
        self._data, self._durable, self.entries = bytearray(), bytearray(), []

    def close(self) -> None:
        """See `PartFile`."""


def journal_line(entry: Entry) -> bytes:
    """Return one line of a journal."""
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def parse_journal(raw: bytes) -> tuple[list[Entry], int]:
    """Read a journal up to the first line that is torn; return its entries and how many bytes are good."""
    entries: list[Entry] = []
    good_bytes = 0
    for line in raw.splitlines(keepends=True):
        entry = _parse_line(line)
        if entry is None:
            break
        entries.append(entry)
        good_bytes += len(line)
    return entries, good_bytes


def _parse_line(line: bytes) -> Entry | None:
    check, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text[:-1]):
        return None
    try:
        entry: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _give_name(data: Path, final: Path) -> None:
    """Name the file without ever replacing another one; `link` is the one call that promises that."""
    try:
        os.link(data, final, follow_symlinks=False)
    except FileExistsError as exc:
        if not final.is_symlink() and final.samefile(data):
            data.unlink()
            return
        raise PartExistsError(final.name) from exc
    except OSError as exc:
        # File systems without hard links (FAT, some network shares).
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(final):
            raise PartExistsError(final.name) from exc
        data.rename(final)
        return
    data.unlink()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse fsync on a folder
            os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
