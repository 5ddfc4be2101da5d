"""Connector configurations as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sekiso.connectors.form import FormSection
from sekiso.model.machine import Violation
from sekiso.model.task import Subject


@dataclass(frozen=True, slots=True)
class ConnectorTypeView:
    """A connector type.

    Attributes:
        code: stable name.
        label: its name, English.
        help: what it is for, English.
        abilities: what can be done through it.
        schema: JSON schema of its settings.
    """

    code: str
    label: str
    help: str
    abilities: tuple[str, ...]
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FormView:
    """A form that is being filled in.

    Attributes:
        values: the values, those that were not given with their defaults.
        sections: the form, texts in the reader's language.
        firmware: firmware of the machines that would result; empty if there can be none yet.
        settled: the values brought into the nearest allowed combination, where there is one: what a form can
            show after a change.
    """

    values: dict[str, Any]
    sections: tuple[FormSection, ...]
    firmware: str
    settled: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """A connector configuration as it is shown. Times are Unix seconds.

    Attributes:
        id: identifier.
        connector: code of its type.
        name: its name.
        settings: its settings without secrets.
        agent_name: name of its agent.
        agent_online: whether that is connected.
        firmware: firmware of machines made through it; empty if there can be none now.
        violations: rules that it breaks now, since what it names has changed.
        warnings: what to be warned of, each in a sentence.
        used_by: what uses it.
        created_s: when it was made.
        changed_s: when it was last changed.
    """

    id: str
    connector: str
    name: str
    settings: dict[str, Any]
    agent_name: str
    agent_online: bool
    firmware: str
    violations: tuple[Violation, ...]
    warnings: tuple[str, ...]
    used_by: tuple[Subject, ...]
    created_s: float
    changed_s: float


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did, or would do, with one document: `created`, `changed` or `unchanged`."""

    name: str
    action: str
