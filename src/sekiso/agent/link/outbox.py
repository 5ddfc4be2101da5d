"""What streams want to have sent over a connection, in order; nobody waits for the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from sekiso.agent.link.messages import encode
from sekiso.agent.link.streams import StreamMessage


class _Connection(Protocol):
    async def send(self, message: Any) -> None: ...


class Outbox:
    """Sends what streams say. It holds no more than their windows allow."""

    def __init__(self) -> None:
        """Prepare; called in the event loop that sends."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[str | bytes] = deque()
        self._some = asyncio.Event()

    def put(self, what: StreamMessage | bytes) -> None:
        """Have something sent. Thread-safe."""
        self._waiting.append(what if isinstance(what, bytes) else encode(what))
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and the connection with it
            self._loop.call_soon_threadsafe(self._some.set)

    async def run(self, connection: _Connection) -> None:
        """Send over a connection until it is lost."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._some.wait()
                self._some.clear()
                while self._waiting:
                    await connection.send(self._waiting.popleft())
