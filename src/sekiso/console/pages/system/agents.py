"""Agents: which there are, what each reports of its host, renaming, revoking, removing (AG-1, AG-3)."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import done, go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.rendering import address, show
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.model.paging import Listing
from sekiso.services.agents import AgentView
from sekiso.web.auth import Use
from sekiso.web.bodies import Renaming
from sekiso.web.params import Ref
from sekiso.web.services import Services

_PATH = "/system/agents"
_seen = pages(_PATH)
_changes = pages(_PATH, role=Role.ADMINISTRATOR)

_Text = Annotated[str, Query(max_length=200)]
_Offset = Annotated[int, Query(ge=0, le=1 << 31)]


@_seen.get("")
def agents(request: Request, use: Use, text: _Text = "", offset: _Offset = 0) -> Response:
    """List the agents, and the tokens that are still open."""
    return show(request, "system/agents.html", _listed(use, text, offset))


@_seen.get("/rows")
def agent_rows(request: Request, use: Use, text: _Text = "", offset: _Offset = 0) -> Response:
    """List the agents, as a part of the page that is asked for again and again."""
    return show(request, "system/agents_rows.html", _listed(use, text, offset))


@_seen.get("/{reference}")
def agent(request: Request, use: Use, reference: Ref) -> Response:
    """Show an agent and its host."""
    return show(request, "system/agent.html", _shown(use, reference))


@_seen.get("/{reference}/facts")
def agent_facts(request: Request, use: Use, reference: Ref) -> Response:
    """Show an agent and its host, as a part of its page."""
    return show(request, "system/agent_facts.html", _shown(use, reference))


@_changes.post("/{reference}/inventory")
def refresh_inventory(request: Request, use: Use, reference: Ref) -> Response:
    """Ask an agent for its host now."""
    use.agents.inventory(reference, refresh=True)
    return done(request, "The agent has reported its host.", refresh="sekiso:agents")


@_changes.get("/{reference}/name")
def name_dialog(request: Request, use: Use, reference: Ref) -> Response:
    """Ask for another name."""
    view = use.agents.get(reference)
    return show(request, "system/agent_name.html", {"agent": view, "name": view.name, "failure": None})


@_changes.post("/{reference}/name")
def rename(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Give an agent another name."""
    view = use.agents.get(reference)
    try:
        body = checked(Renaming, {"name": form.text("name")})
        use.agents.rename(who, view.id, body.name)
    except SekisoError as error:
        context = {"agent": view, "name": form.text("name"), "failure": failure_of(error, request)}
        return show(request, "system/agent_name.html", context, status=422)
    return go(request, address(_PATH, view.id), "The agent is now called {name}.", name=body.name)


@_changes.get("/{reference}/revoke")
def revoke_dialog(request: Request, use: Use, reference: Ref) -> Response:
    """Ask whether an agent shall be revoked."""
    return show(
        request,
        "system/agent_revoke.html",
        {"agent": use.agents.get(reference), "force": False, "failure": None},
    )


@_changes.post("/{reference}/revoke")
def revoke(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Refuse an agent from now on."""
    view, force = use.agents.get(reference), form.flag("force")
    try:
        use.agents.revoke(who, view.id, force=force)
    except SekisoError as error:
        context = {"agent": view, "force": force, "failure": failure_of(error, request)}
        return show(request, "system/agent_revoke.html", context, status=422)
    return go(request, address(_PATH, view.id), "The agent {name} was revoked.", name=view.name)


@_changes.delete("/{reference}")
def remove(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Forget an agent."""
    view = use.agents.get(reference)
    use.agents.remove(who, view.id)
    return go(request, _PATH, "The agent {name} was removed.", name=view.name)


def state_of(view: AgentView) -> str:
    """Return the state of an agent as a word's code."""
    if view.revoked:
        return "revoked"
    return "online" if view.online else "offline"


def _listed(use: Services, text: str, offset: int) -> dict[str, Any]:
    page = use.agents.page(Listing(text=text, offset=offset))
    return {"page": page, "text": text, "state_of": state_of, "now_s": time.time()}


def _shown(use: Services, reference: str) -> dict[str, Any]:
    view = use.agents.get(reference)
    inventory = use.agents.inventory(view.id)
    return {"agent": view, "state": state_of(view), "inventory": inventory, "now_s": time.time()}


router = APIRouter()
router.include_router(_seen)
router.include_router(_changes)
