"""Rows that come one by one: sent as soon as each is known, or together (CC-7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from sekiso.connectors.checks import CheckResult
from sekiso.errors import SekisoError
from sekiso.web.handlers import unexpected
from sekiso.web.languages import language_of
from sekiso.web.problems import problem_of
from sekiso.web.shown import shown_check

NDJSON = "application/x-ndjson"


async def rows_response(
    request: Request, rows: Iterator[CheckResult], limiter: anyio.CapacityLimiter
) -> Response:
    """Answer rows: each when it is known if the client accepts NDJSON, else all as one list.

    A failure after the first row is a problem document as last line: the status is out by then.

    Args:
        request: the request.
        rows: the rows; the next one is asked for in a thread.
        limiter: how many such threads there are at once.
    """
    language = language_of(request)
    found = coming(rows, limiter)
    if NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(_lines(request, found, language), media_type=NDJSON)
    return JSONResponse([_plain(row, language) async for row in found])


async def coming(rows: Iterator[CheckResult], limiter: anyio.CapacityLimiter) -> AsyncIterator[CheckResult]:
    """Yield rows as they come; each is asked for in a thread, and none after the reader has gone away."""
    try:
        while (row := await anyio.to_thread.run_sync(next, rows, None, limiter=limiter)) is not None:
            yield row
    finally:
        # Also when the client has gone away: the check under way ends, and no other begins.
        if isinstance(rows, Generator):
            rows.close()


async def _lines(request: Request, found: AsyncIterator[CheckResult], language: str) -> AsyncIterator[bytes]:
    try:
        async for row in found:
            yield _line(_plain(row, language))
    except SekisoError as error:
        yield _line(problem_of(error, language))
    except Exception as error:  # noqa: BLE001 (the answer has begun: only here it can still be said)
        failure = unexpected(request.method, request.url.path, error)
        yield _line(problem_of(failure, language))


def _plain(row: CheckResult, language: str) -> dict[str, Any]:
    return msgspec.to_builtins(shown_check(row, language))


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
