"""A tiny RFB server (RFC 6143, version 3.8, no authentication): one colour, and it remembers keys."""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from io import BufferedRWPair

BLUE = (16, 64, 208)
_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


@dataclass
class RfbServer:
    """Screens of one size and one colour.

    Attributes:
        width: pixels.
        height: pixels.
        colour: red, green and blue, each up to 255.
        shifts: where a pixel has red, green and blue, as the last client has asked for it.
        keys: keysym and whether it went down, in order.
        connections: those that are open, or were.
    """

    width: int = 320
    height: int = 200
    colour: tuple[int, int, int] = BLUE
    shifts: tuple[int, int, int] = (16, 8, 0)
    keys: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])
    connections: list[socket.socket] = field(default_factory=list[socket.socket])

    def connect(self) -> socket.socket:
        """Return the client's end of a new connection."""
        client, own = socket.socketpair()
        self.connections.append(own)
        threading.Thread(target=self._serve, args=(own,), daemon=True).start()
        return client

    def break_off(self) -> None:
        """End every connection, as a machine does that loses its power."""
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def pressed(self) -> list[int]:
        """Return the keysyms that went down, in order."""
        return [keysym for keysym, is_down in self.keys if is_down]

    def held(self) -> set[int]:
        """Return the keysyms of keys that are down."""
        last = dict(self.keys)
        return {keysym for keysym, is_down in last.items() if is_down}

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            try:
                self._greet(stream)
                while kind := stream.read(1):
                    self._answer(kind[0], stream)
            except (OSError, struct.error):
                return  # it was broken off

    def _greet(self, stream: BufferedRWPair) -> None:
        _send(stream, b"RFB 003.008\n")
        stream.read(12)
        _send(stream, b"\x01\x01")
        stream.read(1)
        _send(stream, struct.pack(">I", 0))
        stream.read(1)
        name = b"test"
        _send(
            stream,
            struct.pack(">HH", self.width, self.height) + _FORMAT + struct.pack(">I", len(name)) + name,
        )

    def _answer(self, kind: int, stream: BufferedRWPair) -> None:
        match kind:
            case 0:  # SetPixelFormat
                self.shifts = struct.unpack(">13xBBB3x", stream.read(19))
            case 2:  # SetEncodings
                (count,) = struct.unpack(">xH", stream.read(3))
                stream.read(4 * count)
            case 3:  # FramebufferUpdateRequest
                is_incremental = stream.read(9)[0]
                if not is_incremental:
                    _send(stream, self._picture())
            case 4:  # KeyEvent
                is_down, keysym = struct.unpack(">BxxI", stream.read(7))
                self.keys.append((keysym, bool(is_down)))
            case 5:  # PointerEvent
                stream.read(5)
            case 6:  # ClientCutText
                (length,) = struct.unpack(">xxxI", stream.read(7))
                stream.read(length)
            case _:
                raise OSError(f"message {kind}")

    def _picture(self) -> bytes:
        parts = (value << shift for value, shift in zip(self.colour, self.shifts, strict=True))
        pixel = struct.pack("<I", sum(parts))
        head = struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 0, 0, self.width, self.height, 0)
        return head + pixel * (self.width * self.height)


def _send(stream: BufferedRWPair, data: bytes) -> None:
    stream.write(data)
    stream.flush()
