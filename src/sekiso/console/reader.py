"""Who reads a page, and how: language, time zone, theme, and who is logged in."""

from __future__ import annotations

import zoneinfo
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache

from fastapi import Request

from sekiso.i18n import LANGUAGES
from sekiso.services.core import Actor
from sekiso.web.auth import csrf_of, secret_of
from sekiso.web.languages import language_of

LANGUAGE_COOKIE = "sekiso_language"
ZONE_COOKIE = "sekiso_zone"
THEME_COOKIE = "sekiso_theme"
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a page.

    Attributes:
        language: `en` or `ja`.
        zone: time zone that times are shown in.
        theme: `auto` (as the system), `light` or `dark`.
        path: path of the page, for what is marked as current.
        actor: who is logged in; None on the login page.
        csrf: value that changes have to carry.
    """

    language: str = "en"
    zone: tzinfo = UTC
    theme: str = "auto"
    path: str = "/"
    actor: Actor | None = None
    csrf: str = ""


#: Whom a page is made for now; set while a page is made.
READER: ContextVar[Reader] = ContextVar("reader", default=Reader())  # noqa: B039 (frozen)


def reader_of(request: Request) -> Reader:
    """Return who reads the answer to a request."""
    actor: Actor | None = getattr(request.state, "actor", None)
    theme = request.cookies.get(THEME_COOKIE, "auto")
    return Reader(
        language=page_language(request),
        zone=_zone(request.cookies.get(ZONE_COOKIE, "")),
        theme=theme if theme in THEMES else "auto",
        path=request.url.path,
        actor=actor,
        csrf=csrf_of(secret_of(request)[0]) if actor is not None else "",
    )


def page_language(request: Request) -> str:
    """Return the language of a page: as chosen by the switch, else as the browser prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else language_of(request)


def _zone(name: str) -> tzinfo:
    if name in _zones():
        return zoneinfo.ZoneInfo(name)
    # What the appliance's own clock shows, until the browser has said where it is.
    return datetime.now(UTC).astimezone().tzinfo or UTC


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
