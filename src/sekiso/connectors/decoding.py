"""Plain values to settings and back, by the declaration; strict: nothing is guessed or converted."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sekiso.connectors.base import Declaration, FieldKind, SettingField, Settings, Value
from sekiso.model.machine import Violation

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_TYPES: dict[FieldKind, type] = {FieldKind.INTEGER: int, FieldKind.SWITCH: bool}


def decode(declaration: Declaration[Settings], values: Mapping[Any, Any]) -> Settings | tuple[Violation, ...]:
    """Turn plain values into settings.

    Args:
        declaration: the connector's declaration.
        values: plain values by field name; fields left out have their defaults.

    Returns:
        The settings, or everything that is wrong: unknown keys, missing values, wrong types. Ranges are
        rules (`range_violations`), so that wrong numbers can be loaded, shown and mended.
    """
    found = (*_unknown(declaration, values), *_mistyped(declaration, values))
    if found:
        return found
    typed = {f.name: _typed(f, values.get(f.name, f.default)) for f in declaration.fields}
    return declaration.settings_type(**typed)


def values_of(declaration: Declaration[Settings], settings: Settings) -> dict[str, Value]:
    """Return settings as plain values, in the order of the declaration, secrets too."""
    return {f.name: _plain(getattr(settings, f.name)) for f in declaration.fields}


def shown_values(declaration: Declaration[Settings], settings: Settings) -> dict[str, Value]:
    """Return settings as plain values without secrets: for screens, logs and exports."""
    secret = {f.name for f in declaration.fields if f.secret}
    return {k: v for k, v in values_of(declaration, settings).items() if k not in secret}


def range_violations(declaration: Declaration[Settings], settings: Settings) -> tuple[Violation, ...]:
    """Check numbers and lengths against the limits that the declaration states."""
    values = values_of(declaration, settings)
    return tuple(v for f in declaration.fields for v in _out_of_range(f, values[f.name]))


def from_text(declaration: Declaration[Settings], texts: Mapping[str, str]) -> dict[str, Any]:
    """Turn what a person typed into plain values for `decode`.

    Spaces around are dropped, an empty text is no value, digits become numbers, and `on`, `true`, `yes`,
    `1` switch a switch on; a switch left out is off, as HTML forms send it. What does not fit stays text,
    so that `decode` names it.
    """
    known = {f.name: _from_text(f, texts.get(f.name)) for f in declaration.fields}
    return {**texts, **{k: v for k, v in known.items() if v is not None or k in texts}}


def key_text(key: object) -> str:
    """Return a key of a file as it is named in messages: short, and nothing that a terminal would obey."""
    text = str(key)[:60]
    return text if text.isprintable() else ascii(text)


def _from_text(field: SettingField, text: str | None) -> Value:
    text = (text or "").strip()
    if field.kind is FieldKind.SWITCH:
        known = {"on": True, "true": True, "yes": True, "1": True}
        return known.get(text.lower(), False if text.lower() in ("", "off", "false", "no", "0") else text)
    if not text:
        return None
    numeric = field.kind is FieldKind.INTEGER or any(isinstance(c.value, int) for c in field.choices)
    return int(text) if numeric and _INTEGER.fullmatch(text) else text


def _unknown(declaration: Declaration[Settings], values: Mapping[Any, Any]) -> Iterator[Violation]:
    known = {f.name for f in declaration.fields}
    for key in values:
        if key not in known:
            name = key_text(key)
            yield Violation(
                name,
                "unknown-setting",
                f"There is no setting with the name {name}.",
                f"Remove it, or use one of: {', '.join(sorted(known))}.",
            )


def _mistyped(declaration: Declaration[Settings], values: Mapping[Any, Any]) -> Iterator[Violation]:
    for field in declaration.fields:
        value = values.get(field.name, field.default)
        if value is None and not field.nullable:
            yield Violation(field.name, "missing", f"{field.label} is not given.", "Give a value.")
        elif value is not None:
            yield from _wrong_type(field, value)


def _wrong_type(field: SettingField, value: object) -> Iterator[Violation]:
    if field.kind is FieldKind.CHOICE:
        if not any(type(value) is type(c.value) and value == c.value for c in field.choices):
            known = ", ".join(str(c.value) for c in field.choices)
            yield Violation(
                field.name,
                "not-a-choice",
                f"{field.label} cannot be {_shown(value)}.",
                f"Choose one of: {known}.",
            )
    elif type(value) is not _TYPES.get(field.kind, str):
        yield Violation(field.name, "wrong-type", _type_reason(field, value), "Write it in the right form.")


def _type_reason(field: SettingField, value: object) -> str:
    if field.kind is FieldKind.INTEGER:
        return f"{field.label} is a whole number, not {_shown(value)}."
    if field.kind is FieldKind.SWITCH:
        return f"{field.label} is true or false, not {_shown(value)}."
    return f"{field.label} is a text, not {_shown(value)}."


def _shown(value: object) -> str:
    """A value in a message: short, on one line, and a text in quotes so that "4" is not taken for 4."""
    if isinstance(value, str):
        text = f'"{value}"' if value.isprintable() else ascii(value)
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, int | float):
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a very large number"
    else:
        text = "a list" if isinstance(value, list | tuple) else "an object"
    return text if len(text) <= 60 else text[:59] + "…"


def _out_of_range(field: SettingField, value: Value) -> Iterator[Violation]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, str):
        if len(value) > field.max_chars:
            yield Violation(
                field.name,
                "too-long",
                f"{field.label} has at most {field.max_chars} characters.",
                "Choose a shorter one.",
            )
        return
    yield from _number_faults(field, value)


def _number_faults(field: SettingField, value: int) -> Iterator[Violation]:
    # Units stand in the label where a person sees them, so that no sentence has to be put together.
    remedy = "Choose another number."
    shown = _shown(value)
    if field.minimum is not None and value < field.minimum:
        yield Violation(
            field.name, "too-small", f"{field.label} is at least {field.minimum}, not {shown}.", remedy
        )
    elif field.maximum is not None and value > field.maximum:
        yield Violation(
            field.name, "too-large", f"{field.label} is at most {field.maximum}, not {shown}.", remedy
        )
    elif value % field.step:
        yield Violation(
            field.name,
            "not-a-multiple",
            f"{field.label} is a multiple of {field.step}, not {shown}.",
            remedy,
        )


def _typed(field: SettingField, value: Any) -> Any:
    return field.values_type(value) if field.values_type is not None and value is not None else value


def _plain(value: Any) -> Value:
    return value.value if isinstance(value, enum.Enum) else value
