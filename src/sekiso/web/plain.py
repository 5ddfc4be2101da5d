"""Values of any form that a request brings: plain data of a sane size, or nothing."""

from __future__ import annotations

import math
from typing import Any, cast

MAX_DEPTH = 50
_LARGEST_INT = 1 << 63


def plain(value: Any) -> Any:
    """Return a value that is plain JSON data which every store can keep.

    Raises:
        ValueError: it is something else; the message is a sentence.
    """
    _check(value, MAX_DEPTH)
    return value


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError("It is nested too deeply.")
    match value:
        case None | bool():
            return
        case str():
            _check_text(value)
        case int():
            if not -_LARGEST_INT <= value < _LARGEST_INT:
                raise ValueError("A number in it is too large.")
        case float():
            if not math.isfinite(value):
                raise ValueError("A number in it is not finite.")
        case list() | tuple():
            for item in cast("list[Any]", value):
                _check(item, depth - 1)
        case dict():
            for key, item in cast("dict[Any, Any]", value).items():
                if not isinstance(key, str):
                    raise ValueError("A key in it is no text.")  # noqa: TRY004 (as for every other value)
                _check_text(key)
                _check(item, depth - 1)
        case _:
            raise ValueError("It holds something else than text, numbers, lists and named fields.")


def _check_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("It holds characters that are not allowed.")
