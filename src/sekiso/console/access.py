"""Who may see a page: as for the REST API, but who is not logged in is led to the login page."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from sekiso.model.library import Role
from sekiso.services.core import Actor, require
from sekiso.services.users import LoginNeededError
from sekiso.web.auth import CSRF_HEADER, csrf_of, secret_of, services_of
from sekiso.web.errors import ForeignRequestError

#: Sent by requests that no person has caused (refreshing of what is shown): they keep no session alive.
BACKGROUND_HEADER = "X-Sekiso-Background"
_SAFE = ("GET", "HEAD")
_LONGEST_SECRET_CHARS = 500


class PageRoute(APIRoute):
    """A route for those who are logged in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route, after the look at who asks."""
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            try:
                request.state.actor = await run_in_threadpool(_actor_of, request)
            except LoginNeededError:
                return to_login(request)
            return await handle(request)

        return authenticated


def pages(prefix: str = "", *, role: Role = Role.READ_ONLY) -> APIRouter:
    """Return a router of pages that only those see whose role is `role` or above."""

    async def allowed(request: Request) -> None:
        require(request.state.actor, role)

    return APIRouter(prefix=prefix, route_class=PageRoute, dependencies=[Depends(allowed)])


def to_login(request: Request) -> Response:
    """Return the way to the login page, and back from there."""
    asked = request.headers.get("hx-current-url", "") if is_part(request) else _here(request)
    where = local_address(urlsplit(asked)._replace(scheme="", netloc="").geturl())
    address = "/login" if where == "/" else f"/login?next={quote(where, safe='')}"
    if is_part(request):
        return Response(status_code=401, headers={"HX-Redirect": address})
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        # A script or a stream asks: a page is nothing for it.
        return Response(status_code=401)
    return RedirectResponse(address, 303)


def is_part(request: Request) -> bool:
    """Return whether a part of a page is asked for, by the page itself."""
    return request.headers.get("hx-request") == "true"


def local_address(text: str) -> str:
    """Return an address of this console; `/` for whatever else a link may carry."""
    is_plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_plain and "\\" not in text and not text.startswith(("/login", "/logout")) else "/"


def refuse_foreign(request: Request) -> None:
    """Refuse what another site has made a browser send.

    Raises:
        ForeignRequestError: the browser says that it comes from elsewhere.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = request.headers.get("host", "")
    if site not in (None, "same-origin", "none") or (origin is not None and urlsplit(origin).netloc != own):
        raise ForeignRequestError


def _actor_of(request: Request) -> Actor:
    secret, _ = secret_of(request)
    is_background = request.headers.get(BACKGROUND_HEADER) is not None
    is_plausible = 0 < len(secret) <= _LONGEST_SECRET_CHARS
    users = services_of(request).users
    actor = users.authenticate(secret, touch=not is_background) if is_plausible else None
    if actor is None:
        raise LoginNeededError
    if request.method not in _SAFE:
        refuse_foreign(request)
        shown = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(shown.encode(), csrf_of(secret).encode()):
            raise ForeignRequestError
    return actor


def _here(request: Request) -> str:
    if request.method not in _SAFE:
        return "/"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{request.url.path}{query}"


async def _actor(request: Request) -> Actor:
    # Set by the kind of route: a route of another kind that asks for it fails, and lets nobody in.
    found: Actor = request.state.actor
    return found


Who = Annotated[Actor, Depends(_actor)]
