"""A TCP proxy whose connections can be cut, and which can be closed for a while."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable


class CutProxy:
    """Forwards to a port of this host."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self.cuts = 0
        #: Bytes that still pass before the next cut; None = no limit.
        self.budget: int | None = None
        self.open = True
        self._start(self._accept)

    def cut(self) -> None:
        """Break every connection, as a network does: no goodbye."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self.cuts += len(pairs) > 0
        for side in (s for pair in pairs for s in pair):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _start(self, what: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self.open:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._target()), timeout=2)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            self._start(self._pair, near, far)

    def _pair(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join(5)
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                sink.sendall(self._allowed(data))
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self.budget is None:
                return data
            data, self.budget = data[: self.budget], self.budget - len(data)
            spent = self.budget <= 0
            if spent:
                self.budget = None
        if spent:
            self.cut()
        return data
