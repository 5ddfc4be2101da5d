"""Files that users upload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from sekiso.model.library import Role
from sekiso.services.core import require
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who
from sekiso.web.uploads import receive_run_once

router = topic("uploads")
_TAR: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A tar file, not compressed, of plain files and folders; at most 2 GiB.",
        "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was uploaded, by its identifier."""

    id: str


@router.post("/uploads/run-once", operation_id="upload_run_once", status_code=201, openapi_extra=_TAR)
async def upload_run_once(request: Request, use: Use, who: Who) -> Uploaded:
    """Upload a tar file with run.sh and what it needs, for a packaging machine."""
    require(who, Role.LAYER_MANAGER)
    length = request.headers.get("content-length", "")
    length_bytes = int(length) if length.isdecimal() else 0
    return Uploaded(await receive_run_once(request.stream(), use.uploads, length_bytes))
