"""Login, users, API tokens, audit history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from sekiso.model.library import AuditEntry
from sekiso.services.audit import AuditVerdict
from sekiso.services.users import ApiTokenView, NewApiToken, UserView
from sekiso.web.auth import COOKIE, Use, Who, csrf_of, secret_of
from sekiso.web.bodies import Login, NewUser, PasswordChange, TokenWish, UserChange

router = APIRouter()


@router.post("/session", tags=["access"], operation_id="login")
def login(body: Login, response: Response, use: Use) -> dict[str, Any]:
    """Log in; the session comes as a cookie, and changes need the answered value as X-Sekiso-CSRF."""
    session = use.users.login(body.name, body.password)
    response.set_cookie(
        COOKIE, session.secret, secure=True, httponly=True, samesite="strict", path="/", max_age=None
    )
    return {
        "csrf": csrf_of(session.secret),
        "user": session.actor.name,
        "role": session.actor.role.value,
        "expires_s": session.expires_s,
    }


@router.get("/session", tags=["access"], operation_id="whoami")
def whoami(request: Request, who: Who) -> dict[str, Any]:
    """Show who asks."""
    secret, by_cookie = secret_of(request)
    return {"user": who.name, "role": who.role.value, "csrf": csrf_of(secret) if by_cookie else ""}


@router.delete("/session", tags=["access"], operation_id="logout", status_code=204)
def logout(request: Request, response: Response, use: Use, _who: Who) -> None:
    """Log out."""
    use.users.logout(secret_of(request)[0])
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict", path="/")


@router.get("/users", tags=["access"], operation_id="list_users")
def list_users(use: Use, _who: Who) -> tuple[UserView, ...]:
    """List the users."""
    return use.users.list()


@router.post("/users", tags=["access"], operation_id="add_user", status_code=201)
def add_user(body: NewUser, use: Use, who: Who) -> UserView:
    """Make a user."""
    return use.users.add(who, body.name, body.password, body.role)


@router.post("/users/me/password", tags=["access"], operation_id="change_own_password", status_code=204)
def change_own_password(body: PasswordChange, request: Request, use: Use, who: Who) -> None:
    """Change one's own password; one's other sessions end."""
    use.users.change_password(who, body.old, body.new, keep=secret_of(request)[0])


@router.patch("/users/{reference}", tags=["access"], operation_id="change_user")
def change_user(reference: str, body: UserChange, use: Use, who: Who) -> UserView:
    """Change a user."""
    return use.users.change(who, reference, role=body.role, disabled=body.disabled, password=body.password)


@router.delete("/users/{reference}", tags=["access"], operation_id="remove_user", status_code=204)
def remove_user(reference: str, use: Use, who: Who) -> None:
    """Delete a user."""
    use.users.remove(who, reference)


@router.get("/tokens", tags=["access"], operation_id="list_tokens")
def list_tokens(use: Use, who: Who) -> tuple[ApiTokenView, ...]:
    """List one's own API tokens."""
    return use.users.tokens(who)


@router.post("/tokens", tags=["access"], operation_id="create_token", status_code=201)
def create_token(body: TokenWish, use: Use, who: Who) -> NewApiToken:
    """Make an API token; its secret is shown this once."""
    return use.users.create_token(who, body.name, valid_s=body.valid_s)


@router.delete("/tokens/{token_id}", tags=["access"], operation_id="revoke_token", status_code=204)
def revoke_token(token_id: str, use: Use, who: Who) -> None:
    """Make an API token invalid."""
    use.users.revoke_token(who, token_id)


@router.get("/audit", tags=["access"], operation_id="list_audit")
def list_audit(
    use: Use,
    who: Who,
    before: Annotated[int | None, Query(ge=1, le=1 << 62)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=200)] = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
) -> tuple[AuditEntry, ...]:
    """List the audit history, newest first."""
    found = use.audit.list(who, before=before, limit=limit, actor=actor, action=action, subject_id=subject)
    return tuple(found)


@router.get("/audit/verify", tags=["access"], operation_id="verify_audit")
def verify_audit(use: Use, who: Who) -> AuditVerdict:
    """Check the chain of the audit history."""
    return use.audit.verify(who)
