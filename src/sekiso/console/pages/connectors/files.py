"""Connector configurations as files: export, and import after a look at what it would do (CC-11)."""

from __future__ import annotations

from typing import Annotated

import yaml
from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.services.core import Actor
from sekiso.web.auth import Use
from sekiso.web.bodies import Reference
from sekiso.web.services import Services
from sekiso.web.yaml_documents import MAX_BYTES, read_documents

_reading, _changing = pages("/connectors"), pages("/connectors", role=Role.ADMINISTRATOR)
routers = (_reading, _changing)
_UNPROCESSABLE = 422
_FILE = "connector-configurations.yaml"


@_reading.get("/export")
def export(use: Use, reference: Annotated[list[Reference] | None, Query(max_length=1000)] = None) -> Response:
    """Download configurations as YAML; all if none is named."""
    documents = use.configurations.export(reference or ())
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    headers = {"Content-Disposition": f'attachment; filename="{_FILE}"'}
    return Response(text, media_type="application/yaml", headers=headers)


@_changing.get("/import")
def import_page(request: Request) -> Response:
    """Ask for a file."""
    return show(
        request, "connectors/import.html", {"text": "", "failure": None, "applied": None, "source": ""}
    )


@_changing.post("/import/preview")
async def preview(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Show what a file would do, or what is wrong with it and where."""
    data, source = form.text("text").encode(), form.text("source")
    if (file := form.file("file")) is not None:
        data, source = await file.read(MAX_BYTES + 1), _name_of(file.filename or "")
        await file.close()
    return await run_in_threadpool(_previewed, request, use, who, data, source)


@_changing.post("/import")
def apply(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Save what was looked at."""
    data, source = form.text("text").encode(), form.text("source")
    try:
        done = use.configurations.apply(who, read_documents(data), source=source or "YAML")
    except SekisoError as error:
        return _told(request, data, source, error)
    count = sum(1 for one in done if one.action != "unchanged")
    return go(request, "/connectors", "{count} connector configurations were saved.", count=count)


def _previewed(request: Request, use: Services, who: Actor, data: bytes, source: str) -> Response:
    try:
        documents = read_documents(data)
        applied = use.configurations.apply(who, documents, source=source or "YAML", dry_run=True)
    except SekisoError as error:
        return _told(request, data, source, error)
    context = {"text": data.decode("utf-8-sig"), "source": source, "failure": None, "applied": applied}
    return show(request, "connectors/import_parts.html", context)


def _told(request: Request, data: bytes, source: str, error: SekisoError) -> Response:
    """Answer why a file cannot be taken over; what it holds stays, to be mended on the page."""
    failure = failure_of(error, request)
    context = {
        "text": data[:MAX_BYTES].decode("utf-8", "replace"),
        "source": source,
        "failure": failure,
        "applied": None,
    }
    return show(request, "connectors/import_parts.html", context, status=_UNPROCESSABLE)


def _name_of(filename: str) -> str:
    """Return the name of a file without the folder that some browsers send, as far as it can be shown."""
    name = filename.replace("\\", "/").rpartition("/")[2][:100]
    return name if name.isprintable() else ascii(name)
