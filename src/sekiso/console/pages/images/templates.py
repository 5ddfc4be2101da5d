"""Image templates: the list, and the page of each (IM-1)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from sekiso.console.access import pages
from sekiso.console.pages.images.listing import Listed
from sekiso.console.pages.images.seen import Seen, mark_of, nothing_new
from sekiso.console.rendering import show
from sekiso.model.listing import ImageSort
from sekiso.model.paging import Listing
from sekiso.services.templates import TemplateView
from sekiso.web.auth import Use
from sekiso.web.bodies import TemplateBody
from sekiso.web.params import Ref

router = pages("/images/templates")
_NEWEST_IMAGES = 10


@router.get("")
def templates(request: Request, use: Use, asked: Listed, seen: Seen = "") -> Response:
    """List the image templates."""
    page = use.templates.page(asked.listing)
    mark = mark_of(page)
    if seen == mark:
        return nothing_new()
    query, is_narrowed = asked.query, bool(asked.text)
    context = {"page": page, "asked": asked, "query": query, "is_narrowed": is_narrowed, "mark": mark}
    return show(request, "images/templates.html", context)


@router.get("/{reference}")
def template(request: Request, use: Use, reference: Ref, seen: Seen = "") -> Response:
    """Show an image template."""
    view = use.templates.get(reference)
    record = view.template
    newest = Listing(sort=ImageSort.CREATED, limit=_NEWEST_IMAGES)
    images = use.images.page(template=record.id, listing=newest)
    mark = mark_of(images)
    if seen == mark:
        return nothing_new()
    context = {
        "view": view,
        "mark": mark,
        "template": record,
        "stack": use.templates.stack(record.version_ids),
        "unready": use.templates.unready(record.version_ids),
        "images": images,
    }
    return show(request, "images/template.html", context)


@router.get("/{reference}/export")
def export(use: Use, reference: Ref) -> Response:
    """Return a template as the body that the REST API makes it from."""
    view = use.templates.get(reference)
    text = json.dumps(_body(view), ensure_ascii=False, indent=2)
    name = quote(f"{view.template.name}.json", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(f"{text}\n", media_type="application/json", headers=headers)


def _body(view: TemplateView) -> dict[str, Any]:
    record = view.template
    values = {name: getattr(record, name) for name in TemplateBody.model_fields if name != "configuration"}
    body = TemplateBody(configuration=view.configuration_name or record.configuration_id, **values)
    return body.model_dump(mode="json")
