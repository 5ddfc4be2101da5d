"""The test of a connector configuration, saved or not: each check as a row, as soon as it is known (CC-7)."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from sekiso.connectors.checks import CHECKS, CheckResult, CheckStatus
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.console.access import Who, pages
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent
from sekiso.console.pages.connectors.filling import sent
from sekiso.console.reader import Reader, reader_of
from sekiso.console.rendering import render, show
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.web.auth import Use
from sekiso.web.handlers import unexpected
from sekiso.web.params import Ref
from sekiso.web.shown import CheckRow, shown_check
from sekiso.web.streaming import NDJSON, coming

log = logging.getLogger(__name__)

_changing = pages("/connectors", role=Role.ADMINISTRATOR)
routers = (_changing,)
_UNPROCESSABLE = 422
#: The fields to look at where a check fails at the agent and not by a rule that names them.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "agent-reachable": ("agent",),
    "agent-version": ("agent",),
    "agent-account": ("agent",),
    "storage-probe": ("storage_path",),
    "free-space": ("storage_path",),
    "same-place": ("storage_unc_path",),
    "transfer-to-agent": ("storage_path",),
    "transfer-from-agent": ("storage_path",),
}


@_changing.post("/test")
async def test(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Test what a form holds."""
    filling = await run_in_threadpool(sent, form)
    try:
        rows = await run_in_threadpool(
            use.configurations.test, who, filling.connector, filling.values, reference=filling.reference
        )
    except ConfigurationInvalidError as error:
        return await run_in_threadpool(_refused, request, error)
    return _stream(request, rows)


@_changing.get("/{reference}/test")
def test_dialog(request: Request, reference: Ref, use: Use) -> Response:
    """Show the dialog in which a saved configuration is tested."""
    context = {"configuration": use.configurations.get(reference), "checks": CHECKS}
    return show(request, "connectors/test_dialog.html", context)


@_changing.post("/{reference}/test")
async def test_saved(request: Request, reference: Ref, use: Use, who: Who) -> Response:
    """Test a saved configuration."""
    try:
        rows = await run_in_threadpool(use.configurations.test_saved, who, reference)
    except ConfigurationInvalidError as error:
        return await run_in_threadpool(_refused, request, error)
    return _stream(request, rows)


def _refused(request: Request, error: SekisoError) -> Response:
    """Answer what cannot even be tested: the values have the wrong form."""
    failure = failure_of(error, request)
    told = render(reader_of(request), "connectors/test_refused.html", {"failure": failure})
    return JSONResponse({"html": told, "fields": dict(failure.fields)}, _UNPROCESSABLE)


def _stream(request: Request, rows: Iterator[CheckResult]) -> Response:
    reader = reader_of(request)
    lines = _lines(request, reader, coming(rows, request.app.state.waiting))
    return StreamingResponse(lines, media_type=NDJSON, headers={"Content-Language": reader.language})


async def _lines(request: Request, reader: Reader, rows: AsyncIterator[CheckResult]) -> AsyncIterator[bytes]:
    done: list[CheckRow] = []
    try:
        async for result in rows:
            done.append(shown_check(result, reader.language))
            yield await run_in_threadpool(_row_line, reader, done)
    except Exception as error:  # noqa: BLE001 (the answer has begun: only here it can still be said)
        known = (
            error if isinstance(error, SekisoError) else unexpected(request.method, request.url.path, error)
        )
        failure = failure_of(known, request)
        told = render(reader, "connectors/test_refused.html", {"failure": failure})
        yield _line({"html": told, "broken_off": True})


def _row_line(reader: Reader, done: list[CheckRow]) -> bytes:
    row = done[-1]
    fields = (row.fields or _FIELDS.get(row.code, ())) if row.status is CheckStatus.FAILED else ()
    rest = [check for check in CHECKS if check.code not in {r.code for r in done}]
    context = {"done": done, "row": row, "total": len(CHECKS)}
    return _line(
        {
            "code": row.code,
            "html": render(reader, "connectors/test_row.html", context),
            "next": rest[0].code if rest else "",
            "summary": render(reader, "connectors/test_summary.html", context),
            "fields": {name: [f"{row.detail} {row.what_to_do}".strip()] for name in fields},
        }
    )


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
