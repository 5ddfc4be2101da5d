"""The language of this run of the command line, and the two ways to say something in it."""

from __future__ import annotations

from sekiso.errors import fill
from sekiso.i18n import mark, translate

__all__ = ["language", "mark", "number", "plural", "say", "use_language"]

_state = {"language": "en"}


def use_language(language: str) -> None:
    """Speak `language` (`en` or `ja`) from now on."""
    _state["language"] = language


def language() -> str:
    """Return the language that is spoken: `en` or `ja`."""
    return _state["language"]


def say(text: str, /, **values: object) -> str:
    """Return a text of the catalogue in the reader's language, its gaps filled."""
    translated = translate(text, language())
    return fill(translated, values) if values else translated


def plural(count: int, one: str, many: str) -> str:
    """Return a counted thing; `many` has a gap `{count}`, `one` says it for exactly one."""
    return say(one) if count == 1 else say(many, count=number(count))


def number(value: int) -> str:
    """Return a whole number with its digits in groups (English and Japanese group alike)."""
    return f"{value:,}"
