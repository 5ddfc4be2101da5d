"""Speaks to the application directly: each message as one would come over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sekiso.transfer.server import TransferApp


@dataclass
class Answer:
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: int = 0


async def ask(
    app: TransferApp,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: Sequence[bytes] = (b"",),
    *,
    is_cut: bool = False,
    before_piece: Callable[[int], Awaitable[None]] | None = None,
) -> Answer:
    """Send one request; `is_cut` drops the connection after the last piece of the body."""
    answer = Answer()
    incoming = iter(enumerate(body))
    last = len(body) - 1

    async def receive() -> dict[str, Any]:
        number, piece = next(incoming, (-1, b""))
        if number < 0:
            if is_cut:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
        if before_piece is not None:
            await before_piece(number)
        return {"type": "http.request", "body": piece, "more_body": is_cut or number < last}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0
            answer.status = message["status"]
            for name, value in message["headers"]:
                assert name.decode() not in answer.fields
                answer.fields[name.decode()] = value.decode()
        else:
            answer.body += message["body"]
            answer.pieces += 1

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await app(scope, receive, send)
    assert answer.status
    if method != "HEAD" and answer.status != 304:
        assert int(answer.fields["content-length"]) == len(answer.body)
    return answer
