"""Serves the application over HTTPS, in a thread of the appliance's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn

from sekiso.agent.server_tls import ServerTls
from sekiso.errors import Family, SekisoError

log = logging.getLogger(__name__)
_START_S = 30.0
_STOP_S = 15.0
_BACKLOG = 512
#: More connections at once are answered 503.
_MOST_CONNECTIONS = 1000
_LARGEST_HEADER_BYTES = 32 << 10
#: What a browser sends over a WebSocket: keys, the mouse, at most a clipboard.
_LARGEST_MESSAGE_BYTES = 1 << 20


class ListenError(SekisoError):
    """A server cannot listen at its address. Params: host, port, reason."""

    code = "appliance.listen"
    family = Family.ENVIRONMENT
    brief = "The appliance cannot listen at {host}, port {port}."
    why = "{reason}"
    resolution = "Check that nothing else uses the port, or choose another one."


class WebServer:
    """One HTTPS server (TLS 1.2 or later).

    Attributes:
        port: the TCP port; after `start` never 0.
    """

    def __init__(self, app: Any, *, host: str, port: int, certificate: Path, key: Path) -> None:
        """Prepare; nothing listens yet.

        Args:
            app: the application (ASGI).
            host: address to listen at.
            port: TCP port; 0 = one that is free.
            certificate: certificate as PEM.
            key: its key.
        """
        self._host, self.port = host, port
        self._tls = ServerTls(_context(certificate, key))
        self._config = uvicorn.Config(
            app,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            http="h11",
            ws="websockets-sansio",
            ws_max_size=_LARGEST_MESSAGE_BYTES,
            # Screens are compressed by their own protocol.
            ws_per_message_deflate=False,
            # What a client claims of itself counts for nothing.
            proxy_headers=False,
            # Requests would be logged with their queries.
            access_log=False,
            log_config=None,
            server_header=False,
            lifespan="off",
            backlog=_BACKLOG,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_LARGEST_HEADER_BYTES,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
        self._server = _Server(self._config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            ListenError: it cannot.
        """
        self._config.load()
        self._config.ssl = self._tls.context
        self._socket = self._bind()
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        self._server.ready.wait(_START_S)
        if not self._server.started:
            self.stop()
            raise ListenError(host=self._host, port=self.port, reason="It did not start; the log says why.")

    def stop(self) -> None:
        """End; requests that run get some seconds. Harmless when it has ended."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=_STOP_S)
        if self._socket is not None:
            self._socket.close()

    def use(self, certificate: Path, key: Path) -> None:
        """Show another certificate from the next connection on; those that there are go on.

        Args:
            certificate: certificate and those of its issuers as PEM.
            key: its key.

        Raises:
            OSError, ssl.SSLError: it cannot be used; the one before stays.
        """
        self._tls.use(_context(certificate, key))

    def _bind(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
        except OSError as error:
            raise self._refused(error) from error
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError as error:
            listening.close()
            raise self._refused(error) from error
        return listening

    def _refused(self, error: OSError) -> ListenError:
        return ListenError(host=self._host, port=self.port, reason=f"{error.strerror or error}.")

    def _run(self) -> None:
        assert self._socket is not None
        try:
            self._server.run(sockets=[self._socket])
        except (Exception, SystemExit):  # the top of a thread: the appliance must hear of it
            log.exception("the REST API has ended")
            self._server.ready.set()
        finally:
            self._server.ready.set()


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


class _Server(uvicorn.Server):
    """Leaves signals to the appliance, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; cut what is still connected after some seconds.

        A connection ends only when its client answers the closing of TLS, and some never do.
        """
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        # The event loop closes them in its next turn; after that there is none.
        await asyncio.sleep(0.05)


def serve(app: Any, host: str, port: int, certificate: Path, key: Path) -> WebServer:
    """Serve an application; return the server, which listens already. End it by its `stop`.

    Raises:
        ListenError: it cannot listen.
    """
    server = WebServer(app, host=host, port=port, certificate=certificate, key=key)
    server.start()
    return server
