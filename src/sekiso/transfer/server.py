"""The server: an ASGI application for granian, loopback by default.

granian, because uvicorn's fast parser answers BITS_POST with 400 and its slow one receives at a third of the
speed. One process serves all transfers: open upload sessions belong to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings

from sekiso.transfer.asgi import Call, Message, Receive, Send
from sekiso.transfer.downloads import download
from sekiso.transfer.grants import HEADER, PREFIX, Direction, FolderGrantStore, Grant, Grants, split_key
from sekiso.transfer.packets import METHOD, format_ack
from sekiso.transfer.sessions import DiskSessionStore, Sessions
from sekiso.transfer.uploads import busy, refusal, upload

log = logging.getLogger(__name__)
#: TCP port of the server unless told otherwise.
DEFAULT_PORT = 8021
_SWEEP_S = 3600.0
_RETRY = ("Retry-After", "2")

#: Says who sends a request (for instance by a client certificate that a proxy has verified), or None.
Identify = Callable[[Mapping[str, str]], str | None]


class TransferApp:
    """Serves every transfer URL: downloads by GET and HEAD, uploads by BITS_POST."""

    def __init__(
        self,
        grants: Grants,
        sessions: Sessions,
        *,
        identify: Identify | None = None,
        most_requests: int = 256,
        threads: int = 8,
        pool: Executor | None = None,
    ) -> None:
        """Serve what the grants allow.

        Args:
            grants: who may move what.
            sessions: the uploads.
            identify: says who sends a request, given its header fields; a grant is then good only for its
                own agent. Without it the secret of the grant is what proves the agent.
            most_requests: more at once are answered by 503.
            threads: threads for reading, writing and hashing.
            pool: takes the place of those threads.
        """
        self._grants, self._sessions, self._identify = grants, sessions, identify
        self._most_requests, self._requests = most_requests, 0
        self._pool = pool or ThreadPoolExecutor(threads, thread_name_prefix="transfer")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the server's start and stop (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            call = Call(scope["method"].upper(), scope["path"], scope["headers"], receive, send, self._pool)
            await self._answer(call)

    async def _answer(self, call: Call) -> None:
        if self._requests >= self._most_requests:
            await call.answer(503, [*(format_ack(busy()) if call.method == METHOD else []), _RETRY])
            return
        self._requests += 1
        try:
            await self._dispatch(call)
        finally:
            self._requests -= 1

    async def _dispatch(self, call: Call) -> None:
        if call.method not in ("GET", "HEAD", METHOD):
            await call.answer(405, [("Allow", f"GET, HEAD, {METHOD}")])
            return
        is_upload = call.method == METHOD
        direction = Direction.UPLOAD if is_upload else Direction.DOWNLOAD
        grant = await call.in_thread(self._grant_of, call, direction)
        if grant is None:
            ack = refusal()
            await call.answer(ack.status, format_ack(ack) if is_upload else [])
        elif is_upload:
            await upload(call, grant, self._sessions)
        elif grant.manifest is not None:
            await download(call, grant, grant.manifest)

    def _grant_of(self, call: Call, direction: Direction) -> Grant | None:
        segments = call.path.split("/")
        if len(segments) != 4 or segments[:2] != ["", PREFIX]:
            return None
        fields = call.fields()
        grant_id, secret = split_key(segments[2])
        grant = self._grants.check(grant_id, secret or fields.get(HEADER.lower(), ""), direction)
        if grant is None or grant.name != segments[3]:
            return None
        if self._identify is not None and self._identify(fields) != grant.principal:
            log.warning("grant %s was used by another agent", grant.id)
            return None
        return grant

    async def _live(self, receive: Receive, send: Send) -> None:
        sweeper: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                sweeper = asyncio.create_task(self._sweep_for_ever())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if sweeper is not None:
                    sweeper.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await sweeper
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._pool, self.sweep)
            except OSError:
                log.exception("expired transfers could not be removed; they are tried again later")
            await asyncio.sleep(_SWEEP_S)

    def sweep(self) -> None:
        """Remove expired grants, and uploads that have expired or have lost their grant."""
        self._grants.expire()
        self._sessions.expire(self._grants.exists)

    def close(self) -> None:
        """Let go of threads and files; nothing is removed."""
        self._pool.shutdown()
        self._sessions.close()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server listens.

    Attributes:
        state: folder for grants and sessions.
        host: address to listen at; loopback unless told otherwise.
        port: TCP port.
        certificate: certificate chain as PEM; None = no TLS.
        key: private key as PEM.
        sessions: folder for upload sessions, each process has its own; None = in `state`.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    key: Path | None = None
    sessions: Path | None = None


def open_grants(state: Path, *, master: bytes | None = None) -> Grants:
    """Return the grants in a server's state folder; the appliance issues them there."""
    return Grants(FolderGrantStore(state / "grants"), master=master)


def make_app(state: Path, sessions: Path | None = None) -> TransferApp:
    """Return the application for a state folder."""
    return TransferApp(open_grants(state), Sessions(DiskSessionStore(sessions or state / "sessions")))


def serve(settings: ServerSettings) -> None:
    """Serve transfers until SIGINT or SIGTERM. Blocks; has to run in a main thread."""
    server = Granian(
        "sekiso.transfer.server",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(),
        websockets=False,
        log_access=False,
        ssl_cert=settings.certificate,
        ssl_key=settings.key,
        # BITS on Server 2016 and 2019 has no TLS 1.3.
        ssl_protocol_min=SSLProtocols.tls12,
    )
    server.serve(target_loader=partial(make_app, settings.state, settings.sessions), wrap_loader=False)
