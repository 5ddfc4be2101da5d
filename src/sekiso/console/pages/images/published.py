"""Published images: what there is, how each was made, boot tests, removal (IM-2, IM-6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import done, go
from sekiso.console.pages.images.listing import Listed
from sekiso.console.pages.images.seen import Seen, mark_of, nothing_new, progress_of
from sekiso.console.rendering import show
from sekiso.model.library import ImageState, Role
from sekiso.model.listing import ImageSort
from sekiso.model.paging import Listing
from sekiso.model.task import TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.web.auth import Use
from sekiso.web.params import Ref
from sekiso.web.services import Services

_seen = pages("/images")
_changes = pages("/images", role=Role.PUBLISHER)
_ACTIVE = frozenset(state for state in TaskState if not state.ended)
_KINDS = frozenset({TaskKind.PUBLISH_IMAGE, TaskKind.BOOT_TEST, TaskKind.DELETE_IMAGE})
_MOST_TASKS, _LAST_TASKS = 500, 5


@_seen.get("")
def images(
    request: Request,
    use: Use,
    asked: Listed,
    state: Literal["", "publishing", "published", "failed", "deleting"] = "",
    template: Annotated[str, Query(max_length=200)] = "",
    seen: Seen = "",
) -> Response:
    """List the published images, and what waits to be published."""
    wanted = ImageState(state) if state else None
    # People look for what they have just published.
    listing = asked.listing if asked.sort else replace(asked.listing, sort=ImageSort.CREATED)
    page = use.images.page(template=template or None, state=wanted, listing=listing)
    active = _active(use)
    waiting = _waiting(use, active)
    mark = mark_of(page, progress_of(active.values()), [task.id for task in waiting])
    if seen == mark:
        return nothing_new()
    context = {
        "page": page,
        "asked": asked,
        "query": {**asked.query, "state": state, "template": template},
        "state": state,
        "tasks": active,
        "waiting": waiting,
        "mark": mark,
        "is_narrowed": bool(asked.text or state or template),
    }
    return show(request, "images/published.html", context)


@_seen.get("/{reference}")
def image(request: Request, use: Use, reference: Ref, seen: Seen = "") -> Response:
    """Show a published image."""
    view = use.images.get(reference)
    record = view.image
    last = use.tasks.list(TaskFilter(kinds=_KINDS, subject_id=record.id, limit=_LAST_TASKS))
    mark = mark_of(view, progress_of(last))
    if seen == mark:
        return nothing_new()
    context = {
        "view": view,
        "image": record,
        "mark": mark,
        "task": next((task for task in last if not task.state.ended), None),
        "last_tasks": last,
        "stack": use.templates.stack(record.version_ids),
        "report": _report(record.boot_test),
        "facts": record.facts or {},
    }
    return show(request, "images/image.html", context)


@_seen.get("/{reference}/screenshot")
def screenshot(use: Use, reference: Ref) -> Response:
    """Return the picture of an image's last boot test."""
    return Response(use.images.screenshot(reference), media_type="image/png")


@_changes.post("/{reference}/boot-test")
def boot_test(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Start an image once, without writing to it."""
    name = use.images.get(reference).image.name
    use.images.boot_test(who, reference)
    return done(request, "The boot test of {name} was started.", refresh="sekiso:tasks", name=name)


@_changes.delete("/{reference}")
def remove(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Delete an image with its machine and disk."""
    name = use.images.get(reference).image.name
    use.images.remove(who, reference)
    return go(request, "/images", "The image {name} is being deleted.", name=name)


def _active(use: Services) -> dict[str, TaskRecord]:
    """Return the tasks that work on images, by the image; of several the one that began first."""
    found = use.tasks.list(TaskFilter(states=_ACTIVE, kinds=_KINDS, limit=_MOST_TASKS))
    return {task.subjects[0].id: task for task in found}


def _waiting(use: Services, active: Mapping[str, TaskRecord]) -> list[TaskRecord]:
    """Return the tasks whose image is not recorded yet, the one that waits longest first."""
    begun = use.images.page(state=ImageState.PUBLISHING, listing=Listing(limit=_MOST_TASKS))
    known = {view.image.id for view in begun.rows}
    found = [t for i, t in active.items() if t.kind is TaskKind.PUBLISH_IMAGE and i not in known]
    return found[::-1]


def _report(boot_test: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what the guest said in the last boot test; a guest may have left out anything."""
    if boot_test is None:
        return None
    said: Mapping[str, Any] = boot_test.get("report") or {}
    return {
        "reported_s": boot_test.get("reported_s"),
        "os_name": said.get("os_name") or "",
        "kernel": said.get("kernel") or "",
        "host": said.get("host") or "",
        "firmware": said.get("firmware") or "",
        "secure_boot": said.get("secure_boot"),
        "package_count": said.get("package_count"),
        "services_state": said.get("services_state") or "",
        "failed_services": tuple(said.get("failed_services") or ()),
    }


router = APIRouter()
router.include_router(_seen)
router.include_router(_changes)
