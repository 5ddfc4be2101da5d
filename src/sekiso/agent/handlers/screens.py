"""`packaging.screen`: the screen of a packaging machine, live (LY-2)."""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol, runtime_checkable

from sekiso.agent.handlers.errors import ScreenAbsentError
from sekiso.agent.link.errors import StreamEndedError
from sekiso.hypervisors.base import HypervisorDriver

_READ_BYTES = 256 << 10


@runtime_checkable
class ScreenDriver(Protocol):
    """A hypervisor driver whose machines' screens speak RFB."""

    def open_screen(self, machine_id: str) -> socket.socket:
        """Return a connection to a machine's screen; the caller closes it.

        Raises:
            WrongStateError: the machine is not running.
            SekisoError: nobody answers.
        """
        ...


def open_screen(driver: HypervisorDriver, machine_id: str) -> SocketStream:
    """Return the screen of a machine.

    Raises:
        ScreenAbsentError: the hypervisor has no such screens.
        SekisoError: as for `ScreenDriver.open_screen`.
    """
    if not isinstance(driver, ScreenDriver):
        raise ScreenAbsentError(hypervisor=driver.host().hypervisor)
    return SocketStream(driver.open_screen(machine_id))


class SocketStream:
    """`ByteStream` over a socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self._socket = sock

    def read(self) -> bytes:
        """See `ByteStream`. A peer that breaks off has ended: the machine was turned off."""
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """See `ByteStream`."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise StreamEndedError from error

    def close(self) -> None:
        """See `ByteStream`."""
        with contextlib.suppress(OSError):
            # A thread that waits in the socket is woken by this, not by closing it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
