"""Uploads: the packets of the BITS upload protocol put to the sessions.

Source: [MC-BUP] 3.2.5 for what the server answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import shutil
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from sekiso.transfer.asgi import Call
from sekiso.transfer.grants import Grant
from sekiso.transfer.packets import (
    CONTEXT_SERVER,
    PROTOCOL,
    Ack,
    CancelSession,
    CloseSession,
    CreateSession,
    Fragment,
    Hresult,
    PacketError,
    Ping,
    format_ack,
    new_session_id,
    parse_request,
)
from sekiso.transfer.receiving import BadLeafError
from sekiso.transfer.sessions import Placement, SessionHead, Sessions, UploadSession

log = logging.getLogger(__name__)
#: Largest body of a fragment. Larger ones are answered by 413, which makes BITS send smaller ones.
#: Source: [MC-BUP] 3.1.5.2.4.
MOST_FRAGMENT_BYTES = 16 << 20
#: Bodies are handed to the disk in pieces of about this size.
_BATCH_BYTES = 1 << 20
#: A body that stands still for so long is taken as cut.
_STALLED_S = 120.0
_RETRY = ("Retry-After", "2")


async def upload(call: Call, grant: Grant, sessions: Sessions) -> None:
    """Answer a BITS_POST under a grant."""
    session_id = ""
    try:
        request = parse_request(call.headers)
        session_id = getattr(request, "session_id", "")
        ack = await _perform(call, grant, sessions, request)
    except PacketError as exc:
        ack = _error(exc.status, exc.hresult, session_id)
    except OSError as exc:
        log.exception("an upload under grant %s failed", grant.id)
        code = Hresult.DISK_FULL if exc.errno in (errno.ENOSPC, errno.EDQUOT) else Hresult.FAIL
        ack = _error(500, code, session_id)
    await call.answer(ack.status, [*format_ack(ack), *([_RETRY] if ack.status == 503 else [])])


def refusal() -> Ack:
    """Return the answer to a packet without a valid grant."""
    return _error(403, Hresult.ACCESS_DENIED, "")


def busy() -> Ack:
    """Return the answer of a server that has too much to do. Never 4xx: BITS would give up."""
    return _error(503, Hresult.BUSY, "")


def _error(status: int, hresult: Hresult, session_id: str) -> Ack:
    return Ack(status=status, session_id=session_id, error=int(hresult), error_context=CONTEXT_SERVER)


async def _perform(
    call: Call,
    grant: Grant,
    sessions: Sessions,
    request: Ping | CreateSession | Fragment | CloseSession | CancelSession,
) -> Ack:
    match request:
        case Ping():
            return Ack()
        case CreateSession():
            head = SessionHead(
                id=new_session_id(),
                grant_id=grant.id,
                url=_session_url(grant),
                principal=grant.principal,
                final=grant.path,
                created_s=time.time(),
            )
            session_id = await call.in_thread(sessions.create, head, grant.manifest)
            return Ack(session_id=session_id, protocol=PROTOCOL)
        case Fragment():
            if request.content_range.length_bytes > MOST_FRAGMENT_BYTES:
                raise PacketError("the fragment is too large", status=413, hresult=Hresult.TOO_LARGE)
            async with _held(call, grant, sessions, request.session_id) as session:
                return await _Intake(call, sessions, session, request).run()
        case CloseSession():
            async with _held(call, grant, sessions, request.session_id) as session:
                await _close(call, sessions, session)
            return Ack(session_id=request.session_id)
        case CancelSession():
            async with _held(call, grant, sessions, request.session_id):
                await call.in_thread(sessions.forget, request.session_id)
            return Ack(session_id=request.session_id)


def _session_url(grant: Grant) -> str:
    # Without the secret: the same transfer may be asked for with the secret in the header or in the URL.
    return f"/{grant.id}/{grant.name}"


@contextlib.asynccontextmanager
async def _held(
    call: Call, grant: Grant, sessions: Sessions, session_id: str
) -> AsyncGenerator[UploadSession]:
    def hold() -> UploadSession:
        return sessions.hold(
            session_id, url=_session_url(grant), principal=grant.principal, expected=grant.manifest
        )

    session = await call.in_thread(hold)
    try:
        yield session
    finally:
        sessions.let_go(session)


async def _close(call: Call, sessions: Sessions, session: UploadSession) -> None:
    try:
        await call.in_thread(session.close)
    except BadLeafError as exc:
        await _give_up(call, sessions, session, exc)


async def _give_up(call: Call, sessions: Sessions, session: UploadSession, exc: BadLeafError) -> None:
    log.warning("upload %s holds another block %d than promised", session.head.id, exc.leaf)
    await call.in_thread(sessions.forget, session.head.id)
    raise PacketError("the content is not what was promised", status=409, hresult=Hresult.DATA_ERROR) from exc


@dataclass(slots=True)
class _Intake:
    """Takes the body of one fragment.

    The disk writes one batch while the next comes in; a body that is cut keeps what came.
    """

    call: Call
    sessions: Sessions
    session: UploadSession
    fragment: Fragment
    left_bytes: int = 0
    is_over: bool = False

    def __post_init__(self) -> None:
        self.left_bytes = self.fragment.content_range.length_bytes

    async def run(self) -> Ack:
        placement = await self.call.in_thread(self._begin)
        if placement.take_bytes == 0:
            await self._drain()
            return self._ack(placement.status, await self.call.in_thread(self.session.checkpoint))
        try:
            is_whole = await self._take(placement.skip_bytes)
        except BadLeafError as exc:
            if exc.is_final:
                await self._drain()
                await _give_up(self.call, self.sessions, self.session, exc)
            await self._drain()
            return self._ack(416, await self.call.in_thread(self.session.checkpoint))
        except BaseException:
            # Also when the server is being stopped: what came must not be lost.
            self.session.checkpoint()
            raise
        next_offset = await self.call.in_thread(self.session.checkpoint)
        # Nobody reads the answer to a body that was cut.
        return self._ack(200 if is_whole else 416, next_offset)

    def _begin(self) -> Placement:
        span = self.fragment.content_range
        placement = self.session.begin(span)
        folder = self.session.head.final.parent
        missing = span.total_bytes - self.session.next_offset
        if placement.take_bytes and folder.is_dir() and shutil.disk_usage(folder).free < missing:
            raise PacketError("the disk is too full", status=500, hresult=Hresult.DISK_FULL)
        return placement

    def _ack(self, status: int, next_offset: int) -> Ack:
        return Ack(status=status, session_id=self.session.head.id, next_offset=next_offset)

    async def _take(self, skip_bytes: int) -> bool:
        batch: list[bytes] = []
        batch_bytes = 0
        writing: asyncio.Future[None] | None = None
        try:
            while (piece := await self._next_piece()) is not None:
                kept = piece[skip_bytes:]
                skip_bytes -= len(piece) - len(kept)
                if kept:
                    batch.append(kept)
                    batch_bytes += len(kept)
                if batch_bytes >= _BATCH_BYTES:
                    if writing is not None:
                        await asyncio.wait([writing])
                        writing.result()
                    writing, batch, batch_bytes = self._write(batch), [], 0
        finally:
            # Nobody may touch the session while a thread still writes.
            if writing is not None:
                await asyncio.wait([writing])
        if writing is not None:
            writing.result()
        if batch:
            await self._write(batch)
        return self.left_bytes == 0

    def _write(self, batch: list[bytes]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self.call.in_thread(self.session.feed, batch))

    async def _next_piece(self) -> bytes | None:
        """Return the next piece of the body, at most what the fragment has; None at its end or a cut."""
        while self.left_bytes > 0 and not self.is_over:
            try:
                async with asyncio.timeout(_STALLED_S):
                    message = await self.call.receive()
            except TimeoutError:
                log.debug("the body of a fragment stood still and is taken as cut")
                self.is_over = True
                return None
            is_gone = message["type"] == "http.disconnect"
            piece: bytes = b"" if is_gone else message.get("body", b"")[: self.left_bytes]
            self.is_over = is_gone or not message.get("more_body", False)
            self.left_bytes -= len(piece)
            if piece:
                return piece
        return None

    async def _drain(self) -> None:
        """Read what is left of the body: closing the connection under a sender would lose the answer."""
        while await self._next_piece() is not None:
            pass
