"""Column types that hold the same on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import JSON, Dialect, Text
from sqlalchemy.types import TypeDecorator

from sekiso.model.names import comparable_name

MAX_INTEGER = 2**63 - 1

#: What no database text can hold: NUL (PostgreSQL) and halves of surrogate pairs (UTF-8).
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return a text with U+FFFD in place of each character that a database cannot hold."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def name_key(name: str) -> str:
    """Return what a name is compared by, as it is stored."""
    return comparable_name(storable(name))


class PlainText(TypeDecorator[str]):
    """Text of any content: what cannot be stored is replaced, so that hostile input is merely not found."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: D102
        return None if value is None else storable(value)

    def process_literal_param(self, value: str | None, dialect: Dialect) -> str:  # noqa: D102
        raise NotImplementedError("texts are always passed as parameters")


TEXT = PlainText()
#: Plain data; None is NULL.
DATA: JSON[Any] = JSON(none_as_null=True)


def clamped(number: int) -> int:
    """Return a number that fits into a column, for comparing."""
    return max(0, min(number, MAX_INTEGER))
