"""Upload sessions: a durable state machine over part files.

A byte is acknowledged only when data and journal are durable, in this order; the file gets its final name
only when its size and every hash are as agreed. States: open → publishing → closed; a canceled or expired
session is gone.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sekiso.transfer.manifest import Manifest
from sekiso.transfer.packets import ContentRange, Hresult, PacketError
from sekiso.transfer.partial import (
    DiskPartFile,
    Entry,
    MemoryPartFile,
    PartBusyError,
    PartExistsError,
    PartFile,
    parse_journal,
)
from sekiso.transfer.receiving import BadLeafError, PartLostError, Receiver

#: How long a session that nobody touches is kept. Source: [MC-BUP] 3.2.2.1, 14 days.
IDLE_S = 14 * 86400.0


class SessionState(enum.StrEnum):
    """How far an upload is."""

    OPEN = "open"
    PUBLISHING = "publishing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionHead:
    """What an upload session is for; never changes.

    Attributes:
        id: the session, a GUID in braces.
        grant_id: the grant that it was created under.
        url: path of its URL; the session answers to no other.
        principal: the agent that created it; the session answers to no other.
        final: final name of the file.
        created_s: when, seconds since the epoch.
    """

    id: str
    grant_id: str
    url: str
    principal: str
    final: Path
    created_s: float

    def to_entry(self) -> Entry:
        """Return the first entry of the session's journal."""
        return {
            "id": self.id,
            "grant_id": self.grant_id,
            "url": self.url,
            "principal": self.principal,
            "final": str(self.final),
            "created_s": self.created_s,
        }

    @classmethod
    def from_entry(cls, entry: Entry) -> SessionHead:
        """Read what `to_entry` wrote.

        Raises:
            KeyError: it is something else.
        """
        return cls(
            id=entry["id"],
            grant_id=entry["grant_id"],
            url=entry["url"],
            principal=entry["principal"],
            final=Path(entry["final"]),
            created_s=entry["created_s"],
        )


class SessionStore(Protocol):
    """Where sessions live. Primitives only; the rules are in `UploadSession`."""

    def create(self, head: SessionHead) -> PartFile:
        """Make the part file of a new session, its head recorded durably."""
        ...

    def open(self, session_id: str) -> PartFile | None:
        """Open a session's part file; None if there is no such session.

        Raises:
            PartBusyError: another process holds it.
        """
        ...

    def peek(self, session_id: str) -> SessionHead | None:
        """Return a session's head without taking hold of it; None if there is no such session."""
        ...

    def ids(self) -> list[str]:
        """Return the ids of all sessions, closed ones too."""
        ...

    def touched_s(self, session_id: str) -> float:
        """Return when something was last recorded, seconds since the epoch; 0 if unknown."""
        ...


