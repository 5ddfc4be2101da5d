"""API tokens."""

from __future__ import annotations

from sekiso.services.users import ApiTokenView, NewApiToken
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import TokenWish
from sekiso.web.params import Id

router = topic("API tokens")


@router.get("/tokens", operation_id="list_tokens")
def list_tokens(use: Use, who: Who) -> tuple[ApiTokenView, ...]:
    """List one's own API tokens."""
    return use.users.tokens(who)


@router.post("/tokens", operation_id="create_token", status_code=201)
def create_token(body: TokenWish, use: Use, who: Who) -> NewApiToken:
    """Make an API token. Its secret is shown this once."""
    return use.users.create_token(who, body.name, valid_s=body.valid_s)


@router.delete("/tokens/{token_id}", operation_id="revoke_token", status_code=204)
def revoke_token(token_id: Id, use: Use, who: Who) -> None:
    """Make an API token invalid."""
    use.users.revoke_token(who, token_id)
