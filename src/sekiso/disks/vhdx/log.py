"""The log of a VHDX file: find the entries in force and what they write.

Hyper-V (and QEMU) write changes of the metadata to the log first. After a crash the log must be replayed
before anything else of the file is believed.

Source: [MS-VHDX] 2.3 (log), 2.3.3 (replay).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sekiso.disks.vhdx.layout import MAX_FILE_BYTES, NIL, Header, ReadAt, checksum_of
from sekiso.errors import DamagedInputError

SECTOR_BYTES = 4096
_ENTRY = struct.Struct("<4sIIIQI4x16sQQ")
_DESCRIPTOR = struct.Struct("<4s4sQQQ")
_FIRST_SECTOR_DESCRIPTORS = (SECTOR_BYTES - 64) // 32
#: Checksums that one file may cost; a log built to be slow is refused.
_MAX_HASHED_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    length: int
    tail: int
    sequence: int
    descriptors: int
    flushed_file_bytes: int
    last_file_bytes: int


@dataclass(frozen=True, slots=True)
class LogWrite:
    """One write that a replay makes.

    Attributes:
        offset: where in the file.
        length: how many bytes.
        data: the 4096 bytes, None for zeros.
    """

    offset: int
    length: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What must be written before the rest of the file is true.

    Attributes:
        writes: in this order.
        file_bytes: the file is at least so long afterwards.
        entries: how many log entries that comes from.
    """

    writes: tuple[LogWrite, ...]
    file_bytes: int
    entries: int


def read_log(
    read: ReadAt, path: str, header: Header, file_bytes: int, *, unused_log_is_empty: bool = False
) -> Replay | None:
    """Return what the log holds for replay, None when it is empty.

    Args:
        read: reads the file.
        path: its name, for messages.
        header: the header in force.
        file_bytes: length of the file.
        unused_log_is_empty: what it means that the header announces entries but none, not even a broken
            one, bears its log id. QEMU changes the header before it writes the first entry, so for its
            files that is an empty log; Hyper-V writes an entry first, so for its files the log is lost.

    Raises:
        DamagedInputError: the log must be replayed but holds no valid sequence of entries, or the file is
            shorter than the log's last entry requires.
    """
    if header.log_id == NIL:
        return None
    log = _Log(read(header.log_offset, header.log_bytes), header, path)
    active = log.active_sequence()
    if not active and unused_log_is_empty and not log.is_used():
        return Replay((), file_bytes, 0)
    if not active:
        raise DamagedInputError(
            path=path,
            offset=header.log_offset,
            reason="The file was not closed cleanly and its log holds no valid entries to replay.",
        )
    head = active[-1]
    if head.last_file_bytes > MAX_FILE_BYTES:
        raise DamagedInputError(
            path=path, offset=header.log_offset, reason="The log asks for a file longer than any disk needs."
        )
    if head.flushed_file_bytes > file_bytes:
        raise DamagedInputError(
            path=path,
            offset=file_bytes,
            reason=f"The file is cut off: its log knows {head.flushed_file_bytes} bytes.",
        )
    writes = tuple(w for entry in active for w in log.writes(entry))
    for write in writes:
        _check_target(write, header, path, max(file_bytes, head.last_file_bytes))
    return Replay(writes, max(file_bytes, head.last_file_bytes), len(active))


def _check_target(write: LogWrite, header: Header, path: str, file_bytes: int) -> None:
    """The log never writes the headers or itself, nor beyond the end it names."""
    end = write.offset + write.length
    in_log = write.offset < header.log_offset + header.log_bytes and end > header.log_offset
    if write.offset < 192 << 10 or in_log or end > file_bytes:
        raise DamagedInputError(
            path=path,
            offset=header.log_offset,
            reason="A log entry writes to a place where the log must not write.",
        )


