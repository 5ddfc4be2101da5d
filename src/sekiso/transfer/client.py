"""The Linux client of the BITS protocols: both directions, resumed at any byte, content verified."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sekiso.errors import AlreadyExistsError, NoSpaceError, NotFoundError
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.transfer.errors import (
    TransferContentError,
    TransferInterruptedError,
    TransferProtocolError,
)
from sekiso.transfer.manifest import LEAF_BYTES, Manifest
from sekiso.transfer.packets import (
    METHOD,
    Ack,
    CancelSession,
    CloseSession,
    ContentRange,
    CreateSession,
    Fragment,
    Headers,
    Hresult,
    PacketError,
    Request,
    format_request,
    parse_ack,
    parse_content_range,
)
from sekiso.transfer.partial import DiskPartFile, Entry, PartBusyError, PartExistsError
from sekiso.transfer.receiving import BadLeafError, PartLostError, Receiver
from sekiso.transfer.wire import PIECE_BYTES, BrokenError, Patience, RemoteFile, Wire

__all__ = ["Patience", "RemoteFile", "cancel_upload", "download_file", "forget_download", "upload_file"]

#: What is downloaded is made durable this often.
_CHECKPOINT_BYTES = 64 << 20
#: Body of one fragment; the server takes no larger ones.
_FRAGMENT_BYTES = 16 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class _Attempts:
    """Counts failures in a row and waits between them."""

    def __init__(self, local: Path, patience: Patience, progress: Progress) -> None:
        self._local, self._patience, self._progress = local, patience, progress
        self._failures = 0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, reason: str) -> None:
        """Wait before the next attempt.

        Raises:
            TransferInterruptedError: it was the last one.
            CanceledError: the work was canceled.
        """
        self._failures += 1
        if self._failures >= self._patience.attempts:
            raise TransferInterruptedError(path=self._local, attempts=self._failures, reason=reason)
        end = time.monotonic() + self._patience.delay_s(self._failures)
        while (left_s := end - time.monotonic()) > 0:
            check_canceled(self._progress)
            time.sleep(min(0.2, left_s))


def download_file(
    remote: RemoteFile,
    target: Path,
    manifest: Manifest,
    *,
    progress: Progress = NO_PROGRESS,
    patience: Patience | None = None,
) -> None:
    """Fetch a file; it appears under its name only when it is whole and every hash is right.

    What arrived is kept beside the target and used by the next call, also after a crash.

    Args:
        remote: where it is.
        target: its name here; nothing may have that name.
        manifest: what it must hold.
        progress: gets bytes; asked for cancellation.
        patience: how often to try again.

    Raises:
        AlreadyExistsError: something has the target's name, or another process is fetching it.
        NoSpaceError: it does not fit.
        TransferInterruptedError: the connection broke too often.
        TransferRefusedError: the other side refuses.
        TransferCertificateError: the other side's certificate is not accepted.
        TransferContentError: the content is not what was promised.
        CanceledError: the work was canceled; what arrived is kept, see `forget_download`.
    """
    if os.path.lexists(target) and not _part_paths(target)[1].exists():
        raise _taken(target)
    part = _open_part(target)
    try:
        if os.path.lexists(target):
            _finish_publishing(part, target, manifest)
            return
        _Download(Wire(remote, target), target, manifest, part, progress, patience or Patience()).run()
    finally:
        part.close()


def _finish_publishing(part: DiskPartFile, target: Path, manifest: Manifest) -> None:
    """The target is there: right if a former call made it and was killed at the very end."""
    if part.entries[:1] != [_head(manifest)] or {"state": "publishing"} not in part.entries:
        raise _taken(target)
    part.publish()
    part.discard()


def _head(manifest: Manifest) -> Entry:
    return {"root": manifest.root}


def forget_download(target: Path) -> None:
    """Remove what an unfinished download has left behind."""
    for path in _part_paths(target):
        path.unlink(missing_ok=True)


def _part_paths(target: Path) -> tuple[Path, Path]:
    # A hash, because the name itself may be as long as names can be.
    stem = f".sekiso-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}"
    return target.with_name(stem + ".part"), target.with_name(stem + ".journal")


def _open_part(target: Path) -> DiskPartFile:
    data, journal = _part_paths(target)
    try:
        return DiskPartFile(data, journal, target)
    except PartBusyError as exc:
        raise _taken(target) from exc


def _taken(target: Path) -> AlreadyExistsError:
    return AlreadyExistsError(what="The file", name=target, remedy="Choose another name.")


class _Download:
    def __init__(
        self,
        wire: Wire,
        target: Path,
        manifest: Manifest,
        part: DiskPartFile,
        progress: Progress,
        patience: Patience,
    ) -> None:
        self._wire, self._target, self._manifest, self._part = wire, target, manifest, part
        self._progress = progress
        self._attempts = _Attempts(target, patience, progress)
        self._receiver = self._resume()

    def _resume(self) -> Receiver:
        head = _head(self._manifest)
        if self._part.entries and self._part.entries[0] == head:
            try:
                return Receiver(self._part, self._manifest)
            except PartLostError:
                pass
        self._part.restart(head)
        return Receiver(self._part, self._manifest)

    def run(self) -> None:
        self._check_space()
        self._progress.step("Receiving the file", total=self._manifest.size_bytes)
        try:
            while self._receiver.next_offset < self._manifest.size_bytes:
                self._progress.advance(self._receiver.next_offset)
                before = self._receiver.next_offset
                try:
                    self._fetch()
                except BrokenError as exc:
                    if self._receiver.next_offset > before:
                        self._attempts.succeeded()
                    self._attempts.failed(str(exc))
                except BadLeafError as exc:
                    self._answer_bad_leaf(exc)
        finally:
            self._wire.close()
            if self._part.entries:
                self._receiver.checkpoint()
        self._finish()

    def _check_space(self) -> None:
        needed = self._manifest.size_bytes - self._receiver.next_offset
        free = shutil.disk_usage(self._target.parent).free
        if free < needed:
            raise NoSpaceError(path=self._target.parent, needed_bytes=needed, free_bytes=free)

    def _answer_bad_leaf(self, exc: BadLeafError) -> None:
        self._wire.close()
        if exc.is_final:
            self._part.discard()
            self._part.entries.clear()
            raise TransferContentError(
                path=self._target,
                leaf=exc.leaf,
                offset=exc.offset_bytes,
                reason="The block was fetched several times and differed each time.",
            ) from exc

    def _fetch(self) -> None:
        first = self._receiver.next_offset
        answer = self._wire.ask("GET", self._headers(first))
        self._check(answer, first)
        for piece in self._wire.pieces(answer, self._progress):
            self._receiver.feed([piece])
            if self._receiver.next_offset - self._receiver.durable_offset >= _CHECKPOINT_BYTES:
                self._receiver.checkpoint()
            self._progress.advance(self._receiver.next_offset)

    def _headers(self, first: int) -> Headers:
        head = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("If-Match", self._manifest.etag)]
        return [*head, ("Range", f"bytes={first}-")]

    def _check(self, answer: http.client.HTTPResponse, first: int) -> None:
        if answer.status in _BUSY:
            self._wire.close()
            raise BrokenError("The other side is busy.")
        if answer.status == 412:
            raise self._wire.refused(412, "The other side has another version of the file.")
        if answer.status != 206:
            raise self._wire.refused(
                answer.status, "The transfer is not allowed, has expired, or the file is gone."
            )
        wanted = ContentRange(first, self._manifest.size_bytes - 1, self._manifest.size_bytes)
        try:
            span = parse_content_range(answer.getheader("Content-Range", ""))
        except PacketError as exc:
            raise TransferProtocolError(path=self._target, reason=f"{exc}.") from exc
        if span != wanted or answer.length != wanted.length_bytes:
            raise TransferProtocolError(
                path=self._target, reason="It sent other bytes than those that were asked for."
            )

    def _finish(self) -> None:
        wrong = self._receiver.first_difference(self._manifest)
        if wrong is not None:
            self._part.discard()
            raise TransferContentError(
                path=self._target,
                leaf=wrong,
                offset=wrong * LEAF_BYTES,
                reason="The file differs although each of its blocks was checked.",
            )
        self._part.write_at(0, [b""])
        self._part.cut(self._manifest.size_bytes)
        self._part.sync()
        self._part.record({"state": "publishing"})
        try:
            self._part.publish()
        except PartExistsError as exc:
            raise _taken(self._target) from exc
        self._part.discard()


def upload_file(
    remote: RemoteFile,
    source: Path,
    *,
    state: Path,
    progress: Progress = NO_PROGRESS,
    patience: Patience | None = None,
) -> None:
    """Send a file; when this returns, the other side has it whole, verified and under its final name.

    Args:
        remote: where it goes.
        source: the file; it must not change meanwhile (send a frozen copy, never a disk in use).
        state: file in which the session is remembered, so that the next call goes on, also after a crash;
            removed at the end.
        progress: gets bytes that the other side has acknowledged; asked for cancellation.
        patience: how often to try again.

    Raises:
        NotFoundError: there is no such file.
        TransferInterruptedError: the connection broke too often.
        TransferRefusedError: the other side refuses.
        TransferCertificateError: the other side's certificate is not accepted.
        TransferContentError: the other side found other content than promised, or the file changed.
        CanceledError: the work was canceled; what arrived is kept, see `cancel_upload`.
    """
    if not source.is_file():
        raise NotFoundError(what="The file", name=source, remedy="Check the path.")
    wire = Wire(remote, source)
    try:
        _Upload(wire, source, _SessionMemory(state, remote.url), progress, patience or Patience()).run()
    finally:
        wire.close()


def cancel_upload(remote: RemoteFile, source: Path, *, state: Path) -> None:
    """Give an unfinished upload up: the other side removes what it has. One attempt is made.

    Raises:
        TransferInterruptedError: the other side cannot be reached; it will remove it when the grant expires.
    """
    memory = _SessionMemory(state, remote.url)
    wire = Wire(remote, source)
    try:
        if memory.session_id:
            wire.finish(wire.ask(METHOD, format_request(CancelSession(memory.session_id))))
    except BrokenError as exc:
        raise TransferInterruptedError(path=source, attempts=1, reason=str(exc)) from exc
    finally:
        wire.close()
        memory.forget()


class _SessionMemory:
    """Remembers the session of an upload in a file, the URL only as a hash: it may hold a secret."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url_hash = hashlib.sha256(url.encode()).hexdigest()
        self.session_id, self.next_offset = "", 0
        self._read()

    def _read(self) -> None:
        try:
            url_hash, session_id, offset = self._path.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return
        if url_hash == self._url_hash and offset.isascii() and offset.isdecimal():
            self.session_id, self.next_offset = session_id, int(offset)

    def remember(self, session_id: str, next_offset: int) -> None:
        """Write it down; the server knows better should this be lost."""
        self.session_id, self.next_offset = session_id, next_offset
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(f"{self._url_hash} {session_id} {next_offset}\n", encoding="ascii")
        fresh.replace(self._path)

    def forget(self) -> None:
        self.session_id, self.next_offset = "", 0
        self._path.unlink(missing_ok=True)


