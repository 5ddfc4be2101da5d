"""Texts in the reader's language: one catalogue for all, keyed by the English text."""

from __future__ import annotations

import locale
import os
from functools import cache
from importlib import resources

from sekiso.errors import SekisoError, fill

LANGUAGES = ("en", "ja")


def preferred_language(explicit: str | None = None) -> str:
    """Return `ja` or `en`: as asked, else by SEKISO_LANG, LC_ALL, LC_MESSAGES, LANG."""
    names = [explicit, *(os.environ.get(v) for v in ("SEKISO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))]
    for name in names:
        if name:
            return "ja" if locale.normalize(name).lower().startswith("ja") else "en"
    return "en"


def translate(text: str, language: str) -> str:
    """Return `text` in `language`; the text itself where there is no translation."""
    if language == "en" or not text:
        return text
    return _catalogue(language).get(text) or text


def render_error(error: SekisoError, language: str) -> tuple[str, str, str]:
    """Return what went wrong, why, and what to do, in `language`; parts may be empty."""
    params = {k: translate(v, language) if isinstance(v, str) else v for k, v in error.params.items()}
    texts = (error.brief, error.why, error.resolution)
    brief, why, resolution = (fill(translate(t, language), params) for t in texts)
    return brief, why, resolution


@cache
def _catalogue(language: str) -> dict[str, str]:
    from babel.messages.pofile import read_po  # noqa: PLC0415 (slow import, needed for Japanese only)

    name = resources.files("sekiso") / "locale" / language / "LC_MESSAGES" / "sekiso.po"
    with name.open("rb") as stream:
        catalogue = read_po(stream, locale=language)
    return {str(m.id): str(m.string) for m in catalogue if isinstance(m.id, str) and m.id and m.string}
