"""A small side of RFB each: a server that shows noise, a client that shakes hands (RFC 6143)."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

VERSION = b"RFB 003.008\n"
WIDTH, HEIGHT = 1920, 1080
#: One whole screen, four bytes for each point: 8.3 MB.
PICTURE_BYTES = WIDTH * HEIGHT * 4
KEY = struct.pack(">BBHI", 4, 1, 0, 0x61)
UPDATE = struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT)
_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class NoiseServer:
    """Shows the same picture to all who ask; remembers the keys that are pressed."""

    def __init__(self) -> None:
        self.picture = random.Random(1).randbytes(PICTURE_BYTES)
        self.keys: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def connect(self) -> socket.socket:
        """Return a connection to it."""
        return socket.create_connection(self._listener.getsockname())

    def cut(self) -> None:
        """End every connection, as a machine that is turned off does."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), peer:
            take = _exactly(lambda: peer.recv(65536))
            peer.sendall(VERSION)
            assert take(12) == VERSION
            peer.sendall(b"\x01\x01")
            assert take(1) == b"\x01"
            peer.sendall(bytes(4))
            take(1)
            name = b"noise"
            peer.sendall(struct.pack(">HH", WIDTH, HEIGHT) + _FORMAT + struct.pack(">I", len(name)) + name)
            self._answer(peer, take)

    def _answer(self, peer: socket.socket, take: Callable[[int], bytes]) -> None:
        head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0)
        while True:
            kind = take(1)[0]
            if kind == 3:
                take(9)
                peer.sendall(head)
                peer.sendall(self.picture)
            elif kind == 4:
                self.keys.append(struct.unpack(">xxxI", take(7))[0])
            else:
                raise EOFError


@dataclass(frozen=True)
class Shown:
    """What a server says of its screen."""

    width: int
    height: int
    name: str


class RfbClient:
    """The client's side, over anything that receives and sends."""

    def __init__(self, receive: Callable[[], bytes], send: Callable[[bytes], None]) -> None:
        self._take, self._send = _exactly(receive), send

    def shake_hands(self) -> Shown:
        """Go up to the server's description of its screen, without a password."""
        assert self._take(12) == VERSION
        self._send(VERSION)
        assert 1 in self._take(self._take(1)[0])
        self._send(b"\x01")
        assert self._take(4) == bytes(4)
        self._send(b"\x01")
        width, height = struct.unpack(">HH", self._take(4))
        self._take(16)
        (length,) = struct.unpack(">I", self._take(4))
        return Shown(width, height, self._take(length).decode())

    def picture(self, width: int = WIDTH, height: int = HEIGHT) -> bytes:
        """Ask for the whole screen and return its points; the server sends them raw, in one piece or many."""
        self._send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        points = bytearray()
        while len(points) < width * height * 4:
            kind, count = struct.unpack(">BxH", self._take(4))
            assert kind == 0
            for _ in range(count):
                _, _, w, h, encoding = struct.unpack(">HHHHi", self._take(12))
                assert encoding == 0
                points += self._take(w * h * 4)
        return bytes(points)


def _exactly(receive: Callable[[], bytes]) -> Callable[[int], bytes]:
    came = bytearray()

    def take(count: int) -> bytes:
        while len(came) < count:
            data = receive()
            if not data:
                raise EOFError
            came.extend(data)
        found = bytes(came[:count])
        del came[:count]
        return found

    return take