class DiskSessionStore:
    """Sessions as journals in one folder; the data lies beside each final name: naming it is one step."""

    def __init__(self, folder: Path) -> None:
        """Keep the journals in `folder`, which is made if missing."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, head: SessionHead) -> PartFile:
        """See `SessionStore`."""
        part = self._part(head.id, head.final)
        part.record(head.to_entry())
        part.write_at(0, [b""])
        return part

    def open(self, session_id: str) -> PartFile | None:
        """See `SessionStore`."""
        journal = self._journal(session_id)
        if not journal.exists():
            return None
        head = _read_head(journal)
        if head is None or head.id != session_id:
            # A crash before the first entry was durable: nobody has heard of this session.
            journal.unlink(missing_ok=True)
            return None
        return self._part(session_id, head.final)

    def peek(self, session_id: str) -> SessionHead | None:
        """See `SessionStore`."""
        journal = self._journal(session_id)
        return _read_head(journal) if journal.exists() else None

    def _part(self, session_id: str, final: Path) -> DiskPartFile:
        return DiskPartFile(
            final.parent / f".sekiso-{_bare(session_id)}.part", self._journal(session_id), final
        )

    def _journal(self, session_id: str) -> Path:
        return self._folder / f"{_bare(session_id)}.journal"

    def ids(self) -> list[str]:
        """See `SessionStore`."""
        return sorted(f"{{{path.stem.upper()}}}" for path in self._folder.glob("*.journal"))

    def touched_s(self, session_id: str) -> float:
        """See `SessionStore`."""
        journal = self._journal(session_id)
        return journal.stat().st_mtime if journal.exists() else 0.0


def _bare(session_id: str) -> str:
    return session_id.strip("{}").lower()


def _read_head(journal: Path) -> SessionHead | None:
    with journal.open("rb") as stream:
        entries, _ = parse_journal(stream.readline(1 << 16))
    try:
        return SessionHead.from_entry(entries[0])
    except (IndexError, KeyError, TypeError):
        return None


class MemorySessionStore:
    """Sessions in memory, for tests and for trying things; `lose_power` forgets what is not durable."""

    def __init__(self) -> None:
        """Begin without sessions."""
        self.published: dict[str, bytes] = {}
        self._parts: dict[str, MemoryPartFile] = {}
        self._touched: dict[str, float] = {}

    def lose_power(self) -> None:
        """Forget everything that is not durable."""
        self._parts = {key: part for key, part in self._parts.items() if part.entries}
        for part in self._parts.values():
            part.lose_power()

    def incomplete(self) -> int:
        """Return how many sessions hold data that is not published."""
        return sum(bool(part.entries) and not part.is_published for part in self._parts.values())

    def create(self, head: SessionHead) -> PartFile:
        """See `SessionStore`."""
        part = MemoryPartFile(self.published, str(head.final))
        part.record(head.to_entry())
        self._parts[head.id] = part
        self._touched[head.id] = time.time()
        return part

    def open(self, session_id: str) -> PartFile | None:
        """See `SessionStore`."""
        part = self._parts.get(session_id)
        return part if part is not None and part.entries else None

    def peek(self, session_id: str) -> SessionHead | None:
        """See `SessionStore`."""
        part = self.open(session_id)
        return None if part is None else SessionHead.from_entry(part.entries[0])

    def ids(self) -> list[str]:
        """See `SessionStore`."""
        return sorted(key for key, part in self._parts.items() if part.entries)

    def touched_s(self, session_id: str) -> float:
        """See `SessionStore`."""
        return self._touched.get(session_id, 0.0)


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do with the body of a fragment.

    Attributes:
        skip_bytes: how much of its beginning is there already.
        take_bytes: how much of the rest to write; 0 = nothing.
        status: HTTP status if nothing goes wrong.
    """

    skip_bytes: int
    take_bytes: int
    status: int


def place(span: ContentRange, next_offset: int) -> Placement:
    """Decide about a fragment by its range alone.

    Source: [MC-BUP] 3.2.5.2.6 and Microsoft's reference of the Fragment packet (overlaps): a gap and what is
    there already are answered by 416 with the offset wanted, a straddling fragment gives its tail. The last
    fragment again, after its answer was lost, is no error: everything is there.
    """
    if span.first > next_offset:
        return Placement(0, 0, 416)
    if span.last < next_offset:
        is_complete = span.last + 1 == next_offset == span.total_bytes
        return Placement(0, 0, 200 if is_complete else 416)
    skip = next_offset - span.first
    return Placement(skip, span.length_bytes - skip, 200)


