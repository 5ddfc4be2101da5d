"""Downloads: HEAD and GET as BITS and every other client of HTTP ranges ask for them.

Every answer has a Content-Length and the same strong entity tag and time; nothing is chunked or compressed.
Source: [MC-BUP] 3.5; Microsoft, "HTTP Requirements for BITS Downloads".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Sequence

from sekiso.transfer.asgi import Call
from sekiso.transfer.grants import Grant
from sekiso.transfer.manifest import Manifest
from sekiso.transfer.ranges import (
    Span,
    UnsatisfiableError,
    http_date,
    parse_ranges,
    precondition_status,
    range_applies,
)

log = logging.getLogger(__name__)
#: How much is read at once: 64 KiB, the habit of web frameworks, costs four fifths of the speed.
READ_BYTES = 1 << 20
_TYPE = "application/octet-stream"


async def download(call: Call, grant: Grant, manifest: Manifest) -> None:
    """Answer a HEAD or GET for the file of a grant."""
    fd = await call.in_thread(_open_version, grant, manifest)
    if fd is None:
        await call.answer(404)
        return
    try:
        await _answer(call, grant, manifest, fd)
    finally:
        os.close(fd)


def _open_version(grant: Grant, manifest: Manifest) -> int | None:
    """Open the file if it is still of the size that was promised."""
    try:
        fd = os.open(grant.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        log.warning("the file of grant %s cannot be opened: %s", grant.id, exc.strerror)
        return None
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != manifest.size_bytes:
        log.warning("the file of grant %s is not what it was when the grant was issued", grant.id)
        os.close(fd)
        return None
    return fd


async def _answer(call: Call, grant: Grant, manifest: Manifest, fd: int) -> None:
    fields = call.fields()
    common = [
        ("ETag", manifest.etag),
        ("Last-Modified", http_date(grant.modified_s)),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "private, no-transform"),
    ]
    status = precondition_status(fields, etag=manifest.etag, modified_s=grant.modified_s)
    if status != 200:
        await call.answer(status, common)
        return
    total = manifest.size_bytes
    spans = None
    if "range" in fields and range_applies(fields, etag=manifest.etag, modified_s=grant.modified_s):
        try:
            spans = parse_ranges(fields["range"], total)
        except UnsatisfiableError:
            await call.answer(416, [*common, ("Content-Range", f"bytes */{total}")])
            return
    if spans is None:
        head = [("Content-Type", _TYPE), ("Content-Length", str(total))]
        await _send(call, fd, 200, [*common, *head], [(b"", Span(0, total))])
    elif len(spans) == 1:
        head = [("Content-Type", _TYPE), ("Content-Range", spans[0].content_range(total))]
        length = [("Content-Length", str(spans[0].size_bytes))]
        await _send(call, fd, 206, [*common, *head, *length], [(b"", spans[0])])
    else:
        await _send_multipart(call, fd, common, spans, total)


async def _send_multipart(
    call: Call, fd: int, common: Sequence[tuple[str, str]], spans: Sequence[Span], total: int
) -> None:
    boundary = secrets.token_hex(16)
    parts = [
        (
            f"\r\n--{boundary}\r\nContent-Type: {_TYPE}\r\n"
            f"Content-Range: {span.content_range(total)}\r\n\r\n".encode(),
            span,
        )
        for span in spans
    ]
    parts.append((f"\r\n--{boundary}--\r\n".encode(), Span(0, 0)))
    length = sum(len(text) + span.size_bytes for text, span in parts)
    head = [("Content-Type", f"multipart/byteranges; boundary={boundary}"), ("Content-Length", str(length))]
    await _send(call, fd, 206, [*common, *head], parts)


async def _send(
    call: Call,
    fd: int,
    status: int,
    headers: Sequence[tuple[str, str]],
    parts: Sequence[tuple[bytes, Span]],
) -> None:
    await call.start(status, headers)
    if call.method == "HEAD":
        await call.body(b"", more=False)
        return
    gone = asyncio.ensure_future(_disconnected(call))
    try:
        for text, span in parts:
            if text:
                await call.body(text, more=True)
            await _send_span(call, fd, span, gone)
        await call.body(b"", more=False)
    except _GoneError:
        log.debug("a client left in the middle of a download")
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone


class _GoneError(Exception):
    """The client is not there any more."""


async def _disconnected(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass


async def _send_span(call: Call, fd: int, span: Span, gone: asyncio.Future[None]) -> None:
    """Send some bytes; the next piece is read while the one before it is on its way."""
    at, end = span.first, span.first + span.size_bytes
    ahead = _read(call, fd, at, end) if at < end else None
    try:
        while ahead is not None:
            data = await ahead
            if not data:
                raise OSError(f"the file became shorter than {end} bytes while it was sent")
            at += len(data)
            ahead = _read(call, fd, at, end) if at < end else None
            if gone.done():
                raise _GoneError
            await call.body(data, more=True)
    finally:
        # The descriptor is closed next: no thread may still be reading from it.
        if ahead is not None:
            await asyncio.wait([ahead])


def _read(call: Call, fd: int, at: int, end: int) -> asyncio.Future[bytes]:
    return asyncio.ensure_future(call.in_thread(os.pread, fd, min(READ_BYTES, end - at), at))