class _Upload:
    def __init__(
        self, wire: Wire, source: Path, memory: _SessionMemory, progress: Progress, patience: Patience
    ) -> None:
        self._wire, self._source, self._memory = wire, source, memory
        self._progress = progress
        self._attempts = _Attempts(source, patience, progress)
        self._fragment_bytes = _FRAGMENT_BYTES
        self._fd = -1
        self._stamp = (0, 0)
        self._is_unsure = memory.next_offset > 0

    def run(self) -> None:
        self._fd = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._stamp = self._stamp_now()
            self._progress.step("Sending the file", total=self._stamp[0])
            while not self._is_done():
                pass
        finally:
            os.close(self._fd)

    def _stamp_now(self) -> tuple[int, int]:
        facts = os.fstat(self._fd)
        return facts.st_size, facts.st_mtime_ns

    def _is_done(self) -> bool:
        """Make one exchange; True when the session is closed."""
        check_canceled(self._progress)
        before = self._memory.next_offset
        try:
            is_done = self._exchange()
        except BrokenError as exc:
            self._is_unsure = True
            self._attempts.failed(str(exc))
            return False
        self._is_unsure = False
        if self._memory.next_offset > before:
            self._attempts.succeeded()
        self._progress.advance(self._stamp[0] if is_done else self._memory.next_offset)
        return is_done

    def _exchange(self) -> bool:
        memory = self._memory
        if not memory.session_id:
            memory.remember(self._create(), 0)
        elif memory.next_offset < self._stamp[0]:
            self._send_fragment()
        else:
            return self._close()
        return False

    def _create(self) -> str:
        ack = self._ask(CreateSession(self._source.name))
        if not ack.session_id:
            raise TransferProtocolError(path=self._source, reason="It did not name the session.")
        return ack.session_id

    def _send_fragment(self) -> None:
        memory = self._memory
        size, first = self._stamp[0], memory.next_offset
        # After a break the server may have more than it could say: one byte asks for its offset.
        length = 1 if self._is_unsure else self._fragment_bytes
        last = min(first + length, size) - 1
        span = ContentRange(first, last, size)
        ack = self._ask(Fragment(memory.session_id, span), self._body(span), also=(413, 416))
        if ack.status == 413:
            self._send_smaller()
            return
        if ack.error == Hresult.SESSION_NOT_FOUND:
            return
        if ack.next_offset is None or ack.next_offset > size:
            raise TransferProtocolError(path=self._source, reason="It named no offset to go on from.")
        memory.remember(memory.session_id, ack.next_offset)
        if ack.next_offset <= first:
            self._attempts.failed("The other side asks for the same block again.")

    def _send_smaller(self) -> None:
        if self._fragment_bytes <= 4096:
            raise self._wire.refused(413, "Even the smallest fragment is too large for it.")
        self._fragment_bytes //= 2

    def _body(self, span: ContentRange) -> Callable[[Callable[[bytes | memoryview], None]], None]:
        def send_body(send: Callable[[bytes | memoryview], None]) -> None:
            at = span.first
            while at <= span.last:
                check_canceled(self._progress)
                data = self._read(min(PIECE_BYTES, span.last + 1 - at), at)
                if not data:
                    raise self._changed()
                send(data)
                at += len(data)

        return send_body

    def _read(self, size_bytes: int, at: int) -> bytes:
        try:
            return os.pread(self._fd, size_bytes, at)
        except OSError as exc:
            # Not to be taken for a broken connection.
            raise TransferContentError(
                path=self._source, leaf=at // LEAF_BYTES, offset=at, reason="The file cannot be read."
            ) from exc

    def _close(self) -> bool:
        if self._stamp_now() != self._stamp:
            raise self._changed()
        ack = self._ask(CloseSession(self._memory.session_id))
        if ack.error:
            return False
        self._memory.forget()
        return True

    def _changed(self) -> TransferContentError:
        return TransferContentError(
            path=self._source, leaf=0, offset=0, reason="The file was changed while it was being sent."
        )

    def _ask(
        self,
        request: Request,
        body: Callable[[Callable[[bytes | memoryview], None]], None] | None = None,
        *,
        also: tuple[int, ...] = (),
    ) -> Ack:
        answer = self._wire.ask(METHOD, [("Accept", "*/*"), *format_request(request)], body)
        self._wire.finish(answer)
        try:
            raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.getheaders()]
            ack = parse_ack(answer.status, raw)
        except PacketError as exc:
            if answer.status in _BUSY:
                raise BrokenError("The other side is busy.") from exc
            raise TransferProtocolError(path=self._source, reason="It does not speak the protocol.") from exc
        if ack.status == 200 or ack.status in also:
            return ack
        return self._answer_failure(ack)

    def _answer_failure(self, ack: Ack) -> Ack:
        if ack.error == Hresult.SESSION_NOT_FOUND:
            # [MC-BUP] 3.1.5.2.1: the client starts again with a new session.
            self._memory.forget()
            self._attempts.failed("The other side has forgotten the session.")
            return ack
        if ack.error == Hresult.DATA_ERROR:
            self._memory.forget()
            raise TransferContentError(
                path=self._source,
                leaf=0,
                offset=0,
                reason="The other side received other content than promised.",
            )
        if ack.status in _BUSY:
            disk_full = ack.error == Hresult.DISK_FULL
            raise BrokenError("The other side's disk is full." if disk_full else "The other side is busy.")
        raise self._wire.refused(
            ack.status, "The transfer is not allowed, has expired, or the name is taken."
        )
