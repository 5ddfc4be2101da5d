"""Streams of bytes over one connection: each end is a `Channel` (LY-2).

A piece of a stream is a binary message: the stream's number, 4 bytes, big-endian, then the bytes. Each side
may send as much as the other has given it credit for, so a reader that is slow stops its own stream only:
no memory fills, and what else goes over the connection is not held up.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable

from sekiso.agent.link.errors import StreamEndedError
from sekiso.agent.link.messages import StreamClosed, StreamCredit, StreamOpen, StreamOpened, StreamRefused
from sekiso.agent.link.plain_data import error_data, error_of
from sekiso.errors import SekisoError

#: What may be under way in one direction of one stream.
WINDOW_BYTES = 1 << 20
#: Credit is given when so much was read.
_QUARTER_BYTES = WINDOW_BYTES // 4
#: Longest piece: what else is to be sent gets its turn after each.
PIECE_BYTES = 64 << 10
_HEAD = struct.Struct(">I")

StreamMessage = StreamOpen | StreamOpened | StreamRefused | StreamCredit | StreamClosed
#: Sends a message or a piece; never waits for the network.
Say = Callable[[StreamMessage | bytes], None]


class Channel:
    """One end of a stream; see `agent.port.ByteStream`. Nothing is said while the lock is held."""

    def __init__(self, stream_id: int, say: Say, forget: Callable[[int], None]) -> None:
        """Begin a stream.

        Args:
            stream_id: its number.
            say: sends to the other end.
            forget: called when it has ended.
        """
        self.id, self._say, self._forget = stream_id, say, forget
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._came: deque[bytes] = deque()
        self._expected_bytes = self._credit_bytes = WINDOW_BYTES
        self._owed_bytes = 0
        self._over = self._closed_here = False
        self._failure: SekisoError | None = None

    def read(self) -> bytes:
        """See `ByteStream.read`."""
        with self._changed:
            self._changed.wait_for(lambda: self._came or self._over)
            if self._closed_here or not self._came:
                if self._failure is not None:
                    raise self._failure
                return b""
            data = b"".join(self._came)
            self._came.clear()
            credit_bytes = self._credit_for(len(data))
        if credit_bytes:
            self._say(StreamCredit(self.id, credit_bytes))
        return data

    def write(self, data: bytes) -> None:
        """See `ByteStream.write`."""
        head, rest = _HEAD.pack(self.id), memoryview(data)
        # What one thread writes stays together.
        with self._writing:
            while rest:
                count = self._reserved(len(rest))
                self._say(b"".join((head, rest[:count])))
                rest = rest[count:]

    def close(self, error: SekisoError | None = None) -> None:
        """See `ByteStream.close`.

        Args:
            error: what went wrong here; the other end raises it.
        """
        if self._end(error, closed_here=True):
            self._say(StreamClosed(self.id, None if error is None else error_data(error)))

    def end(self, error: SekisoError | None) -> None:
        """Take it that the other end has closed, or cannot be reached any more."""
        self._end(error, closed_here=False)

    def wait(self) -> None:
        """Wait until it has ended, by either side."""
        with self._changed:
            self._changed.wait_for(lambda: self._over)

    def take(self, data: bytes) -> None:
        """Take bytes that came."""
        with self._changed:
            if self._over:
                return
            too_much = len(data) > self._expected_bytes
            if not too_much:
                self._expected_bytes -= len(data)
                self._came.append(data)
                self._changed.notify_all()
        if too_much:
            # A peer that keeps to the rules does not get here: nothing that it sends may fill the memory.
            self.close(StreamEndedError())

    def take_credit(self, count: int) -> None:
        """Take it that the other end has read so many bytes."""
        with self._changed:
            self._credit_bytes = min(WINDOW_BYTES, self._credit_bytes + max(0, count))
            self._changed.notify_all()

    def _credit_for(self, count: int) -> int:
        self._owed_bytes += count
        if self._owed_bytes < _QUARTER_BYTES or self._over:
            return 0
        credit_bytes, self._owed_bytes = self._owed_bytes, 0
        self._expected_bytes += credit_bytes
        return credit_bytes

    def _reserved(self, wanted: int) -> int:
        """Wait until something may be sent; return how much of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._credit_bytes or self._over)
            if self._over:
                raise self._failure or StreamEndedError()
            count = min(wanted, self._credit_bytes, PIECE_BYTES)
            self._credit_bytes -= count
            return count

    def _end(self, failure: SekisoError | None, *, closed_here: bool) -> bool:
        """End it, once; return whether it had not ended before."""
        with self._changed:
            # Closed after the other end did: nobody wants what is left of it.
            self._closed_here |= closed_here
            if self._over:
                return False
            self._over, self._failure = True, failure
            self._changed.notify_all()
        self._forget(self.id)
        return True


class Channels:
    """The streams of one connection, at one side. Thread-safe."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}
        self._failure: SekisoError | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def add(self, stream_id: int) -> Channel:
        """Begin a stream.

        Raises:
            SekisoError: the connection has ended.
        """
        channel = Channel(stream_id, self._say, self._forget)
        with self._lock:
            if self._failure is not None:
                raise self._failure
            # A number that is used again is a mistake of the other side, and its own loss.
            self._channels[stream_id] = channel
        return channel

    def take(self, came: bytes | StreamCredit | StreamClosed) -> None:
        """Take what the other side says of a stream; of one that has ended nobody wants it."""
        if isinstance(came, bytes):
            self._take_piece(came)
            return
        channel = self._find(came.id)
        if channel is None:
            return
        if isinstance(came, StreamCredit):
            channel.take_credit(came.bytes)
        else:
            channel.end(None if came.error is None else error_of("stream", came.error))

    def _take_piece(self, piece: bytes) -> None:
        if len(piece) >= _HEAD.size:
            channel = self._find(_HEAD.unpack_from(piece)[0])
            if channel is not None:
                channel.take(piece[_HEAD.size :])

    def _find(self, stream_id: int) -> Channel | None:
        """Return a stream that has not ended."""
        with self._lock:
            return self._channels.get(stream_id)

    def end(self, error: SekisoError) -> None:
        """End every stream: the connection is lost; none is begun any more."""
        with self._lock:
            self._failure = self._failure or error
            left = list(self._channels.values())
        for channel in left:
            channel.end(error)

    def _forget(self, stream_id: int) -> None:
        with self._lock:
            self._channels.pop(stream_id, None)
