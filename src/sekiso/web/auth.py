"""Who asks: a session by cookie, with a second value in a header for changes, or an API token."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request

from sekiso.errors import Family, SekisoError
from sekiso.services.core import Actor
from sekiso.services.users import LoginNeededError
from sekiso.web.problems import language_of
from sekiso.web.services import Services

COOKIE = "sekiso_session"
CSRF_HEADER = "X-Sekiso-CSRF"
_SAFE = ("GET", "HEAD", "OPTIONS")


class ForeignRequestError(SekisoError):
    """A change by cookie without the value that only our own pages know. No params."""

    code = "not-allowed"
    family = Family.USAGE
    brief = "The request was not accepted."
    why = "It changes something and lacks the header X-Sekiso-CSRF that belongs to the session."
    resolution = "Send the value that the login has answered, or use an API token."


def get_services(request: Request) -> Services:
    """Return the services of the appliance."""
    found: Services = request.app.state.services
    return found


def csrf_of(secret: str) -> str:
    """Return the value that changes by a session have to carry."""
    return hashlib.sha256(b"csrf\0" + secret.encode()).hexdigest()[:32]


def secret_of(request: Request) -> tuple[str, bool]:
    """Return the secret that a request carries, and whether it came by cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip(), False
    return request.cookies.get(COOKIE, ""), True


def current_actor(request: Request) -> Actor:
    """Return who asks.

    Raises:
        LoginNeededError: nobody that is known.
        ForeignRequestError: a change that another site may have made a browser send.
    """
    secret, by_cookie = secret_of(request)
    actor = get_services(request).users.authenticate(secret) if secret else None
    if actor is None:
        raise LoginNeededError
    if by_cookie and request.method not in _SAFE:
        shown = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(shown.encode(), csrf_of(secret).encode()):
            raise ForeignRequestError
    return actor


Use = Annotated[Services, Depends(get_services)]
Who = Annotated[Actor, Depends(current_actor)]
Language = Annotated[str, Depends(language_of)]
