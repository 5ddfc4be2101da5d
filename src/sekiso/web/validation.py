"""What the framework finds wrong with a request, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sekiso.model.machine import Violation
from sekiso.web.errors import RequestInvalidError

_MOST = 50
_NOT_ALLOWED = "It holds characters that are not allowed."
_PLAIN = {
    "missing": "It is missing.",
    "extra_forbidden": "There is no such field.",
    "json_invalid": "It is not written in JSON.",
    "string_type": "It is no text.",
    "string_pattern_mismatch": _NOT_ALLOWED,
    "string_unicode": _NOT_ALLOWED,
    "int_type": "It is no whole number.",
    "int_parsing": "It is no whole number.",
    "int_parsing_size": "It is no whole number that can be used.",
    "int_from_float": "It is no whole number.",
    "float_type": "It is no number.",
    "float_parsing": "It is no number.",
    "finite_number": "It is no number that can be used.",
    "bool_type": "It is neither true nor false.",
    "bool_parsing": "It is neither true nor false.",
    "dict_type": "It is no object with named fields.",
    "model_type": "It is no object with named fields.",
    "model_attributes_type": "It is no object with named fields.",
    "list_type": "It is no list.",
    "tuple_type": "It is no list.",
}
_REMEDIES = {
    "missing": "Give a value.",
    "extra_forbidden": "Leave it out, or check its spelling.",
}


def invalid_request(found: Sequence[Mapping[str, Any]]) -> RequestInvalidError:
    """Return the error of a request that the framework has refused, with every field that is wrong."""
    violations = [_violation(item) for item in found[:_MOST]]
    return RequestInvalidError.of(violations or [Violation("/", "request.value", "It cannot be used.")])


def _violation(found: Mapping[str, Any]) -> Violation:
    kind = str(found.get("type", ""))
    code = {"missing": "request.missing", "extra_forbidden": "request.unknown"}.get(kind, "request.value")
    location: Sequence[Any] = found.get("loc", ())
    place = "/" if kind == "json_invalid" else _field(location)
    return Violation(place, code, _reason(kind, found), _REMEDIES.get(kind, ""))


def _field(location: Sequence[Any]) -> str:
    return ".".join(str(part)[:200] for part in location[1:]) or "/"


def _reason(kind: str, found: Mapping[str, Any]) -> str:
    context: Mapping[str, Any] = found.get("ctx") or {}
    match kind:
        case "enum" | "literal_error":
            return f"It is not one of {context.get('expected', '')}."
        case "string_too_long":
            return f"It has more than {context.get('max_length')} characters."
        case "string_too_short":
            return f"It has fewer than {context.get('min_length')} characters."
        case "too_long":
            return f"It has more than {context.get('max_length')} items."
        case "too_short":
            return f"It has fewer than {context.get('min_length')} items."
        case "greater_than_equal":
            return f"It is less than {context.get('ge')}."
        case "less_than_equal":
            return f"It is more than {context.get('le')}."
        case "value_error":
            return str(context.get("error", ""))
        case _:
            return _PLAIN.get(kind, "It cannot be used.")
