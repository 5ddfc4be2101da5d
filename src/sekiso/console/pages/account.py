"""My account: one's own password and API tokens (OP-4)."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import done, go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.pages.system.users import ROLES, repeated
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.web.auth import Use, secret_of
from sekiso.web.bodies import PasswordChange, TokenWish
from sekiso.web.params import Id

#: How long an API token can be valid: days; 0 = until it is revoked.
VALID_DAYS = (30, 90, 365, 0)
_DAY_S = 86400.0

router = pages("/account")


@router.get("")
def account(request: Request, use: Use, who: Who) -> Response:
    """Show one's own account."""
    context = {"me": who, "may_do": dict(ROLES)[who.role], **_tokens(use, who)}
    return show(request, "account/account.html", context)


@router.get("/password")
def password_dialog(request: Request) -> Response:
    """Ask for the present password and a new one."""
    return show(request, "account/password.html", {"failure": None})


@router.post("/password")
def change_password(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Change one's own password."""
    try:
        body = checked(PasswordChange, {"old": form.secret("old"), "new": repeated(form, "password")})
        use.users.change_password(who, body.old, body.new, keep=secret_of(request)[0])
    except SekisoError as error:
        context = {"failure": failure_of(error, request)}
        return show(request, "account/password.html", context, status=422)
    return go(request, "/account", "Your password was changed. Your other sessions have ended.")


@router.get("/tokens")
def tokens(request: Request, use: Use, who: Who) -> Response:
    """List one's own API tokens, as a part of the page."""
    return show(request, "account/tokens.html", _tokens(use, who))


@router.get("/tokens/new")
def token_dialog(request: Request) -> Response:
    """Ask for name and validity of a new API token."""
    return _token_form(request, "", "90", None)


@router.post("/tokens")
def create_token(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Make an API token, and show it this once."""
    name, days = form.text("name"), form.number("days")
    try:
        valid_s = days * _DAY_S if isinstance(days, int) else days
        wish = checked(TokenWish, {"name": name, "valid_s": valid_s or None})
        made = use.users.create_token(who, wish.name, valid_s=wish.valid_s)
    except SekisoError as error:
        return _token_form(request, name, str(days), error)
    headers = {"HX-Trigger": "sekiso:api-tokens"}
    return show(request, "account/token_made.html", {"made": made}, headers=headers)


@router.delete("/tokens/{token_id}")
def revoke_token(request: Request, use: Use, who: Who, token_id: Id) -> Response:
    """Make an API token invalid."""
    use.users.revoke_token(who, token_id)
    return done(request, "The API token was revoked.", refresh="sekiso:api-tokens")


def _tokens(use: Use, who: Who) -> dict[str, Any]:
    return {"tokens": use.users.tokens(who), "now_s": time.time()}


def _token_form(request: Request, name: str, days: str, error: SekisoError | None) -> Response:
    failure = failure_of(error, request) if error else None
    context = {"name": name, "days": days, "days_offered": VALID_DAYS, "failure": failure}
    return show(request, "account/token_new.html", context, status=422 if error else 200)
