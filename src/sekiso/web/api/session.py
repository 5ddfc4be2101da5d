"""Login and logout."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request, Response

from sekiso.model.library import Role
from sekiso.web.answers import open_topic, topic
from sekiso.web.auth import COOKIE, Use, Who, csrf_of, secret_of
from sekiso.web.bodies import Login

open_router = open_topic("session", 401)
router = topic("session")


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session.

    Attributes:
        csrf: value of the header X-Sekiso-CSRF, which changes by the session's cookie have to carry.
        user: login name.
        role: role of the user.
        expires_s: end of the session, Unix seconds.
    """

    csrf: str
    user: str
    role: Role
    expires_s: float


@dataclass(frozen=True, slots=True)
class WhoIsThis:
    """Who asks.

    Attributes:
        user: login name.
        role: role of the user.
        csrf: value of the header X-Sekiso-CSRF; empty for API tokens, which need none.
    """

    user: str
    role: Role
    csrf: str


@open_router.post("/session", operation_id="log_in")
async def log_in(body: Login, request: Request, response: Response, use: Use) -> SessionOpened:
    """Log in. The session comes as a cookie; changes need the answered value as header X-Sekiso-CSRF."""
    session = await to_thread.run_sync(
        use.users.login, body.name, body.password, limiter=request.app.state.logins
    )
    response.set_cookie(COOKIE, session.secret, secure=True, httponly=True, samesite="strict", path="/")
    return SessionOpened(csrf_of(session.secret), session.actor.name, session.actor.role, session.expires_s)


@router.get("/session", operation_id="get_session")
def get_session(request: Request, who: Who) -> WhoIsThis:
    """Show who asks."""
    secret, by_cookie = secret_of(request)
    return WhoIsThis(who.name, who.role, csrf_of(secret) if by_cookie else "")


@router.delete("/session", operation_id="log_out", status_code=204)
def log_out(request: Request, response: Response, use: Use) -> None:
    """Log out."""
    use.users.logout(secret_of(request)[0])
    response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict", path="/")
