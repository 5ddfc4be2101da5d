"""The form of a connector configuration as plain data, derived from the declaration (CC-6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sekiso.connectors.base import Declaration, Offer, SettingField, Value
from sekiso.i18n import translate
from sekiso.model.machine import Violation


@dataclass(frozen=True, slots=True)
class FormChoice:
    """A value that the form shows.

    Attributes:
        value: the plain value.
        label: its name in the reader's language.
        offered: whether it can be chosen now.
        reason: why it cannot; empty when it can.
    """

    value: Value
    label: str
    offered: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FormProblem:
    """What is wrong with a field, in the reader's language.

    Attributes:
        code: stable name of the rule.
        reason: why.
        remedy: what to do; may be empty.
    """

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FormField:
    """A field as it is shown now; texts are in the reader's language.

    Attributes:
        name: name of the setting.
        kind: what it holds, which decides the control.
        label: its name.
        help: what it means.
        unit: unit of a number.
        value: its value; None for a secret, whatever it is.
        required: whether a value must be given.
        secret: whether what is typed is hidden.
        shown: whether the field is shown.
        enabled: whether it can be changed.
        minimum: smallest number.
        maximum: largest number.
        step: distance of allowed numbers.
        max_chars: longest text.
        choices: the values to choose from.
        problems: what is wrong with the value.
    """

    name: str
    kind: str
    label: str
    help: str
    unit: str
    value: Any
    required: bool
    secret: bool
    shown: bool
    enabled: bool
    minimum: int | None
    maximum: int | None
    step: int
    max_chars: int
    choices: tuple[FormChoice, ...]
    problems: tuple[FormProblem, ...]


@dataclass(frozen=True, slots=True)
class FormSection:
    """Fields under one heading.

    Attributes:
        label: the heading in the reader's language.
        fields: its fields.
    """

    label: str
    fields: tuple[FormField, ...]


def describe_form(
    declaration: Declaration[Any],
    values: Mapping[str, Any],
    *,
    offers: Sequence[Offer] = (),
    violations: Sequence[Violation] = (),
    language: str = "en",
) -> tuple[FormSection, ...]:
    """Return the form with these values.

    Args:
        declaration: the connector's declaration.
        values: plain values, perhaps incomplete or wrong; fields left out show their defaults.
        offers: which values can be chosen; fields without offers show their declared choices.
        violations: what is wrong with the values.
        language: language of the texts.
    """
    current = {**declaration.defaults(), **values}
    headings = dict.fromkeys(f.section for f in declaration.fields)
    return tuple(
        FormSection(
            translate(heading, language),
            tuple(
                _field(f, current, offers, violations, language)
                for f in declaration.fields
                if f.section == heading
            ),
        )
        for heading in headings
    )


def _field(
    field: SettingField,
    values: Mapping[str, Any],
    offers: Sequence[Offer],
    violations: Sequence[Violation],
    language: str,
) -> FormField:
    return FormField(
        name=field.name,
        kind=field.kind.value,
        label=translate(field.label, language),
        help=translate(field.help, language),
        unit=field.unit,
        value=None if field.secret else values[field.name],
        required=field.required,
        secret=field.secret,
        shown=all(c.holds(values) for c in field.shown_when),
        enabled=all(c.holds(values) for c in field.enabled_when),
        minimum=field.minimum,
        maximum=field.maximum,
        step=field.step,
        max_chars=field.max_chars,
        choices=_choices(field, offers, language),
        problems=tuple(
            FormProblem(v.code, translate(v.reason, language), translate(v.remedy, language))
            for v in violations
            if v.field == field.name
        ),
    )


def _choices(field: SettingField, offers: Sequence[Offer], language: str) -> tuple[FormChoice, ...]:
    own = [o for o in offers if o.field == field.name]
    if not own:
        return tuple(FormChoice(c.value, translate(c.label, language)) for c in field.choices)
    return tuple(
        FormChoice(
            o.value,
            translate(o.label, language),
            o.offered,
            translate(o.hindrance.reason, language) if o.hindrance else "",
        )
        for o in own
    )
