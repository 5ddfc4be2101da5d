"""The transfer servers: two child processes, without and with TLS, watched and started again (TR-1, TR-4)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sekiso.errors import Family, SekisoError
from sekiso.process import kill, spawn

log = logging.getLogger(__name__)
#: What the servers themselves say.
_said = logging.getLogger("sekiso.transfer.server")
_START_S = 30.0
_LONGEST_PAUSE_S = 30.0


class TransferServerError(SekisoError):
    """A transfer server does not start. Params: port, reason."""

    code = "appliance.transfer-server"
    family = Family.ENVIRONMENT
    brief = "The transfer server on port {port} did not start."
    why = "{reason}"
    resolution = "Check that nothing else uses the port, or choose another one."


@dataclass(frozen=True, slots=True)
class TransferServerSettings:
    """One transfer server.

    Attributes:
        state: folder with the grants.
        sessions: folder for its upload sessions.
        host: address to listen at.
        port: TCP port.
        certificate: certificate as PEM; None = no TLS.
        key: its key.
    """

    state: Path
    sessions: Path
    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


class TransferServer:
    """One transfer server as a child process; it is started again when it ends by itself."""

    def __init__(self, settings: TransferServerSettings) -> None:
        """Prepare; nothing runs yet."""
        self._settings = settings
        self._stopping, self._restarting = threading.Event(), threading.Event()
        self._proc: subprocess.Popen[bytes] | None = None
        self._watch = threading.Thread(target=self._keep, name=f"transfer-{settings.port}", daemon=True)

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            TransferServerError: it does not.
        """
        if _listens(self._settings.host, self._settings.port):
            raise TransferServerError(port=self._settings.port, reason="Another program uses the port.")
        self._proc = self._spawn()
        try:
            self._wait_until_it_listens()
        except TransferServerError:
            self.stop()
            raise
        self._watch.start()

    @property
    def port(self) -> int:
        """TCP port."""
        return self._settings.port

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self._settings.certificate is not None

    def listens(self) -> bool:
        """Whether it runs and can be reached."""
        running = self._proc is not None and self._proc.poll() is None
        return running and _listens(self._settings.host, self._settings.port)

    def restart(self) -> None:
        """Start it again, with the certificate as it is now; what is half transferred goes on then.

        Raises:
            TransferServerError: it does not listen again; it is tried on.
        """
        former = self._proc
        if former is None or self._stopping.is_set():
            return
        self._restarting.set()
        kill(former, grace_s=10.0)
        deadline = time.monotonic() + _START_S
        while self._proc is former and time.monotonic() < deadline:
            time.sleep(0.02)
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        proc, deadline = self._proc, time.monotonic() + _START_S
        while not _listens(self._settings.host, self._settings.port):
            if proc is None or proc.poll() is not None or time.monotonic() > deadline:
                raise TransferServerError(
                    port=self._settings.port, reason="It ended at once; the log says why."
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what is half transferred goes on after the next start."""
        self._stopping.set()
        if self._proc is not None:
            kill(self._proc, grace_s=10.0)

    def _keep(self) -> None:
        pause_s = 0.5
        while not self._stopping.is_set():
            proc = self._proc
            begun = time.monotonic()
            if proc is not None:
                proc.wait()
            if self._stopping.is_set():
                return
            if self._restarting.is_set():
                self._restarting.clear()
                self._proc = self._spawn()
                continue
            log.error("the transfer server on port %s ended; it is started again", self._settings.port)
            pause_s = 0.5 if time.monotonic() - begun > 60.0 else min(_LONGEST_PAUSE_S, pause_s * 2)
            if self._stopping.wait(pause_s):
                return
            self._proc = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = self._settings
        argv: list[str | Path] = [sys.executable, "-m", "sekiso.transfer", "--with-parent"]
        argv += ["--state", settings.state, "--sessions", settings.sessions]
        argv += ["--host", settings.host, "--port", str(settings.port)]
        if settings.certificate is not None and settings.key is not None:
            argv += ["--certificate", settings.certificate, "--key", settings.key]
        # A pipe of our own, not the process's: `kill` would wait for who reads it.
        reading, writing = os.pipe()
        try:
            proc = spawn(argv, stdin=subprocess.PIPE, stdout=writing, stderr=writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        name = f"transfer-log-{settings.port}"
        threading.Thread(target=_take_log, args=(reading,), name=name, daemon=True).start()
        return proc


def _take_log(reading: int) -> None:
    """Write what a server says to the log of the appliance, until it ends."""
    with contextlib.suppress(OSError), os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _said.info("%s", line.rstrip())


def _listens(host: str, port: int) -> bool:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not listened at)
    try:
        socket.create_connection((address, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def free_port(host: str, taken: Callable[[int], bool] = lambda _: False) -> int:
    """Return a TCP port that nothing listens at just now."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if not taken(port):
            return port
