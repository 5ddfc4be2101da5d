"""Registering an agent: a one-time token, the commands to run, and the wait for the agent (AG-1)."""

from __future__ import annotations

import re
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import done
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.rendering import show
from sekiso.errors import NotFoundError, SekisoError
from sekiso.model.library import Role
from sekiso.services.agents import AgentView, NewToken, TokenView
from sekiso.web.auth import Use
from sekiso.web.bodies import AgentTokenWish
from sekiso.web.params import Id
from sekiso.web.services import Services

#: How long a token can be valid: hours.
VALID_HOURS = (1, 8, 24, 168)
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")
_DEFAULT_HOST = "localhost:8443"

_pages = pages("/system/agent-tokens", role=Role.ADMINISTRATOR)


@_pages.get("/dialog")
def dialog(request: Request, name: str = "") -> Response:
    """Ask for the name of an agent, and how long the token is valid."""
    return _form(request, name[:64], "1", None)


@_pages.post("")
def create(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Make a token, and show what to do with it."""
    name, hours = form.text("name"), form.number("hours")
    try:
        valid_s = hours * 3600.0 if isinstance(hours, int) else hours
        wish = checked(AgentTokenWish, {"name": name or None, "valid_s": valid_s})
        token = use.agents.create_token(who, name=wish.name, valid_s=wish.valid_s)
    except SekisoError as error:
        return _form(request, name, str(hours), error)
    context = {"token": token, **_commands(request, token, name), **_progress(use, token.id)}
    return show(request, "system/agent_commands.html", context, headers={"HX-Trigger": "sekiso:agent-tokens"})


@_pages.get("/{token_id}/state")
def state(request: Request, use: Use, token_id: Id) -> Response:
    """Say how far the registration by a token has come."""
    found = _progress(use, token_id)
    # The list behind the dialog has changed, too.
    headers = {"HX-Trigger": "sekiso:agents"} if found["step"] == "online" else None
    return show(request, "system/agent_progress.html", found, headers=headers)


@_pages.get("")
def open_tokens(request: Request, use: Use) -> Response:
    """List the tokens that can still be used."""
    return show(request, "system/agent_tokens.html", {"tokens": usable_tokens(use)})


@_pages.delete("/{token_id}")
def revoke(request: Request, use: Use, who: Who, token_id: Id) -> Response:
    """Make a token invalid."""
    use.agents.remove_token(who, token_id)
    return done(request, "The registration token was revoked.", refresh="sekiso:agent-tokens")


def usable_tokens(use: Services) -> tuple[TokenView, ...]:
    """Return the tokens that nobody has used and that are still valid."""
    now_s = time.time()
    return tuple(t for t in use.agents.tokens() if t.used_s is None and t.expires_s > now_s)


def _form(request: Request, name: str, hours: str, error: SekisoError | None) -> Response:
    failure = failure_of(error, request) if error else None
    context = {"name": name, "hours": hours, "hours_offered": VALID_HOURS, "failure": failure}
    return show(request, "system/agent_register.html", context, status=422 if error else 200)


def _commands(request: Request, token: NewToken, name: str) -> dict[str, Any]:
    host = request.headers.get("host", "")
    address = f"https://{host if _HOST.fullmatch(host) else _DEFAULT_HOST}"
    return {
        "appliance_address": address,
        "name": name,
        "fingerprint": token.token.partition(".")[2],
        # By a pipe: arguments can be seen by other users of the machine.
        "windows": f"'{token.token}' | sekiso agent register --appliance {address}",
        "linux": f"echo '{token.token}' | sudo sekiso agent register --appliance {address}",
        "start_linux": "sudo systemctl enable --now sekiso-agent",
    }


def _progress(use: Services, token_id: str) -> dict[str, Any]:
    token = next((t for t in use.agents.tokens() if t.id == token_id), None)
    if token is None:
        raise NotFoundError(
            what="The registration token",
            name=token_id,
            remedy="It was revoked or has expired. Make a new one.",
        )
    agent = _agent_of(use, token)
    return {"token_id": token_id, "step": _step(token, agent), "agent": agent}


def _step(token: TokenView, agent: AgentView | None) -> str:
    if agent is not None:
        return "online" if agent.online else "registered"
    return "expired" if token.expires_s <= time.time() else "waiting"


def _agent_of(use: Services, token: TokenView) -> AgentView | None:
    """Return the agent that was registered by a token: both have the same time, to the microsecond."""
    if token.used_s is None:
        return None
    return next((a for a in use.agents.list() if a.registered_s == token.used_s), None)


router = APIRouter()
router.include_router(_pages)
