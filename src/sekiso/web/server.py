"""Serves the application over HTTPS, in a thread of the appliance's process."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import uvicorn

from sekiso.errors import Family, SekisoError

_START_S = 30.0


class ListenError(SekisoError):
    """A server cannot listen at its address. Params: host, port, reason."""

    code = "appliance.listen"
    family = Family.ENVIRONMENT
    brief = "The appliance cannot listen at {host}, port {port}."
    why = "{reason}"
    resolution = "Check that nothing else uses the port, or choose another one."


class WebServer:
    """One HTTPS server."""

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
        self._config = uvicorn.Config(
            app,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            access_log=False,
            log_config=None,
            server_header=False,
            lifespan="off",
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
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self.port))
        except OSError as error:
            listening.close()
            raise ListenError(host=self._host, port=self.port, reason=f"{error.strerror}.") from error
        self._socket = listening
        self.port = listening.getsockname()[1]
        self._config.load()
        assert self._config.ssl is not None
        self._config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        self._thread.start()
        self._server.ready.wait(_START_S)

    def stop(self) -> None:
        """End; requests that run get some seconds."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=15.0)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._socket is not None
        self._server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Leaves signals to the appliance, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    def install_signal_handlers(self) -> None:
        """Install none."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()
