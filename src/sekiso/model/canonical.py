"""Canonical JSON and the identities derived from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of `value`: UTF-8, keys sorted, no white space, no NaN.

    Source: the subset of RFC 8785 that Sekiso's data uses (strings, integers, booleans, null, lists,
    objects); floating-point numbers are refused because their text is not canonical, keys that are no
    strings because two of them could become one. Keys are sorted by code point; for field names, which
    are ASCII, that is RFC 8785's order. Integers are written in full, beyond 2**53 too.

    Raises:
        TypeError: `value` holds something else, a float included.
    """
    _refuse_ambiguous(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def content_id(value: Any) -> str:
    """Return the lower-case SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _refuse_ambiguous(value: Any) -> None:
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            raise TypeError("a floating-point number has no canonical JSON text")
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):  # pyright: ignore[reportUnknownVariableType]
                raise TypeError("the keys of canonical JSON are strings")
            stack.extend(item.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        elif isinstance(item, list | tuple):
            stack.extend(item)  # pyright: ignore[reportUnknownArgumentType]
