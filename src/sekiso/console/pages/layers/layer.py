"""The page of a layer: what it is, its versions, where they are used, what can be done (LY-4, LY-7)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sekiso.console.access import Who, is_part, pages
from sekiso.console.answers import go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Form, Sent, checked
from sekiso.console.pages.layers.working import working_tasks
from sekiso.console.rendering import show
from sekiso.console.subjects import place_of
from sekiso.errors import NotFoundError, SekisoError
from sekiso.model.layer import LayerKind
from sekiso.model.library import Role, VersionState
from sekiso.model.listing import LayerSummary
from sekiso.model.paging import Listing, Page
from sekiso.services.layer_lists import LayerView
from sekiso.web.auth import Use
from sekiso.web.bodies import LayerChange, Renaming
from sekiso.web.services import Services

_see = pages("/layers")
_change = pages("/layers", role=Role.LAYER_MANAGER)

_MOST_ON_IT = 24


@_see.get("/{layer_id}")
def layer_page(request: Request, layer_id: str, use: Use) -> Response:
    """Show a layer."""
    return show(request, "layers/layer.html", _context(use, layer_id))


@_see.get("/{layer_id}/state")
def layer_state(request: Request, layer_id: str, use: Use) -> Response:
    """Show a layer again, in its own page."""
    try:
        return show(request, "layers/layer_body.html", _context(use, layer_id))
    except NotFoundError:
        if not is_part(request):
            raise
        return go(request, "/layers", "What was shown here has been deleted.")


@_change.get("/{layer_id}/change")
def change_dialog(request: Request, layer_id: str, use: Use) -> Response:
    """Ask for what is to be changed."""
    layer = use.layers.get(layer_id).layer
    values = {"name": layer.name, "notes": layer.notes, "icon": layer.icon, "priority": layer.priority}
    return show(request, "layers/change.html", {"layer": layer, "v": values, "failure": None})


@_change.post("/{layer_id}/change")
def change(request: Request, layer_id: str, form: Sent, use: Use, who: Who) -> Response:
    """Change name, notes, icon and priority."""
    layer = use.layers.get(layer_id).layer
    try:
        body = checked(LayerChange, _changes(form, layer.kind))
        view = use.layers.change(
            who, layer_id, name=body.name, notes=body.notes, icon=body.icon, priority=body.priority
        )
    except SekisoError as error:
        context = {"layer": layer, "v": form.values(), "failure": failure_of(error, request)}
        return show(request, "layers/change.html", context, status=422)
    return go(request, f"/layers/{layer.id}", "The layer {name} was changed.", name=view.layer.name)


@_change.get("/{layer_id}/clone")
def clone_dialog(request: Request, layer_id: str, use: Use) -> Response:
    """Ask for the name of the copy."""
    return show(
        request, "layers/clone.html", {"layer": use.layers.get(layer_id).layer, "name": "", "failure": None}
    )


@_change.post("/{layer_id}/clone")
def clone(request: Request, layer_id: str, form: Sent, use: Use, who: Who) -> Response:
    """Make a layer with the deployable versions of this one."""
    try:
        view = use.layers.clone(who, layer_id, checked(Renaming, {"name": form.text("name")}).name)
    except SekisoError as error:
        layer, failure = use.layers.get(layer_id).layer, failure_of(error, request)
        context = {"layer": layer, "name": form.text("name"), "failure": failure}
        return show(request, "layers/clone.html", context, status=422)
    return go(request, f"/layers/{view.layer.id}", "The layer {name} was made.", name=view.layer.name)


@_change.get("/{layer_id}/delete")
def delete_dialog(request: Request, layer_id: str, use: Use) -> Response:
    """Ask whether a layer is deleted; one that is in use cannot be."""
    view = use.layers.get(layer_id)
    return show(request, "layers/delete_layer.html", _deletion(use, view) | {"failure": None})


@_change.post("/{layer_id}/delete")
def delete(request: Request, layer_id: str, use: Use, who: Who) -> Response:
    """Delete a layer with all its versions."""
    view = use.layers.get(layer_id)
    try:
        use.layers.remove(who, layer_id)
    except SekisoError as error:
        context = _deletion(use, view) | {"failure": failure_of(error, request)}
        return show(request, "layers/delete_layer.html", context, status=422)
    return go(
        request, f"/layers?kind={view.layer.kind.value}", "The layer {name} is deleted.", name=view.layer.name
    )


def _context(use: Services, layer_id: str) -> dict[str, Any]:
    view = use.layers.get(layer_id)
    return {
        "view": view,
        "layer": view.layer,
        "tasks": working_tasks(use, view.layer.id),
        "used": _used(view),
        "on_it": _on_it(use, view),
        "can_add": any(v.version.state is VersionState.DEPLOYABLE for v in view.versions),
        "place_of": place_of,
    }


def _deletion(use: Services, view: LayerView) -> dict[str, Any]:
    return {"view": view, "used": _used(view), "on_it": _on_it(use, view), "place_of": place_of}


def _used(view: LayerView) -> list[tuple[Any, str]]:
    """Return what uses versions of a layer, each with the name of the version."""
    return [(user, item.version.name) for item in view.versions for user in item.used_by]


def _on_it(use: Services, view: LayerView) -> Page[LayerSummary] | None:
    """Return layers that were made on an OS layer; None for layers of other kinds."""
    if view.layer.kind is not LayerKind.OS:
        return None
    return use.layers.page(os_layer_id=view.layer.id, listing=Listing(limit=_MOST_ON_IT))


def _changes(form: Form, kind: LayerKind) -> dict[str, Any]:
    found: dict[str, Any] = {key: form.text(key) for key in ("name", "notes", "icon") if key in form}
    if kind is LayerKind.APP and (priority := form.number("priority")) is not None:
        found["priority"] = priority
    return found


router = APIRouter()
router.include_router(_see)
router.include_router(_change)
