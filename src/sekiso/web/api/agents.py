"""Agents and their registration."""

from __future__ import annotations

from fastapi import Response

from sekiso.agent.registration import RegistrationAnswer, RegistrationRequest
from sekiso.model.connector import AgentInventory
from sekiso.model.listing import AgentSort
from sekiso.services.agents import AgentView, NewToken, TokenView
from sekiso.web.answers import open_topic, topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import AgentTokenWish, Registration, Renaming, Revocation
from sekiso.web.params import PAGED, Descending, Id, Limit, Offset, Ref, Text, listing_of, rows_of

open_router = open_topic("agents", 409)
router = topic("agents")


@open_router.post("/agents/register", operation_id="register_agent")
def register_agent(body: Registration, use: Use) -> RegistrationAnswer:
    """Register an agent by a one-time token; needs no login."""
    return use.register(RegistrationRequest(**body.model_dump()))


@router.get("/agents", operation_id="list_agents", **PAGED)
def list_agents(
    use: Use,
    response: Response,
    text: Text = "",
    sort: AgentSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Limit = None,
) -> tuple[AgentView, ...]:
    """List the agents."""
    listing = listing_of(text, sort, descending=descending, offset=offset, limit=limit)
    return rows_of(response, use.agents.page(listing))


@router.get("/agents/{reference}", operation_id="get_agent")
def get_agent(reference: Ref, use: Use) -> AgentView:
    """Show an agent."""
    return use.agents.get(reference)


@router.patch("/agents/{reference}", operation_id="rename_agent")
def rename_agent(reference: Ref, body: Renaming, use: Use, who: Who) -> AgentView:
    """Give an agent another name."""
    return use.agents.rename(who, reference, body.name)


@router.delete("/agents/{reference}", operation_id="remove_agent", status_code=204)
def remove_agent(reference: Ref, use: Use, who: Who) -> None:
    """Forget an agent."""
    use.agents.remove(who, reference)


@router.get("/agents/{reference}/inventory", operation_id="get_inventory")
def get_inventory(reference: Ref, use: Use, *, refresh: bool = False) -> AgentInventory | None:
    """Show what an agent last reported of its host, or reports now."""
    return use.agents.inventory(reference, refresh=refresh)


@router.post("/agents/{reference}/revoke", operation_id="revoke_agent")
def revoke_agent(reference: Ref, use: Use, who: Who, body: Revocation | None = None) -> AgentView:
    """Refuse an agent from now on."""
    return use.agents.revoke(who, reference, force=body.force if body is not None else False)


@router.get("/agent-tokens", operation_id="list_agent_tokens")
def list_agent_tokens(use: Use) -> tuple[TokenView, ...]:
    """List the registration tokens."""
    return use.agents.tokens()


@router.post("/agent-tokens", operation_id="create_agent_token", status_code=201)
def create_agent_token(use: Use, who: Who, body: AgentTokenWish | None = None) -> NewToken:
    """Make a registration token. Its text is shown this once."""
    wish = body or AgentTokenWish()
    return use.agents.create_token(who, name=wish.name, valid_s=wish.valid_s)


@router.delete("/agent-tokens/{token_id}", operation_id="remove_agent_token", status_code=204)
def remove_agent_token(token_id: Id, use: Use, who: Who) -> None:
    """Make a registration token invalid."""
    use.agents.remove_token(who, token_id)