class UploadSession:
    """One upload. All calls block; one thread at a time (see `Sessions.hold`)."""

    def __init__(self, part: PartFile, expected: Manifest | None) -> None:
        """Go on with what the part file's journal says.

        Raises:
            PartLostError: its data is gone.
        """
        self._part = part
        self.head = SessionHead.from_entry(part.entries[0])
        self.state, self.total_bytes = _replay_state(part)
        self._expected = expected
        self._receiver = None if self.state is not SessionState.OPEN else Receiver(part, expected)
        self.touched_s = time.monotonic()

    @property
    def next_offset(self) -> int:
        """Offset of the first byte that is still wanted."""
        return self._receiver.next_offset if self._receiver else self.total_bytes or 0

    def expect(self, manifest: Manifest | None) -> None:
        """Learn what the file must hold, as soon as that is agreed."""
        if manifest is not None and self._expected is None:
            self._expected = manifest
            if self._receiver:
                self._receiver.expect(manifest)

    def begin(self, span: ContentRange) -> Placement:
        """Take up a fragment.

        Raises:
            PacketError: its total size is not that of the file.
        """
        agreed = self._expected.size_bytes if self._expected else self.total_bytes
        if agreed is not None and span.total_bytes != agreed:
            raise PacketError("the size of the file is not the one that was agreed")
        if self.total_bytes is None:
            self._part.record({"total": span.total_bytes})
            self.total_bytes = span.total_bytes
        return place(span, self.next_offset)

    def feed(self, pieces: list[bytes]) -> None:
        """Write the next bytes.

        Raises:
            BadLeafError: the content is not what was promised; the session has gone back.
        """
        self._open_receiver().feed(pieces)

    def checkpoint(self) -> int:
        """Make what came durable and return the offset to acknowledge."""
        return self._receiver.checkpoint() if self._receiver else self.next_offset

    def close(self) -> None:
        """Verify the file and give it its final name; do nothing if that has happened already.

        Raises:
            PacketError: something is missing or wrong, or the name is taken.
        """
        if self.state is SessionState.CLOSED:
            return
        if self.state is SessionState.OPEN:
            self._verify()
            self._part.record({"state": SessionState.PUBLISHING.value})
            self.state = SessionState.PUBLISHING
        try:
            self._part.publish()
        except PartExistsError as exc:
            raise PacketError("the name is taken", status=403, hresult=Hresult.ACCESS_DENIED) from exc
        self._part.record({"state": SessionState.CLOSED.value})
        self.state = SessionState.CLOSED
        self._receiver = None

    def _verify(self) -> None:
        receiver, expected = self._open_receiver(), self._expected
        if expected is None:
            raise PacketError("the hash is not agreed yet", status=503, hresult=Hresult.BUSY)
        if receiver.next_offset != expected.size_bytes:
            raise PacketError("the upload is not complete")
        wrong = receiver.first_difference(expected)
        if wrong is not None:
            raise BadLeafError(wrong, is_final=True)
        if self._part.size_bytes() > expected.size_bytes:
            self._part.cut(expected.size_bytes)
        receiver.checkpoint()

    def discard(self) -> None:
        """Remove the session and what it received, not what it published."""
        self._part.discard()

    def release(self) -> None:
        """Let go of the files."""
        self._part.close()

    def _open_receiver(self) -> Receiver:
        if self._receiver is None:
            raise PacketError("the session is closed")
        return self._receiver


def _replay_state(part: PartFile) -> tuple[SessionState, int | None]:
    state, total = SessionState.OPEN, None
    for entry in part.entries:
        state = SessionState(entry.get("state", state))
        total = entry.get("total", total)
    return state, total


class SessionUnknownError(PacketError):
    """There is no such session, or it is somebody else's: the client has to create a new one."""

    def __init__(self) -> None:
        super().__init__("no such session", status=500, hresult=Hresult.SESSION_NOT_FOUND)


class SessionBusyError(PacketError):
    """Another request of the session is still at work."""

    def __init__(self) -> None:
        super().__init__("the session is busy", status=503, hresult=Hresult.BUSY)


def _opened(store: SessionStore, session_id: str) -> PartFile | None:
    try:
        return store.open(session_id)
    except PartBusyError as exc:
        raise SessionBusyError from exc


def _check_owner(session: UploadSession, url: str, principal: str) -> None:
    if (session.head.url, session.head.principal) != (url, principal):
        raise SessionUnknownError


