"""In what two versions differ, and what layers disagree about when they are put together (LY-6, LY-7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from sekiso.compositing.plan import Conflict
from sekiso.console.access import pages
from sekiso.console.failures import failure_of
from sekiso.console.pages.layers.pickers import Picked, pick, stack_of
from sekiso.console.pages.layers.version import version_frame
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.i18n import mark
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord, VersionState
from sekiso.model.listing import VersionChoice
from sekiso.model.paging import Page
from sekiso.services.layer_lists import VersionView
from sekiso.web.auth import Use
from sekiso.wim.diff import Reason

router = pages("/layers/versions")

Id = Annotated[str, Query(max_length=200)]
Picks = Annotated[tuple[str, ...], Query(alias="with", max_length=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
_ROWS = 200
_MOST = 1_000_000
_OS_VERSIONS = 200
#: How two versions differ in a path, from the one before to the one after.
_WHATS = {
    "added": mark("Added"),
    "changed": mark("Changed"),
    "removed": mark("Removed"),
    "replaced": mark("Replaced"),
    "deletes": mark("Deletion added"),
    "keeps": mark("Deletion dropped"),
}
#: What of an entry differs.
_REASONS = {
    Reason.NAME: mark("spelling"),
    Reason.CONTENT: mark("content"),
    Reason.STREAMS: mark("data streams"),
    Reason.REPARSE: mark("link target"),
    Reason.SECURITY: mark("access rights"),
    Reason.ATTRIBUTES: mark("attributes"),
    Reason.TIMES: mark("times"),
    Reason.FOLDER_TIMES: mark("times of the folder"),
    Reason.ACCESS_TIME: mark("time of access"),
    Reason.LINKS: mark("hard links"),
    Reason.SHORT_NAME: mark("short name"),
    Reason.UNIX: mark("mode and owner"),
    Reason.XATTRS: mark("extended attributes"),
    Reason.OBJECT_ID: mark("object identifier"),
    Reason.EXTRA: mark("other metadata"),
}
#: What the engine says about a conflict; here for the catalogue.
_DETAILS = (mark("folder metadata differs"), mark("a file in one layer, a folder in another"))
What = Literal["", "added", "changed", "removed", "replaced", "deletes", "keeps"]


@router.get("/{version_id}/differences")
def differences_page(
    request: Request, version_id: str, use: Use, other: Id = "", what: What = ""
) -> Response:
    """Show the frame of a comparison; the page then asks for the differences themselves."""
    frame = version_frame(use, version_id, "differences")
    others = [v for v in reversed(frame["siblings"]) if _can_compare(v, version_id)]
    chosen = other or _usual(frame["version"], others)
    is_ready = frame["version"].state is VersionState.DEPLOYABLE
    context = {**frame, "is_ready": is_ready, "others": others, "other": chosen, "what": what}
    return show(request, "layers/differences.html", context)


@router.get("/{version_id}/diff")
def diff(
    request: Request, version_id: str, use: Use, other: Id, what: What = "", offset: Offset = 0
) -> Response:
    """Show in what a version differs from another one, which counts as the one before."""
    context: dict[str, Any] = {"version_id": version_id, "other": other, "what": what, "failure": None}
    try:
        found = use.layers.diff(other, version_id, limit=_MOST)
    except SekisoError as error:
        return show(
            request, "layers/diff.html", {**context, "failure": failure_of(error, request)}, status=422
        )
    rows = [item for item in found.differences if not what or item.what == what]
    page = Page(tuple(rows[offset : offset + _ROWS]), len(rows), offset, _ROWS)
    return show(
        request,
        "layers/diff.html",
        {**context, "found": found, "page": page, "whats": _WHATS, "reasons": _REASONS},
    )


@router.get("/{version_id}/conflicts")
def conflicts_page(
    request: Request,
    version_id: str,
    use: Use,
    os_version_id: Id = "",
    picked: Picks = (),
) -> Response:
    """Ask which other layers a version is put together with."""
    frame = version_frame(use, version_id, "conflicts")
    version: VersionRecord = frame["version"]
    os_layer_id = frame["layer"].os_layer_id or frame["layer"].id
    os_layer = use.layers.get(os_layer_id, LayerKind.OS) if frame["layer"].os_layer_id else None
    bases = [v for v in reversed(os_layer.versions) if _is_ready(v)] if os_layer is not None else []
    context = {
        **frame,
        "is_ready": version.state is VersionState.DEPLOYABLE,
        "os_layer": os_layer.layer if os_layer is not None else None,
        "bases": bases[:_OS_VERSIONS],
        "os_version_id": os_version_id or (version.base_version_ids[0] if version.base_version_ids else ""),
        "list": pick(use, Picked("with", os_layer_id=os_layer_id, without=version.layer_id, chosen=picked)),
        "picked": picked,
    }
    return show(request, "layers/conflicts.html", context)


@router.get("/{version_id}/clashes")
def clashes(
    request: Request,
    version_id: str,
    use: Use,
    os_version_id: Id = "",
    picked: Picks = (),
    offset: Offset = 0,
) -> Response:
    """Show what a version and others disagree about."""
    ids = tuple(dict.fromkeys(filter(None, (os_version_id, version_id, *picked))))
    context: dict[str, Any] = {"version_id": version_id, "failure": None, "picked": picked}
    context["os_version_id"] = os_version_id
    try:
        found = use.layers.conflicts(ids)
        stack = stack_of(use, ids)
    except SekisoError as error:
        return show(
            request, "layers/clashes.html", {**context, "failure": failure_of(error, request)}, status=422
        )
    rows = tuple((item, _why(item, stack)) for item in found.conflicts[offset : offset + _ROWS])
    context |= {"page": Page(rows, len(found.conflicts), offset, _ROWS), "notes": found.notes, "stack": stack}
    return show(request, "layers/clashes.html", context)


def _can_compare(view: VersionView, version_id: str) -> bool:
    return _is_ready(view) and view.version.id != version_id


def _is_ready(view: VersionView) -> bool:
    return view.version.state is VersionState.DEPLOYABLE


def _usual(version: VersionRecord, others: Sequence[VersionView]) -> str:
    """Return what a version is compared to unless another one is chosen: the one that it continues."""
    ids = [view.version.id for view in others]
    return version.previous_version_id if version.previous_version_id in ids else (ids[0] if ids else "")


def _why(conflict: Conflict, stack: Sequence[VersionChoice]) -> str:
    """Return why the layer that wins does, a sentence."""
    by_name = {f"{choice.layer_name} {choice.version_name}": choice for choice in stack}
    winner = by_name.get(conflict.winner)
    if winner is None:
        # It was called otherwise when it was made.
        return "It is merged after the others."
    if winner.kind is LayerKind.PLATFORM:
        return "A platform layer goes on top of all others."
    priority = winner.priority
    parties = [by_name[name] for name in conflict.layers if name in by_name]
    if any(other.priority == priority for other in parties if other is not winner):
        return f"It has the same priority ({priority}) and was made later."
    return f"It has the highest priority ({priority})."
