"""The little of ASGI that the server needs.

Source: ASGI specification 3.0, HTTP protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: the method, upper case.
        path: the path, decoded.
        headers: header fields as they came.
        receive: gives the next message of the request.
        send: takes the next message of the answer.
        pool: threads for what blocks.
    """

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    receive: Receive
    send: Send
    pool: Executor

    def fields(self) -> dict[str, str]:
        """Return the header fields by lower-case name; the first of each."""
        out: dict[str, str] = {}
        for name, value in self.headers:
            out.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return out

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run something that blocks without holding up other requests."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *args)

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin the answer."""
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def body(self, data: bytes, *, more: bool) -> None:
        """Send some of the answer's body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send an answer without a body."""
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        extra = [] if has_length or status == 304 else [("Content-Length", "0")]
        await self.start(status, [*headers, *extra])
        await self.body(b"", more=False)
