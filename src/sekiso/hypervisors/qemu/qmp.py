"""Talking to a running QEMU: one short QMP session per question, from synchronous code.

The client library is asyncio; it runs in one private loop thread, so that it works the same from plain code,
from worker threads and from within somebody else's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Coroutine, Generator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from sekiso.hypervisors.errors import HypervisorError

SOCKET_NAME = "qmp.sock"
SCREEN_NAME = "vnc.sock"
_TIMEOUT_S = 20.0
_T = TypeVar("_T")

# The library logs every failed connection as an error of its own; ours are typed and reported by the caller.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class QmpUnreachableError(Exception):
    """Nobody answers at the control socket: QEMU is starting, ending, or gone. Never leaves the package."""


class QmpTimeoutError(QmpUnreachableError):
    """Somebody listens at the control socket but does not answer: QEMU hangs. Never leaves the package."""


class Qmp:
    """An open QMP session."""

    def __init__(self, client: QMPClient, machine: str, timeout_s: float) -> None:
        self._client = client
        self._machine = machine
        self._timeout_s = timeout_s

    def execute(self, command: str, **arguments: object) -> Any:
        """Run one command and return its answer; underscores in argument names become hyphens.

        Raises:
            HypervisorError: QEMU refused it.
            QmpUnreachableError: QEMU ended meanwhile.
        """
        args = {k.replace("_", "-"): v for k, v in arguments.items()}
        try:
            return _run(self._client.execute(command, args or None), self._timeout_s)
        except ExecuteError as error:
            operation = f"carry out {command}"
            raise HypervisorError(machine=self._machine, operation=operation, reason=str(error)) from error
        except TimeoutError as error:
            raise QmpTimeoutError("no answer in time") from error
        except (QMPError, OSError, EOFError, asyncio.CancelledError) as error:
            raise QmpUnreachableError(str(error)) from error


@contextlib.contextmanager
def session(folder: Path, machine: str, *, timeout_s: float = _TIMEOUT_S) -> Generator[Qmp]:
    """Open a session with the QEMU whose socket lies in `folder`.

    Args:
        folder: the machine's folder.
        machine: its name, for messages.
        timeout_s: how long each step may take.

    Raises:
        QmpUnreachableError: nobody answers there.
    """
    client = QMPClient(machine)
    try:
        _run(client.connect(connect_socket(folder, SOCKET_NAME)), timeout_s)
    except TimeoutError as error:
        raise QmpTimeoutError("no greeting in time") from error
    except (QMPError, OSError, EOFError) as error:
        raise QmpUnreachableError(str(error)) from error
    try:
        yield Qmp(client, machine, timeout_s)
    finally:
        # QEMU may close first (after `quit`); then there is nothing left to close in good order.
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError, asyncio.CancelledError):
            _run(client.disconnect(), timeout_s)


def connect_socket(folder: Path, name: str) -> socket.socket:
    """Connect to a Unix socket however long its path is.

    The kernel allows 107 bytes in a socket's address; through a descriptor of the folder any path fits.
    Source: unix(7), "struct sockaddr_un".

    Raises:
        OSError: nobody listens there.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_TIMEOUT_S)
        sock.connect(f"/proc/self/fd/{descriptor}/{name}")
    except OSError:
        sock.close()
        raise
    finally:
        os.close(descriptor)
    return sock


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sekiso-qmp", daemon=True).start()
    return loop


def _run(work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), _loop()).result()
