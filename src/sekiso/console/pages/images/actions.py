"""What is done with image templates: publishing, cloning, deleting (IM-1, IM-2)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.rendering import address, show
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.services.templates import MAX_AT_ONCE
from sekiso.web.auth import Use
from sekiso.web.bodies import Publication, Renaming
from sekiso.web.params import Ref
from sekiso.web.services import Services

router = pages("/images/templates", role=Role.PUBLISHER)


@router.get("/publish")
def publish_dialog(
    request: Request, use: Use, templates: Annotated[list[str] | None, Query(max_length=500)] = None
) -> Response:
    """Ask how many images of these templates shall be published."""
    return show(request, "images/publish.html", _publication(use, templates or (), "1", None))


@router.post("/publish")
def publish(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Publish images."""
    chosen = form.many("templates")
    try:
        body = checked(Publication, {"templates": chosen, "count": form.number("count")})
        tasks = use.templates.publish(who, body.templates, count=body.count)
    except SekisoError as error:
        context = _publication(use, chosen, form.text("count"), failure_of(error, request))
        return show(request, "images/publish.html", context, status=422)
    return go(request, "/images", "Publishing was started. Images: {count}.", count=len(tasks))


@router.get("/{reference}/clone")
def clone_dialog(request: Request, use: Use, reference: Ref) -> Response:
    """Ask for the name of the copy."""
    view = use.templates.get(reference)
    return show(request, "images/clone.html", {"view": view, "name": "", "failure": None})


@router.post("/{reference}/clone")
def clone(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Make a template like another."""
    try:
        body = checked(Renaming, {"name": form.maybe("name")} if form.text("name") else {})
        made = use.templates.clone(who, reference, body.name)
    except SekisoError as error:
        context = {
            "view": use.templates.get(reference),
            "name": form.text("name"),
            "failure": failure_of(error, request),
        }
        return show(request, "images/clone.html", context, status=422)
    where = address("/images/templates", made.template.id)
    return go(request, where, "The image template {name} was made.", name=made.template.name)


@router.delete("/{reference}")
def remove(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Delete a template; its images stay."""
    name = use.templates.get(reference).template.name
    use.templates.remove(who, reference)
    return go(request, "/images/templates", "The image template {name} was deleted.", name=name)


def _publication(use: Services, references: Any, count: str, failure: Failure | None) -> dict[str, Any]:
    views = [use.templates.get(reference) for reference in dict.fromkeys(references)]
    return {"views": views, "count": count, "most": MAX_AT_ONCE, "failure": failure}
