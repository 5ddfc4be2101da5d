"""What pages answer after an action: go somewhere, and say what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from sekiso.console.access import is_part
from sekiso.console.reader import reader_of
from sekiso.i18n import translate


def go(request: Request, address: str, notice: str = "", **gaps: object) -> Response:
    """Lead to a page, which then shows a notice.

    Args:
        request: the request.
        address: address of the page.
        notice: the text, English; translated here.
        gaps: values for its gaps.
    """
    if not is_part(request):
        return RedirectResponse(address, 303)
    headers = {"HX-Redirect": address, **_trigger(request, notice, gaps, is_later=True)}
    return Response(status_code=204, headers=headers)


def done(request: Request, notice: str = "", *, refresh: str = "", **gaps: object) -> Response:
    """Stay on the page, show a notice, and have parts of the page that wait for an event refresh themselves.

    Args:
        request: the request.
        notice: the text, English; translated here.
        refresh: name of the event, `sekiso:…`; empty = none.
        gaps: values for the gaps of the text.
    """
    headers = _trigger(request, notice, gaps, is_later=False, more={refresh: None} if refresh else {})
    return Response(status_code=204, headers=headers)


def noticed(response: Response, request: Request, notice: str, **gaps: object) -> Response:
    """Add a notice to an answer that replaces a part of the page."""
    response.headers.update(_trigger(request, notice, gaps, is_later=False))
    return response


def _trigger(
    request: Request,
    notice: str,
    gaps: Mapping[str, object],
    *,
    is_later: bool,
    more: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    events: dict[str, Any] = dict(more or {})
    if notice:
        told = translate(notice, reader_of(request).language).format_map(dict(gaps))
        events["sekiso:notice"] = {"text": told, "later": is_later}
    # ASCII: a header holds nothing else.
    return {"HX-Trigger": json.dumps(events)} if events else {}
