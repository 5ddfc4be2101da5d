"""The page of a packaging machine: how it stands, what to do next, its screen, Finalize (LY-2, LY-8)."""

from __future__ import annotations

import base64
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse

from sekiso.console.access import Who, pages
from sekiso.console.answers import done, go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.machine_stage import Stage, Standing, before_asking, standing_of
from sekiso.console.reader import page_language
from sekiso.console.rendering import address, show
from sekiso.errors import NotFoundError, SekisoError
from sekiso.model.library import Role, VersionState
from sekiso.model.task import TaskFilter
from sekiso.services.core import Actor, allows, require
from sekiso.services.layer_lists import VersionView
from sekiso.web.auth import Use
from sekiso.web.bodies import Finalization
from sekiso.web.services import Services
from sekiso.web.shown import shown_task

router = pages("/layers/versions/{version_id}/machine")

_VERSIONS = "/layers/versions"
_REFRESH = "sekiso:tasks"
_TASKS_LOOKED_AT = 20


@router.get("")
def machine_page(version_id: str, request: Request, use: Use, who: Who) -> Response:
    """Show the page; a version that is finished has none, but its own."""
    view = use.layers.version(version_id)
    if view.version.state is VersionState.DEPLOYABLE:
        return RedirectResponse(address(_VERSIONS, version_id), 303)
    return show(request, "machine/page.html", _context(request, use, who, view))


@router.get("/facts")
def machine_facts(
    version_id: str, request: Request, use: Use, who: Who, screen: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """Show how the machine stands; lead away when there is no such machine any more.

    The page was made for the screen that it names; when there is another one meanwhile, it is loaded anew.
    """
    try:
        view = use.layers.version(version_id)
    except NotFoundError:
        return go(request, "/layers", "The layer version was discarded.")
    if view.version.state is VersionState.DEPLOYABLE:
        place = address(_VERSIONS, version_id)
        name = f"{view.layer_name} {view.version.name}"
        return go(request, place, "The layer version {name} is deployable.", name=name)
    context = _context(request, use, who, view)
    headers = {"HX-Refresh": "true"} if context["screen"] != screen else {}
    return show(request, "machine/facts.html", context, headers=headers)


@router.get("/picture")
def machine_picture(version_id: str, request: Request, use: Use) -> Response:
    """Show what is on the screen now, as a picture."""
    version = use.layers.version(version_id).version
    picture = ""
    if version.packaging is not None and use.agents.get(version.packaging.agent_id).online:
        try:
            picture = base64.b64encode(use.layers.screenshot(version_id)).decode()
        except SekisoError:
            # It is off, or has gone off: the page says so beside it, every few seconds anew.
            picture = ""
    return show(request, "machine/picture.html", {"picture": picture, "version": version})


@router.get("/screen.rdp")
def screen_file(version_id: str, use: Use, who: Who) -> Response:
    """Return the file that opens the screen on the Hyper-V server."""
    require(who, Role.LAYER_MANAGER)
    name, content = use.layers.screen_file(version_id)
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(content, media_type="application/x-rdp", headers={"Content-Disposition": disposition})


@router.post("/start")
def start(version_id: str, request: Request, use: Use, who: Who) -> Response:
    """Start the machine."""
    use.layers.start_machine(who, version_id)
    return done(request, "The packaging machine starts.", refresh=_REFRESH)


@router.post("/shut-down")
def shut_down(version_id: str, request: Request, use: Use, who: Who) -> Response:
    """Ask the guest to shut down."""
    use.layers.shut_down_machine(who, version_id)
    return done(request, "The packaging machine was asked to shut down.", refresh=_REFRESH)


@router.post("/turn-off")
def turn_off(version_id: str, request: Request, use: Use, who: Who) -> Response:
    """Cut the power."""
    use.layers.turn_off_machine(who, version_id)
    return done(request, "The packaging machine is turned off.", refresh=_REFRESH)


@router.post("/finalize")
def finalize(version_id: str, request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Turn what was installed into a deployable version."""
    body = checked(Finalization, {"override_gate": form.flag("override_gate")})
    use.layers.finalize(who, version_id, override_gate=body.override_gate)
    return done(request, "Finalizing has begun.", refresh=_REFRESH)


@router.post("/discard")
def discard(version_id: str, request: Request, use: Use, who: Who) -> Response:
    """Give the version up."""
    use.layers.discard(who, version_id)
    return done(request, "The layer version is being discarded.", refresh=_REFRESH)


def _context(request: Request, use: Services, who: Actor, view: VersionView) -> dict[str, Any]:
    standing = _standing(use, view)
    language = page_language(request)
    return {
        "view": view,
        "version": view.version,
        "name": f"{view.layer_name} {view.version.name}",
        "machine": address(_VERSIONS, view.version.id, "machine"),
        "standing": standing,
        "stage": standing.stage,
        "task": shown_task(standing.task, language) if standing.task is not None else None,
        "failure": failure_of(standing.error, request) if standing.error is not None else None,
        **_screen(use, who, view),
    }


def _standing(use: Services, view: VersionView) -> Standing:
    version = view.version
    tasks = use.tasks.list(TaskFilter(subject_id=version.id, limit=_TASKS_LOOKED_AT))
    known = before_asking(version, tasks)
    if known is not None or version.packaging is None:
        return known or Standing(Stage.UNMADE)
    try:
        if not use.agents.get(version.packaging.agent_id).online:
            # Asking would wait for it, and this is asked every few seconds.
            return Standing(Stage.UNREACHABLE)
        return standing_of(use.layers.machine(version.id), tasks)
    except SekisoError as error:
        # It is a state of the page, not a failure of what somebody did.
        return Standing(Stage.UNREACHABLE, error=error)


def _screen(use: Services, who: Actor, view: VersionView) -> dict[str, Any]:
    """Return how the screen is shown to a person: live, by a file, or as a picture only."""
    facts = view.version.packaging
    found: dict[str, Any] = {"screen": "", "host": "", "agent": ""}
    if facts is None:
        return found
    try:
        agent = use.agents.get(facts.agent_id)
        kind = use.layers.screen_kind(view.version.id)
    except SekisoError:
        return found
    shown = kind.value if allows(who, Role.LAYER_MANAGER) else "picture"
    return {"screen": shown, "host": agent.host_name, "agent": agent.name}
