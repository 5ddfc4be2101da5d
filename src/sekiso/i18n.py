"""Texts in the reader's language: one catalogue for all, keyed by the English text.

A text that was put together with values (`f"{name} has {count} disks."`) is looked up by its template:
`script/i18n.py` writes such a template into the catalogue with named gaps, `{name} has {count} disks.`,
and here the English text is matched against it and the values are put into the translation.
"""

from __future__ import annotations

import locale
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from sekiso.errors import SekisoError, fill, gaps

LANGUAGES = ("en", "ja")
_LONGEST_MATCHED_CHARS = 4000
#: Gaps that hold what people or machines have named: never a word of ours, even if it is spelled like one.
NAMES = frozenset(
    (
        *("account", "agent", "command", "database", "disks", "found", "host", "ids"),
        *("layer", "layers", "machine", "machines", "name", "name2", "names", "network"),
        *("output", "path", "switch", "task", "template", "url", "user", "users"),
    )
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


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
    return _lookup(text, language) or text


def mark(text: str) -> str:
    """Mark a text for the catalogue that is translated where it is shown."""
    return text


def render_error(error: SekisoError, language: str) -> tuple[str, str, str]:
    """Return what went wrong, why, and what to do, in `language`; parts may be empty."""
    params = {k: translated_value(k, v, language) for k, v in error.params.items()}
    texts = (error.brief, error.why, error.resolution)
    brief, why, resolution = (fill(translate(t, language), params) for t in texts)
    return brief, why, resolution


def translated_value(gap: str, value: object, language: str) -> object:
    """Return what a gap of a text is filled with: words of ours in `language`, names as they are."""
    return value if gap in NAMES or not isinstance(value, str) else translate(value, language)


@dataclass(frozen=True, slots=True)
class _Template:
    start: str
    pattern: re.Pattern[str]
    translation: str

    def fill(self, text: str, language: str) -> str | None:
        """Return the translation filled with the values found in `text`, or None if it is another text."""
        if not text.startswith(self.start):
            return None
        match = self.pattern.fullmatch(text)
        if match is None:
            return None
        found = match.groupdict().items()
        return fill(self.translation, {k: translated_value(k, v, language) for k, v in found})


def _lookup(text: str, language: str) -> str | None:
    known = _catalogue(language).get(text)
    if known or len(text) > _LONGEST_MATCHED_CHARS:
        return known
    for splitter, joint in ((re.compile(r"\n"), "\n"), (_SENTENCE_END, "")):
        pieces = splitter.split(text)
        found = [_lookup(piece, language) for piece in pieces] if len(pieces) > 1 else []
        if found and all(found):
            return joint.join(piece or "" for piece in found)
    return next(filter(None, (t.fill(text, language) for t in _templates(language))), None)


@cache
def _templates(language: str) -> tuple[_Template, ...]:
    """The texts with gaps; those that say most come first."""
    with_gaps = [(t, v) for t, v in _catalogue(language).items() if _is_matchable(t)]
    with_gaps.sort(key=lambda item: -len(_literal(item[0])))
    return tuple(_Template(t.partition("{")[0], _pattern(t), v) for t, v in with_gaps)


def _is_matchable(template: str) -> bool:
    # A template that is nearly all gap (`{reason}`) would match anything.
    return bool(gaps(template)) and len(re.findall(r"[A-Za-z]{2,}", _literal(template))) >= 2


def _literal(template: str) -> str:
    return re.sub(r"{\w+}", "", template)


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r"{(\w+)}", template)
    seen: set[str] = set()
    out: list[str] = []
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            out.append(re.escape(piece))
        elif piece in seen:
            out.append(f"(?P={piece})")
        else:
            seen.add(piece)
            out.append(f"(?P<{piece}>.+?)")
    return re.compile("".join(out), re.DOTALL)


@cache
def _catalogue(language: str) -> dict[str, str]:
    from babel.messages.pofile import read_po  # noqa: PLC0415 (slow import, needed for Japanese only)

    name = resources.files("sekiso") / "locale" / language / "LC_MESSAGES" / "sekiso.po"
    with name.open("rb") as stream:
        catalogue = read_po(stream, locale=language)
    return {str(m.id): str(m.string) for m in catalogue if isinstance(m.id, str) and m.id and m.string}
