"""The list of layers of a kind, as cards or as a table (LY-7)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from sekiso.console.access import pages
from sekiso.console.pages.layers.working import beginning, working_tasks
from sekiso.console.rendering import show
from sekiso.errors import NotFoundError
from sekiso.i18n import mark
from sekiso.model.layer import LayerKind
from sekiso.model.library import LayerRecord
from sekiso.model.listing import LayerSort
from sekiso.model.paging import Listing
from sekiso.web.auth import Use
from sekiso.web.services import Services

router = pages("/layers")

LIST_ID = "layers-list"
_VIEW_COOKIE = "sekiso_layers_view"
_YEAR_S = 365 * 24 * 3600
_ROWS = 48  # full rows of cards, three or four abreast
_SORTS = {
    LayerSort.NAME: mark("Name"),
    LayerSort.CHANGED: mark("Last changed"),
    LayerSort.CREATED: mark("Created"),
    LayerSort.SIZE: mark("Size"),
    LayerSort.VERSIONS: mark("Number of versions"),
    LayerSort.PRIORITY: mark("Priority"),
}
_KINDS = {
    LayerKind.OS: mark("OS layers"),
    LayerKind.PLATFORM: mark("Platform layers"),
    LayerKind.APP: mark("App layers"),
}


@router.get("")
def list_layers(
    request: Request,
    use: Use,
    kind: LayerKind = LayerKind.OS,
    view: Literal["cards", "list", ""] = "",
    text: Annotated[str, Query(max_length=200)] = "",
    sort: LayerSort = LayerSort.NAME,
    os: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """Show a page of the layers of a kind."""
    chosen = view or ("list" if request.cookies.get(_VIEW_COOKIE) == "list" else "cards")
    os_layer = _os_layer(use, os)
    page = use.layers.page(
        kind=kind,
        os_layer_id=os_layer.id if os_layer is not None else None,
        listing=Listing(text=text, sort=sort, offset=offset, limit=_ROWS),
    )
    tasks = working_tasks(use)
    query = {"kind": kind.value, "text": text, "sort": sort.value, "os": os_layer.id if os_layer else ""}
    context: dict[str, Any] = {
        "kind": kind,
        "kinds": _KINDS,
        "sorts": {key: label for key, label in _SORTS.items() if _has(kind, key)},
        "view": chosen,
        "query": query,
        "os_layer": os_layer,
        "page": page,
        "tasks": tasks,
        "beginning": beginning(use, kind, tasks.values()) if offset == 0 and not text else (),
        "hint": _hint(use, kind) if page.total == 0 and not text else "",
    }
    is_part = request.headers.get("hx-target") == LIST_ID
    response = show(request, "layers/rows.html" if is_part else "layers/list.html", context)
    if view:
        response.set_cookie(
            _VIEW_COOKIE, view, max_age=_YEAR_S, secure=True, httponly=True, samesite="lax", path="/layers"
        )
    return response


def _has(kind: LayerKind, sort: LayerSort) -> bool:
    return sort is not LayerSort.PRIORITY or kind is LayerKind.APP


def _os_layer(use: Services, reference: str) -> LayerRecord | None:
    """Return the OS layer that the list is narrowed to; one that is gone narrows nothing."""
    if not reference:
        return None
    try:
        return use.layers.get(reference, LayerKind.OS).layer
    except NotFoundError:
        return None


def _hint(use: Services, kind: LayerKind) -> str:
    """Return what is missing before there can be a layer: `agent`, `configuration`, `os`, or `none`."""
    if not any(not agent.revoked for agent in use.agents.list()):
        return "agent"
    if not use.configurations.list():
        return "configuration"
    if kind is not LayerKind.OS and not use.layers.choices(LayerKind.OS, limit=1):
        return "os"
    return "none"
