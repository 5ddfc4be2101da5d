"""Which language an answer has: as the reader prefers (Accept-Language, RFC 9110 section 12.5.4)."""

from __future__ import annotations

import re

from fastapi.requests import HTTPConnection

from sekiso.i18n import LANGUAGES
from sekiso.web.services import Services

DEFAULT = "en"
_RANGE = re.compile(r"\s*(?P<name>[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)\s*(?:;\s*[qQ]=(?P<q>[0-9.]+)\s*)?")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_MOST_RANGES = 50


def language_of(request: HTTPConnection) -> str:
    """Return the language of answers to a request."""
    given = request.headers.getlist("accept-language")
    return preferred(",".join(given)) if given else _default(request)


def _default(request: HTTPConnection) -> str:
    """Return the language of answers to requests that name none."""
    app = request.scope.get("app")
    services: Services | None = getattr(app.state, "services", None) if app is not None else None
    return services.appliance_settings.default_language if services is not None else DEFAULT


def preferred(header: str) -> str:
    """Return the best language for a header; of equal ones the first that it names, else English."""
    ranges = _ranges(header)
    best, best_key = DEFAULT, (0.0, 0)
    for language in LANGUAGES:
        found = [r for r in ranges if r[0] == language] or [r for r in ranges if r[0] == "*"]
        if not found:
            continue
        _, quality, place = max(found, key=lambda r: r[1])
        # `*` names no language: English is the one then, if it is wanted as much.
        key = (quality, -place if found[0][0] != "*" else -_MOST_RANGES)
        if quality > 0 and (key > best_key or best_key[0] == 0):
            best, best_key = language, key
    return best


def _ranges(header: str) -> list[tuple[str, float, int]]:
    """Return primary tag, quality and place of each range; what is malformed is left out."""
    found: list[tuple[str, float, int]] = []
    for place, item in enumerate(header.split(",", _MOST_RANGES)[:_MOST_RANGES]):
        match = _RANGE.fullmatch(item)
        if match is None:
            continue
        text = match["q"] or "1"
        if _QUALITY.fullmatch(text):
            found.append((match["name"].lower().partition("-")[0], float(text), place))
    return found