class _Log:
    def __init__(self, raw: bytes, header: Header, path: str) -> None:
        self._raw = raw
        self._header = header
        self._path = path
        self._hashed = 0
        self._known: dict[int, _Entry | None] = {}

    def is_used(self) -> bool:
        """Whether any sector looks like an entry under the header's log id, valid or not."""
        wanted = self._header.log_id.bytes_le
        return any(
            self._raw[at : at + 4] == b"loge" and self._raw[at + 32 : at + 48] == wanted
            for at in range(0, len(self._raw), SECTOR_BYTES)
        )

    def active_sequence(self) -> list[_Entry]:
        """Return the entries to replay: from the tail that the newest entry names, to that entry."""
        best: list[_Entry] = []
        tail = 0
        while tail < len(self._raw):
            sequence = self._sequence_from(tail)
            if (
                sequence
                and self._covers_tail(sequence)
                and (not best or sequence[-1].sequence > best[-1].sequence)
            ):
                best = sequence
            tail = self._next_tail(tail, sequence)
        if not best:
            return []
        start = next(i for i, e in enumerate(best) if e.at == best[-1].tail)
        return best[start:]

    def _next_tail(self, tail: int, sequence: list[_Entry]) -> int:
        if not sequence:
            return tail + SECTOR_BYTES
        # All entries of a sequence follow each other, so nothing new starts inside; past the wrap, stop.
        return tail + sum(e.length for e in sequence)

    @staticmethod
    def _covers_tail(sequence: list[_Entry]) -> bool:
        return any(e.at == sequence[-1].tail for e in sequence)

    def _sequence_from(self, at: int) -> list[_Entry]:
        found: list[_Entry] = []
        used = 0
        while True:
            entry = self._entry(at)
            if entry is None or used + entry.length > len(self._raw):
                return found
            if found and entry.sequence != found[-1].sequence + 1:
                return found
            found.append(entry)
            used += entry.length
            at = (at + entry.length) % len(self._raw)

    def _entry(self, at: int) -> _Entry | None:
        if at not in self._known:
            self._known[at] = self._parse(at)
        return self._known[at]

    def _slice(self, at: int, length: int) -> bytes:
        """Bytes of the ring, which wraps at its end."""
        part = self._raw[at : at + length]
        return part + self._raw[: length - len(part)]

    def _parse(self, at: int) -> _Entry | None:
        sig, _crc, length, tail, sequence, descriptors, guid, flushed, last = _ENTRY.unpack_from(
            self._raw, at
        )
        size = len(self._raw)
        if sig != b"loge" or guid != self._header.log_id.bytes_le or not sequence:
            return None
        if length % SECTOR_BYTES or tail % SECTOR_BYTES or not 0 < length <= size or tail >= size:
            return None
        if _descriptor_bytes(descriptors) > length:
            return None
        entry = _Entry(at, length, tail, sequence, descriptors, flushed, last)
        if not self._is_whole(entry):
            return None
        self._hashed += length
        if self._hashed > _MAX_HASHED_BYTES:
            raise DamagedInputError(
                path=self._path,
                offset=self._header.log_offset,
                reason="The log is filled with false entries.",
            )
        raw = self._slice(at, length)
        return entry if checksum_of(raw) == int.from_bytes(raw[4:8], "little") else None

    def _is_whole(self, entry: _Entry) -> bool:
        """Check signatures and sequence numbers before the costly checksum."""
        data_at = _descriptor_bytes(entry.descriptors)
        for i in range(entry.descriptors):
            kind, _, second, offset, sequence = self._descriptor(entry, i)
            if sequence != entry.sequence or offset % SECTOR_BYTES:
                return False
            if kind == b"desc":
                if data_at + SECTOR_BYTES > entry.length or not self._data_matches(entry, data_at):
                    return False
                data_at += SECTOR_BYTES
            elif kind != b"zero" or second % SECTOR_BYTES:
                return False
        return True

    def _descriptor(self, entry: _Entry, index: int) -> tuple[bytes, bytes, int, int, int]:
        return _DESCRIPTOR.unpack(self._slice((entry.at + 64 + 32 * index) % len(self._raw), 32))

    def _data_matches(self, entry: _Entry, data_at: int) -> bool:
        sector = self._slice((entry.at + data_at) % len(self._raw), SECTOR_BYTES)
        high, low = int.from_bytes(sector[4:8], "little"), int.from_bytes(sector[-4:], "little")
        return sector[:4] == b"data" and (high << 32 | low) == entry.sequence

    def writes(self, entry: _Entry) -> list[LogWrite]:
        """Return what one entry writes, in its order."""
        out: list[LogWrite] = []
        data_at = _descriptor_bytes(entry.descriptors)
        for i in range(entry.descriptors):
            kind, trailing, second, offset, _ = self._descriptor(entry, i)
            if kind == b"zero":
                out.append(LogWrite(offset, second, None))
                continue
            sector = self._slice((entry.at + data_at) % len(self._raw), SECTOR_BYTES)
            data_at += SECTOR_BYTES
            leading = second.to_bytes(8, "little")
            out.append(LogWrite(offset, SECTOR_BYTES, leading + sector[8:-4] + trailing))
        return out


def _descriptor_bytes(count: int) -> int:
    """Length of an entry's header and descriptors, in whole sectors."""
    return -(-(64 + 32 * count) // SECTOR_BYTES) * SECTOR_BYTES


class Overlay:
    """A file as it will be after the replay, without writing to it."""

    def __init__(self, read: ReadAt, replay: Replay, file_bytes: int) -> None:
        self._read = read
        self._writes = replay.writes
        self._real_bytes = file_bytes
        self.size_bytes = replay.file_bytes
        self._low = min((w.offset for w in replay.writes), default=0)
        self._high = max((w.offset + w.length for w in replay.writes), default=0)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes of the replayed file."""
        end = offset + length
        real = max(0, min(end, self._real_bytes) - offset)
        if end > self.size_bytes:
            return self._read(offset, length)  # raises
        base = (self._read(offset, real) if real else b"") + bytes(length - real)
        if end <= self._low or offset >= self._high:
            return base
        out = bytearray(base)
        for write in self._writes:
            start, stop = max(offset, write.offset), min(end, write.offset + write.length)
            if start < stop:
                part = (
                    bytes(stop - start)
                    if write.data is None
                    else write.data[start - write.offset : stop - write.offset]
                )
                out[start - offset : stop - offset] = part
        return bytes(out)
