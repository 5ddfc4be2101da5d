"""The screen of a packaging machine in a browser: RFB over a WebSocket, as noVNC speaks it (LY-2)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import HTTPConnection

from sekiso.agent.link.errors import StreamEndedError
from sekiso.agent.port import ByteStream
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.services.core import require
from sekiso.web.auth import actor_of, secret_of, services_of
from sekiso.web.errors import ScreenEndedError, ScreenMessageError, ScreensBusyError
from sekiso.web.handlers import unexpected
from sekiso.web.languages import language_of
from sekiso.web.problems import problem_of

router = APIRouter()
_SUBPROTOCOL = "binary"
#: So often the session is looked at that the screen was opened with.
_LOOK_S = 2.0
#: Codes from 4000 on are an application's own (RFC 6455, section 7.4.2): this plus the problem's status.
CLOSE_CODE = 4000
_LONGEST_REASON_BYTES = 123
#: First bytes of RFB messages that a person causes: keys, mouse, extended keys (RFC 6143, section 7.5).
_BY_HAND = (b"\x04", b"\x05", b"\xff")


class Screens:
    """How many screens are shown, and the threads that they wait in."""

    def __init__(self, most: int) -> None:
        """Prepare; for at most so many."""
        self.most, self.shown = most, 0
        # Two for each, and some for those that are being opened.
        self.threads = anyio.CapacityLimiter(3 * most)

    @contextlib.contextmanager
    def one(self) -> Generator[None]:
        """Count one more.

        Raises:
            ScreensBusyError: there are too many.
        """
        if self.shown >= self.most:
            raise ScreensBusyError(most=self.most)
        self.shown += 1
        try:
            yield
        finally:
            self.shown -= 1


@router.websocket("/layer-versions/{version_id}/machine/screen")
async def show_screen(socket: WebSocket, version_id: str) -> None:
    """Show the screen of a packaging machine until either side ends it, or the session does."""
    if not is_from_here(socket):
        await socket.close()
        return
    offered: list[str] = socket.scope["subprotocols"]
    await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
    try:
        error = await _shown(socket, version_id)
    except SekisoError as found:
        error = found
    except Exception as found:  # noqa: BLE001 (the top of a connection: the server goes on with the others)
        error = unexpected("WEBSOCKET", socket.url.path, found)
    if error is not None:
        await _close(socket, error)


def is_from_here(connection: HTTPConnection) -> bool:
    """Whether a page of this appliance asks, or a program with a token and no page at all.

    Browsers let every page open a WebSocket to every server, and send the server's cookies along; what they
    say of the page is all that tells (RFC 6455, section 10.2).
    """
    origin = connection.headers.get("origin")
    if origin is None:
        _, by_cookie = secret_of(connection)
        return not by_cookie
    scheme = "https" if connection.url.scheme in ("wss", "https") else "http"
    return _place(origin) == _place(f"{scheme}://{connection.headers.get('host', '')}")


def _place(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an address; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


async def _shown(socket: WebSocket, version_id: str) -> SekisoError | None:
    """Show a screen; return why it has ended, None if the browser has ended it."""
    screens: Screens = socket.app.state.screens
    services, (secret, _) = services_of(socket), secret_of(socket)
    actor = await run_in_threadpool(actor_of, services, secret)
    with screens.one():
        stream = await anyio.to_thread.run_sync(
            services.layers.open_screen, actor, version_id, limiter=screens.threads
        )
        try:
            return await _Screen(socket, stream, secret, screens.threads).run()
        finally:
            stream.close()


@dataclass
class _Screen:
    """A screen that is shown.

    Attributes:
        socket: the browser.
        stream: the machine.
        secret: what proves the session or the API token.
        threads: those that wait for the machine.
    """

    socket: WebSocket
    stream: ByteStream
    secret: str
    threads: anyio.CapacityLimiter
    _used: bool = False
    _ended: bool = False
    _why: SekisoError | None = None

    async def run(self) -> SekisoError | None:
        """Carry bytes both ways; return why that has ended, None if the browser has ended it."""
        async with anyio.create_task_group() as group:
            for part in (self._from_machine, self._from_browser, self._look):
                group.start_soon(self._until_the_end, part, group.cancel_scope)
        return self._why

    async def _until_the_end(
        self, part: Callable[[], Awaitable[SekisoError | None]], scope: anyio.CancelScope
    ) -> None:
        """Do one part; the first one that ends decides why."""
        try:
            why = await part()
        except WebSocketDisconnect:
            why = None
        except SekisoError as error:
            why = error
        if not self._ended:
            self._ended, self._why = True, why
            scope.cancel()

    async def _from_machine(self) -> SekisoError:
        while data := await anyio.to_thread.run_sync(
            self.stream.read, abandon_on_cancel=True, limiter=self.threads
        ):
            await self.socket.send_bytes(data)
        return ScreenEndedError()

    async def _from_browser(self) -> SekisoError | None:
        while (message := await self.socket.receive())["type"] == "websocket.receive":
            data: bytes | None = message.get("bytes")
            if data is None:
                return ScreenMessageError()
            self._used = self._used or data[:1] in _BY_HAND
            try:
                await anyio.to_thread.run_sync(
                    self.stream.write, data, abandon_on_cancel=True, limiter=self.threads
                )
            except StreamEndedError:
                return ScreenEndedError()
        return None

    async def _look(self) -> SekisoError:
        """Wait for the end of the session: a logout, a timeout, another role.

        Only what a person's hand does keeps it from its timeout, not a screen that is left open.
        """
        services = services_of(self.socket)
        while True:
            await anyio.sleep(_LOOK_S)
            used, self._used = self._used, False
            try:
                actor = await run_in_threadpool(actor_of, services, self.secret, touch=used)
                require(actor, Role.LAYER_MANAGER)
            except SekisoError as error:
                return error


async def _close(socket: WebSocket, error: SekisoError) -> None:
    problem = problem_of(error, language_of(socket))
    reason = problem["title"].encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore")
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone meanwhile
        await socket.close(CLOSE_CODE + problem["status"], reason)
