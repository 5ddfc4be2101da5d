"""Who asks: a session by cookie, with a second value in a header for changes, or an API token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute

from sekiso.services.core import Actor
from sekiso.services.users import LoginNeededError
from sekiso.web.errors import ForeignRequestError
from sekiso.web.languages import language_of
from sekiso.web.services import Services

COOKIE = "sekiso_session"
CSRF_HEADER = "X-Sekiso-CSRF"
_SAFE = ("GET", "HEAD", "OPTIONS")
_LONGEST_SECRET_CHARS = 500


class LoginRoute(APIRoute):
    """A route for those who are logged in: nobody else's request is even read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route, after the look at who asks."""
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            request.state.actor = await run_in_threadpool(current_actor, request)
            return await handle(request)

        return authenticated


def services_of(request: HTTPConnection) -> Services:
    """Return the services of the appliance."""
    found: Services = request.app.state.services
    return found


def csrf_of(secret: str) -> str:
    """Return the value that changes by a session have to carry."""
    return hashlib.sha256(b"csrf\0" + secret.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def secret_of(request: HTTPConnection) -> tuple[str, bool]:
    """Return the secret that a request carries, and whether it came by cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip(), False
    return request.cookies.get(COOKIE, ""), True


def current_actor(request: Request) -> Actor:
    """Return who asks.

    Raises:
        LoginNeededError: nobody that is known.
        ForeignRequestError: a change that another site may have made a browser send.
    """
    secret, by_cookie = secret_of(request)
    actor = actor_of(services_of(request), secret)
    if by_cookie and request.method not in _SAFE:
        shown = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(shown.encode(), csrf_of(secret).encode()):
            raise ForeignRequestError
    return actor


def actor_of(services: Services, secret: str, *, touch: bool = True) -> Actor:
    """Return whom a secret proves.

    Args:
        services: the services of the appliance.
        secret: the secret of a session or an API token.
        touch: whether this counts as use of a session, which ends when nobody uses it.

    Raises:
        LoginNeededError: nobody that is known.
    """
    is_plausible = 0 < len(secret) <= _LONGEST_SECRET_CHARS
    actor = services.users.authenticate(secret, touch=touch) if is_plausible else None
    if actor is None:
        raise LoginNeededError
    return actor


# These are coroutines although they wait for nothing: others would each take a thread.
async def _services(request: Request) -> Services:
    return services_of(request)


async def _actor(request: Request) -> Actor:
    # Set by the kind of route: a route of another kind that asks for it fails, and lets nobody in.
    found: Actor = request.state.actor
    return found


async def _language(request: Request) -> str:
    return language_of(request)


Use = Annotated[Services, Depends(_services)]
Who = Annotated[Actor, Depends(_actor)]
Language = Annotated[str, Depends(_language)]
