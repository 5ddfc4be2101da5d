"""Makes pages from templates. What templates may use stands in `_GLOBALS` and `_FILTERS`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from sekiso import __version__
from sekiso.console import formats
from sekiso.console.assets import icon, static
from sekiso.console.layer_icons import ICONS, layer_icon
from sekiso.console.reader import READER, Reader, reader_of
from sekiso.errors import SekisoError
from sekiso.i18n import translate
from sekiso.model.library import Role
from sekiso.services.core import require
from sekiso.wording import action_of, deed_of, step_of, word_of

#: Nothing from elsewhere, nothing inline: not even a page with foreign text in it can run a script.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


def show(
    request: Request,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return a page, or a part of one.

    Args:
        request: the request.
        template: path below `console/templates`.
        context: what the template uses besides the globals.
        status: HTTP status.
        headers: more headers.
    """
    reader = reader_of(request)
    text = render(reader, template, context or {})
    return HTMLResponse(
        text,
        status,
        {
            "Content-Security-Policy": POLICY,
            "Content-Language": reader.language,
            "Vary": "Cookie, Accept-Language, HX-Request",
            **(headers or {}),
        },
    )


def render(reader: Reader, template: str, context: Mapping[str, Any]) -> str:
    """Return what a template makes for a reader."""
    token = READER.set(reader)
    try:
        return _environment().get_template(template).render({**context, "reader": reader})
    finally:
        READER.reset(token)


def text(template: str, /, **gaps: object) -> Markup:
    """Return a text in the reader's language; values are put into `{gaps}` and escaped."""
    translated = translate(template, READER.get().language)
    return Markup(str(escape(translated)).format_map({k: escape(v) for k, v in gaps.items()}))  # noqa: S704


def may(role: str) -> bool:
    """Return whether who reads may do what needs a role."""
    actor = READER.get().actor
    if actor is None:
        return False
    try:
        require(actor, Role(role))
    except SekisoError:
        return False
    return True


def address(path: str, /, *parts: object, **query: object) -> str:
    """Return an address: `/` joined parts, quoted, and a query without what is None or empty."""
    whole = "/".join([path.rstrip("/"), *(quote(str(part), safe="") for part in parts)]) or "/"
    given = {key: value for key, value in query.items() if value not in (None, "", ())}
    return f"{whole}?{urlencode(given, doseq=True)}" if given else whole


def _sentence(value: object) -> str:
    """Return what a service says, in the reader's language."""
    return translate(str(value), READER.get().language)


def _word(value: object) -> str:
    return word_of(str(value), READER.get().language)


def _doing(value: object) -> str:
    return action_of(str(value), READER.get().language)


def _deed(value: object) -> str:
    return deed_of(str(value), READER.get().language)


def _step(value: object) -> str:
    return step_of(str(value), READER.get().language)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


#: What templates may use.
_GLOBALS: Mapping[str, Any] = {
    "_": text,
    "address": address,
    "icon": icon,
    "layer_icon": layer_icon,
    "layer_icons": ICONS,
    "may": may,
    "static": static,
    "version": __version__,
}
#: What templates may turn values into.
_FILTERS: Mapping[str, Any] = {
    "ago": formats.ago,
    "clock": formats.clock,
    "day": formats.day,
    "deed": _deed,
    "doing": _doing,
    "duration": formats.duration,
    "iso": formats.iso,
    "json": _json,
    "number": formats.number,
    "percent": formats.percent,
    "said": _sentence,
    "size": formats.size,
    "step": _step,
    "when": formats.when,
    "word": _word,
}


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("sekiso.console"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # Or filters of constants (`"fixed" | word`) are applied once, in the language of the first reader.
        optimized=False,
    )
    typed: Any = found  # its tables have no types
    typed.globals.update(_GLOBALS)
    typed.filters.update(_FILTERS)
    return found
