"""The page of a layer version: what it is, what it was made on, who uses it, what can be done (LY-4)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sekiso.console.access import Who, is_part, pages
from sekiso.console.answers import go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent
from sekiso.console.pages.layers.working import working_tasks
from sekiso.console.rendering import show
from sekiso.console.subjects import place_of
from sekiso.errors import NotFoundError, SekisoError
from sekiso.model.library import Role, VersionRecord, VersionState
from sekiso.services.layer_lists import VersionView
from sekiso.web.auth import Use
from sekiso.web.services import Services

_see = pages("/layers/versions")
_change = pages("/layers/versions", role=Role.LAYER_MANAGER)

_OPEN = (VersionState.EDITING, VersionState.FINALIZABLE)


@_see.get("/{version_id}")
def version_page(request: Request, version_id: str, use: Use) -> Response:
    """Show a version."""
    return show(request, "layers/version.html", _context(use, version_id))


@_see.get("/{version_id}/state")
def version_state(request: Request, version_id: str, use: Use) -> Response:
    """Show a version again, in its own page."""
    try:
        return show(request, "layers/version_body.html", _context(use, version_id))
    except NotFoundError:
        if not is_part(request):
            raise
        return go(request, "/layers", "What was shown here has been deleted.")


@_change.get("/{version_id}/finalize")
def finalize_dialog(request: Request, version_id: str, use: Use) -> Response:
    """Ask whether a version is finalized, and say what is unfinished in the guest."""
    return show(request, "layers/finalize.html", {"view": use.layers.version(version_id), "failure": None})


@_change.post("/{version_id}/finalize")
def finalize(request: Request, version_id: str, form: Sent, use: Use, who: Who) -> Response:
    """Turn what was installed on the packaging machine into a deployable version."""
    view = use.layers.version(version_id)
    try:
        use.layers.finalize(who, version_id, override_gate=form.flag("override_gate"))
    except SekisoError as error:
        context = {"view": view, "failure": failure_of(error, request)}
        return show(request, "layers/finalize.html", context, status=422)
    return go(request, f"/layers/versions/{version_id}", "{name} is being finalized.", name=_called(view))


@_change.post("/{version_id}/discard")
def discard(request: Request, version_id: str, use: Use, who: Who) -> Response:
    """Give a version under edit up, with its packaging machine."""
    view = use.layers.version(version_id)
    use.layers.discard(who, version_id)
    return go(request, f"/layers/{view.version.layer_id}", "{name} is being discarded.", name=_called(view))


@_change.get("/{version_id}/delete")
def delete_dialog(request: Request, version_id: str, use: Use) -> Response:
    """Ask whether a version is deleted; one that is in use cannot be."""
    context = {"view": use.layers.version(version_id), "failure": None, "place_of": place_of}
    return show(request, "layers/delete_version.html", context)


@_change.post("/{version_id}/delete")
def delete(request: Request, version_id: str, use: Use, who: Who) -> Response:
    """Delete a version that nothing uses."""
    view = use.layers.version(version_id)
    try:
        use.layers.remove_version(who, version_id)
    except SekisoError as error:
        context = {"view": view, "failure": failure_of(error, request), "place_of": place_of}
        return show(request, "layers/delete_version.html", context, status=422)
    return go(request, f"/layers/{view.version.layer_id}", "{name} is being deleted.", name=_called(view))


def version_frame(use: Services, version_id: str, tab: str) -> dict[str, Any]:
    """Return what every page about a version shows above its own content.

    Raises:
        NotFoundError: there is no such version.
    """
    view = use.layers.version(version_id)
    layer = use.layers.get(view.version.layer_id)
    found = {"view": view, "version": view.version, "layer": layer.layer}
    return {**found, "siblings": layer.versions, "tab": tab}


def _context(use: Services, version_id: str) -> dict[str, Any]:
    frame = version_frame(use, version_id, "overview")
    version: VersionRecord = frame["version"]
    names = {item.version.id: item.version.name for item in frame["siblings"]}
    is_free = version.holder_task_id is None
    is_open = is_free and version.state in _OPEN and version.packaging is not None
    return {
        **frame,
        "task": working_tasks(use, version_id).get(version.holder_task_id or ""),
        "previous": names.get(version.previous_version_id or "", ""),
        "made_on": tuple(zip(version.base_version_ids, frame["view"].made_on, strict=True)),
        "place_of": place_of,
        "can_finalize": is_open,
        "can_discard": is_open or (is_free and version.state is VersionState.BROKEN),
        "can_delete": is_free and version.packaging is None,
        "is_ready": version.state is VersionState.DEPLOYABLE,
    }


def _called(view: VersionView) -> str:
    return f"{view.layer_name} {view.version.name}"


router = APIRouter()
router.include_router(_see)
router.include_router(_change)