class Sessions:
    """All upload sessions of one server; thread-safe.

    Open sessions stay open between requests, so that a leaf is not hashed again for each fragment.
    """

    def __init__(
        self, store: SessionStore, *, clock: Callable[[], float] = time.time, idle_s: float = IDLE_S
    ) -> None:
        """Serve the sessions in `store`.

        Args:
            store: where they live.
            clock: seconds since the epoch.
            idle_s: sessions untouched for so long expire.
        """
        self._store, self._clock, self._idle_s = store, clock, idle_s
        self._guard = threading.Lock()
        self._held: set[str] = set()
        self._open: dict[str, UploadSession] = {}
        self._by_grant: dict[str, SessionHead] | None = None
        self._most_open = 64

    def create(self, head: SessionHead, expected: Manifest | None) -> str:
        """Create a session, or return the one that this grant has already if its content is agreed.

        A client that lost the answer, or its own state, then goes on where it was: its first fragment is
        answered with the offset wanted. Without an agreed content nothing proves that it sends the same file.

        Raises:
            PacketError: the name is taken, or the former session is still at work.
        """
        former = self._of_grant(head.grant_id)
        if former is not None:
            is_same = (former.url, former.principal) == (head.url, head.principal)
            if expected is not None and is_same and former.id in self._store.ids():
                return former.id
            self.discard(former.id)
        if os.path.lexists(head.final):
            raise PacketError("the name is taken", status=403, hresult=Hresult.ACCESS_DENIED)
        with self._guard:
            self._store.create(head).close()
            if self._by_grant is not None:
                self._by_grant[head.grant_id] = head
        return head.id

    def _of_grant(self, grant_id: str) -> SessionHead | None:
        with self._guard:
            if self._by_grant is None:
                heads = [self._store.peek(session_id) for session_id in self._store.ids()]
                self._by_grant = {head.grant_id: head for head in heads if head is not None}
            return self._by_grant.get(grant_id)

    def hold(self, session_id: str, *, url: str, principal: str, expected: Manifest | None) -> UploadSession:
        """Take a session for one request; give it back with `let_go`.

        Raises:
            SessionUnknownError: there is none, or it is not this principal's or not at this URL.
            SessionBusyError: another request has it.
        """
        with self._guard:
            if session_id in self._held:
                raise SessionBusyError
            self._held.add(session_id)
        try:
            session = self._open.get(session_id) or self._load(session_id, expected)
            _check_owner(session, url, principal)
            session.expect(expected)
        except BaseException:
            self._held.discard(session_id)
            raise
        return session

    def let_go(self, session: UploadSession) -> None:
        """Give a session back; those untouched longest are closed when too many are open."""
        session.touched_s = time.monotonic()
        with self._guard:
            self._held.discard(session.head.id)
            idle = sorted((s.touched_s, key) for key, s in self._open.items() if key not in self._held)
            for _, key in idle[: max(0, len(self._open) - self._most_open)]:
                self._open.pop(key).release()

    def _load(self, session_id: str, expected: Manifest | None) -> UploadSession:
        part = _opened(self._store, session_id)
        if part is None:
            raise SessionUnknownError
        try:
            session = UploadSession(part, expected)
        except PartLostError as exc:
            part.discard()
            raise SessionUnknownError from exc
        except BaseException:
            part.close()
            raise
        self._open[session_id] = session
        return session

    def discard(self, session_id: str) -> None:
        """Remove a session and what it received; nothing happens if there is none.

        Raises:
            SessionBusyError: a request is at work on it.
        """
        with self._guard:
            if session_id in self._held:
                raise SessionBusyError
            self.forget(session_id)

    def forget(self, session_id: str) -> None:
        """Remove a session that the caller holds."""
        if self._by_grant is not None:
            self._by_grant = {k: head for k, head in self._by_grant.items() if head.id != session_id}
        session = self._open.pop(session_id, None)
        if session is not None:
            session.discard()
            return
        part = _opened(self._store, session_id)
        if part is not None:
            part.discard()

    def discard_of_grant(self, grant_id: str) -> None:
        """Remove the session of a grant, if there is one.

        Raises:
            SessionBusyError: a request is at work on it.
        """
        head = self._of_grant(grant_id)
        if head is not None:
            self.discard(head.id)

    def expire(self, is_granted: Callable[[str], bool] = lambda _: True) -> int:
        """Remove sessions that nobody has touched for long or whose grant is gone; return how many.

        Args:
            is_granted: whether a grant still exists, by its id.
        """
        removed = 0
        for session_id in self._store.ids():
            with contextlib.suppress(SessionBusyError):
                if self._is_over(session_id, is_granted):
                    self.discard(session_id)
                    removed += 1
        return removed

    def _is_over(self, session_id: str, is_granted: Callable[[str], bool]) -> bool:
        if self._clock() - self._store.touched_s(session_id) > self._idle_s:
            return True
        head = self._store.peek(session_id)
        return head is not None and not is_granted(head.grant_id)

    def close(self) -> None:
        """Let go of all files; nothing is removed."""
        with self._guard:
            for session in self._open.values():
                session.release()
            self._open.clear()
