"""The outermost layer: limits of bodies, hosts, headers of every answer, and errors nobody expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekiso.errors import SekisoError
from sekiso.web.errors import HostRefusedError, RequestTooLargeError
from sekiso.web.handlers import unexpected
from sekiso.web.languages import language_of
from sekiso.web.problems import problem_response
from sekiso.web.settings import WebSettings

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Accept-Language",
    "X-Content-Type-Options": "nosniff",
}
_HSTS = "max-age=31536000"
#: Kinds of content that hold texts for a reader.
_IN_LANGUAGE = ("application/json", "application/problem+json", "application/x-ndjson")


class Guard:
    """Lets requests in and answers out."""

    def __init__(self, app: ASGIApp, settings: WebSettings, uploads: str) -> None:
        """Guard an application.

        Args:
            app: the application.
            settings: limits.
            uploads: beginning of the paths that take files.
        """
        self._app, self._settings, self._uploads = app, settings, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._connect(scope, receive, send)
            return
        request = Request(scope)
        answer = _Answer(send, language_of(request), secure=scope.get("scheme") == "https")
        limit_bytes = self._limit_bytes(scope["path"])
        refusal = await self._refusal(Headers(scope=scope), limit_bytes)
        if refusal is not None:
            await problem_response(refusal, answer.language)(scope, receive, answer)
            return
        try:
            await self._app(scope, _Body(receive, limit_bytes), answer)
        except ClientDisconnect:
            return
        except Exception as error:  # the top of a request: the server goes on with the others
            failure = unexpected(request.method, request.url.path, error)
            if answer.started:
                # Too late for an answer; the connection is cut, so that nobody takes it for whole.
                raise
            await problem_response(failure, answer.language)(scope, receive, answer)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a WebSocket. One for another host is not even opened."""
        if await self._refusal(Headers(scope=scope), 0) is None:
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def _limit_bytes(self, path: str) -> int:
        is_upload = path.startswith(self._uploads)
        return self._settings.upload_limit_bytes if is_upload else self._settings.body_limit_bytes

    async def _refusal(self, headers: Headers, limit_bytes: int) -> SekisoError | None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and len(length) < 20 and int(length) > limit_bytes:
            return RequestTooLargeError(limit_bytes=limit_bytes)
        host = _host_of(headers.get("host", ""))
        return None if await self._is_own(host) else HostRefusedError(host=host[:200])

    async def _is_own(self, host: str) -> bool:
        settings = self._settings
        if host in {known.lower() for known in settings.hosts}:
            return True
        if settings.is_own_host is None:
            return not settings.hosts
        # It looks at the database now and then.
        return await run_in_threadpool(settings.is_own_host, host)


class _Body:
    """The body of a request, which ends with an error once it is too large, whatever its headers say."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self._limit_bytes, self._left_bytes = receive, limit_bytes, limit_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left_bytes -= len(message.get("body", b""))
            if self._left_bytes < 0:
                # Of this kind, because the framework lets it pass.
                raise HTTPException(413, str(self._limit_bytes))
        return message


class _Answer:
    """Sends an answer with the headers that every answer has."""

    def __init__(self, send: Send, language: str, *, secure: bool) -> None:
        self._send, self.language, self._secure, self.started = send, language, secure, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._complete(MutableHeaders(raw=_raw(message)))
        await self._send(message)

    def _complete(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self._secure:
            headers.setdefault("Strict-Transport-Security", _HSTS)
        if headers.get("content-type", "").partition(";")[0] in _IN_LANGUAGE:
            headers.setdefault("Content-Language", self.language)


def _raw(message: Message) -> list[tuple[bytes, bytes]]:
    message["headers"] = list(message.get("headers", ()))
    raw: Any = message["headers"]
    return raw


def _host_of(header: str) -> str:
    """Return the name in a header Host, without its port."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
