"""What a connector is: it declares its settings and abilities, and brings rules and checks.

Everything that shows or takes settings derives from the declaration: the form (`form`), the JSON schema
(`schema`), and the check of types and ranges (`decoding`). Texts are plain English, translated by text.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

from sekiso.model.connector import AgentInventory, KnownAgent
from sekiso.model.machine import Violation

Settings = TypeVar("Settings")
#: What a setting can be: plain data.
Value = str | int | bool | None


def N_(text: str) -> str:  # noqa: N802 (the marker's usual name)
    """Mark a short text for the catalogues, where it stands; it is translated when it is shown."""
    return text


class FieldKind(enum.StrEnum):
    """What a field holds, and so which control shows it."""

    TEXT = "text"
    PATH = "path"
    INTEGER = "integer"
    SWITCH = "switch"
    CHOICE = "choice"
    REFERENCE = "reference"


class ChoiceSource(enum.StrEnum):
    """Where the choices of a reference come from."""

    AGENTS = "agents"
    SWITCHES = "switches"
    TEMPLATE_VMS = "template-vms"


class Ability(enum.StrEnum):
    """What can be done through a connector."""

    OS_IMPORT = "os-import"
    PACKAGING = "packaging"
    PUBLISHING = "publishing"
    OFFLOAD = "offload"
    LAYER_DISK_CACHE = "layer-disk-cache"
    SECURE_BOOT = "secure-boot"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a choice.

    Attributes:
        value: the plain value.
        label: its name for a person.
    """

    value: str | int
    label: str


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds when another field has one of these values.

    Attributes:
        field: name of the other field.
        values: its values for which the condition holds.
    """

    field: str
    values: tuple[Value, ...]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition holds for these plain values; true differs from 1."""
        value = values.get(self.field)
        return any(value == v and isinstance(value, bool) is isinstance(v, bool) for v in self.values)


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting.

    Attributes:
        name: name of the attribute in the settings and of the key in files and the API.
        kind: what it holds.
        label: its name for a person.
        help: what it means and what it does, in sentences.
        section: heading that it stands under.
        required: whether a value must be given; others may be left out and then have `default`.
        default: the value when none is given; None = no value.
        unit: unit of an integer.
        minimum: smallest integer.
        maximum: largest integer.
        step: an integer is a multiple of it.
        max_chars: longest text.
        choices: the values of a choice.
        source: where the values of a reference come from.
        values_type: enum of the values of a choice in the settings object; plain values when left out.
        secret: whether the value is never shown, logged or exported.
        shown_when: shown only when all of these hold.
        enabled_when: can be changed, and counts, only when all of these hold.
    """

    name: str
    kind: FieldKind
    label: str
    help: str
    section: str = ""
    required: bool = False
    default: Value = None
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    step: int = 1
    max_chars: int = 1000
    choices: tuple[Choice, ...] = ()
    source: ChoiceSource | None = None
    values_type: type[enum.Enum] | None = None
    secret: bool = False
    shown_when: tuple[Condition, ...] = ()
    enabled_when: tuple[Condition, ...] = ()

    @property
    def nullable(self) -> bool:
        """Whether no value (None) is a value of this field."""
        return not self.required and self.default is None


@dataclass(frozen=True, slots=True)
class Declaration(Generic[Settings]):
    """All settings and abilities of a connector.

    Attributes:
        code: stable name of the connector type, in files and the API.
        label: its name for a person.
        help: what it is for, in sentences.
        settings_type: frozen dataclass with one attribute per field.
        fields: the settings, in the order of the form.
        abilities: what can be done through it.
    """

    code: str
    label: str
    help: str
    settings_type: type[Settings]
    fields: tuple[SettingField, ...]
    abilities: frozenset[Ability] = frozenset()

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if sorted(names) != sorted(f.name for f in fields(self.settings_type)):  # type: ignore[arg-type]
            raise TypeError(f"{self.code} declares other fields than its settings have")
        conditions = [c for f in self.fields for c in (*f.shown_when, *f.enabled_when)]
        if not {c.field for c in conditions} <= set(names):
            raise TypeError(f"{self.code} has a condition on a field that it does not declare")

    def field(self, name: str) -> SettingField:
        """Return a field by name.

        Raises:
            KeyError: there is none.
        """
        found = next((f for f in self.fields if f.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def defaults(self) -> dict[str, Value]:
        """Return what a new form begins with; required fields without a default are None."""
        return {f.name: f.default for f in self.fields}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What settings are judged against, beside themselves.

    Attributes:
        agents: the agents registered with the appliance; None = not known, and not judged.
        inventory: what the chosen agent last reported; None = not known, and not judged.
        other_names: names of the other connector configurations.
    """

    agents: tuple[KnownAgent, ...] | None = None
    inventory: AgentInventory | None = None
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether a value can be chosen, given the other values.

    Attributes:
        field: name of the field.
        value: the plain value.
        label: its name for a person.
        hindrance: why it is not offered; None when it is.
    """

    field: str
    value: Value
    label: str
    hindrance: Violation | None = None

    @property
    def offered(self) -> bool:
        """Whether it can be chosen."""
        return self.hindrance is None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration works.

    Attributes:
        agent: identifier or name of the agent.
        path: the storage path as given.
        unc_path: the same folder as a UNC path; None = not given.
    """

    agent: str
    path: str
    unc_path: str | None = None


class Connector(Protocol[Settings]):
    """A connector type. Everything here is pure."""

    @property
    def declaration(self) -> Declaration[Settings]:
        """Its settings and abilities."""
        ...

    def grouped_violations(
        self, settings: Settings, surroundings: Surroundings
    ) -> Mapping[str, tuple[Violation, ...]]:
        """Return every broken rule by the code of the check that shows it; save and test use the same."""
        ...

    def offers(self, values: Mapping[str, Any], surroundings: Surroundings) -> Sequence[Offer]:
        """Return the choices of a form that is being filled in; its values may be incomplete or wrong."""
        ...

    def settled(self, values: Mapping[str, Any], inventory: AgentInventory | None) -> dict[str, Any]:
        """Return a form's values brought into the nearest allowed combination, where there is one."""
        ...

    def place(self, settings: Settings) -> Place:
        """Return where a configuration works."""
        ...

    def hindered_checks(self, settings: Settings) -> Mapping[str, str]:
        """Return the checks that do not apply to a configuration, by code, and why, each in a sentence."""
        ...


def flatten(groups: Mapping[str, tuple[Violation, ...]]) -> tuple[Violation, ...]:
    """Return the violations of all groups, one per field and rule, in order."""
    every = [v for group in groups.values() for v in group]
    return tuple({(v.field, v.code, v.reason): v for v in every}.values())
