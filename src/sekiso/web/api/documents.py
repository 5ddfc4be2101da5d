"""Connector configurations as documents, to keep them as files (CC-11)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import yaml
from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from sekiso.model.library import Role
from sekiso.services.configurations import Applied
from sekiso.services.core import Actor, require
from sekiso.web.answers import Responses, topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import Reference
from sekiso.web.services import Services
from sekiso.web.yaml_documents import read_documents

router = topic("connector configurations")
_YAML, _JSON = "application/yaml", "application/json"
_DOCUMENT: dict[str, Any] = {"type": "object", "description": "A connector configuration."}
_EXPORTED: Responses = {
    200: {
        "description": "The documents.",
        "content": {
            # A stream of documents: no schema can say that.
            _YAML: {},
            _JSON: {"schema": {"type": "array", "items": _DOCUMENT}},
        },
    }
}
_APPLIED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Documents as YAML or JSON: at most 1 MiB, without aliases, no key twice.",
        "content": {
            _JSON: {"schema": {"anyOf": [_DOCUMENT, {"type": "array", "items": _DOCUMENT}]}},
            _YAML: {"schema": _DOCUMENT},
        },
    }
}


@router.get(
    "/connector-configurations/export",
    operation_id="export_configurations",
    response_class=Response,
    responses=_EXPORTED,
)
def export_configurations(
    use: Use,
    reference: Annotated[list[Reference] | None, Query(max_length=1000)] = None,
    format: Literal["yaml", "json"] = "yaml",
) -> Response:
    """Return configurations as documents, as YAML or JSON; all if none is named."""
    documents = use.configurations.export(reference or ())
    if format == "json":
        return Response(json.dumps(documents, ensure_ascii=False, indent=1), media_type=_JSON)
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    return Response(text, media_type=_YAML)


@router.post("/connector-configurations/apply", operation_id="apply_configurations", openapi_extra=_APPLIED)
async def apply_configurations(
    request: Request, use: Use, who: Who, *, dry_run: bool = False
) -> tuple[Applied, ...]:
    """Save the configurations of documents: all of them or none."""
    # Before anything is read: reading takes its time.
    require(who, Role.ADMINISTRATOR)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await request.body()
    return await run_in_threadpool(_apply, use, who, data, is_json=media_type == _JSON, dry_run=dry_run)


def _apply(use: Services, who: Actor, data: bytes, *, is_json: bool, dry_run: bool) -> tuple[Applied, ...]:
    documents = read_documents(data, is_json=is_json)
    return use.configurations.apply(who, documents, source="request", dry_run=dry_run)
