"""Logs of the appliance."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from sekiso.services.logs import MAX_DAYS
from sekiso.web.answers import content, topic
from sekiso.web.auth import Use, Who

router = topic("logs")
_GZIP = "application/gzip"
_Days = Annotated[int, Query(ge=1, le=MAX_DAYS, description="Tasks of so many days are in it.")]


@router.get(
    "/logs/bundle",
    operation_id="download_support_bundle",
    response_class=Response,
    responses=content(_GZIP, "The archive."),
)
def download_support_bundle(use: Use, who: Who, days: _Days = 7) -> Response:
    """Download logs and the state of the appliance in one archive, without secrets."""
    name = time.strftime("sekiso-support-%Y%m%d-%H%M%S.tar.gz", time.gmtime())
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(use.logs.bundle(who, days=days), media_type=_GZIP, headers=headers)
