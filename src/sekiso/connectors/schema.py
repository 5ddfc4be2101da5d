"""JSON schema of a connector's settings, derived from its declaration.

Source: JSON Schema 2020-12.
"""

from __future__ import annotations

from typing import Any

from sekiso.connectors.base import Declaration, FieldKind, SettingField
from sekiso.i18n import translate

_TYPES = {FieldKind.INTEGER: "integer", FieldKind.SWITCH: "boolean"}


def json_schema(declaration: Declaration[Any], language: str = "en") -> dict[str, Any]:
    """Return the schema of the plain values that `decoding.decode` takes.

    It tells types, ranges and choices; rules between fields are for the connector's rules.

    Args:
        declaration: the connector's declaration.
        language: language of titles and descriptions.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": translate(declaration.label, language),
        "description": translate(declaration.help, language),
        "type": "object",
        "additionalProperties": False,
        "required": [f.name for f in declaration.fields if f.required and f.default is None],
        "properties": {f.name: _property(f, language) for f in declaration.fields},
    }


def _property(field: SettingField, language: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": translate(field.label, language),
        "description": translate(field.help, language),
        **_values(field),
    }
    if field.default is not None:
        found["default"] = field.default
    if field.secret:
        found["writeOnly"] = True
    return found


def _values(field: SettingField) -> dict[str, Any]:
    if field.kind is FieldKind.CHOICE:
        choices: list[Any] = [c.value for c in field.choices]
        return {"enum": [*choices, None] if field.nullable else choices}
    name = _TYPES.get(field.kind, "string")
    found: dict[str, Any] = {"type": [name, "null"] if field.nullable else name}
    if field.kind is FieldKind.INTEGER:
        limits = {"minimum": field.minimum, "maximum": field.maximum}
        found |= {k: v for k, v in limits.items() if v is not None}
        if field.step != 1:
            found["multipleOf"] = field.step
    elif field.kind is not FieldKind.SWITCH:
        found["maxLength"] = field.max_chars
    return found
