"""Judges connector configurations against what the appliance knows (CC-1 … CC-5).

Saving, the form, the test and the list go by this; the rules themselves are the connector's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sekiso.connectors.base import Connector, Surroundings, flatten
from sekiso.connectors.decoding import decode, values_of
from sekiso.connectors.hyperv.rules import resulting_hardware
from sekiso.connectors.hyperv.settings import HyperVSettings
from sekiso.connectors.registry import connector as connector_type
from sekiso.model.connector import AgentInventory, KnownAgent, find_agents
from sekiso.model.library import AgentRecord, ConfigurationRecord
from sekiso.model.machine import Violation
from sekiso.store.database.api import UnitOfWork


def agent_reference(values: Mapping[str, Any]) -> str:
    """Return what names the agent in values that may be incomplete or wrong."""
    found = values.get("agent")
    return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Others:
    """What configurations are judged against; read once for many of them.

    Attributes:
        agents: the agents that are not revoked.
        configurations: every configuration.
    """

    agents: tuple[AgentRecord, ...]
    configurations: tuple[ConfigurationRecord, ...]


def others_of(work: UnitOfWork) -> Others:
    """Return what there is besides a configuration."""
    agents = tuple(a for a in work.agents.all() if not a.revoked)
    return Others(agents, tuple(work.configurations.all()))


def surroundings(
    others: Others, online: Collection[str], values: Mapping[str, Any], own_id: str = ""
) -> Surroundings:
    """Return what a configuration is judged against.

    Args:
        others: the agents and configurations there are.
        online: identifiers of the agents that are connected.
        values: the settings as plain values, perhaps incomplete or wrong.
        own_id: the configuration itself, whose name is no other's; empty for a new one.
    """
    agents = tuple(KnownAgent(a.id, a.name, a.id in online) for a in others.agents)
    chosen = find_agents(agents, agent_reference(values))
    inventory = next((a.inventory for a in others.agents if chosen and a.id == chosen[0].id), None)
    names = tuple(c.name for c in others.configurations if c.id != own_id)
    return Surroundings(agents, inventory, names)


def decoded(kind: Connector[Any], values: Mapping[str, Any]) -> HyperVSettings | tuple[Violation, ...]:
    """Return the settings that plain values stand for, or everything that is wrong with their form."""
    return decode(kind.declaration, values)


def violations(kind: Connector[Any], settings: Any, known: Surroundings) -> tuple[Violation, ...]:
    """Return every broken rule, in the order of the form."""
    order = [f.name for f in kind.declaration.fields]
    found = flatten(kind.grouped_violations(settings, known))
    return tuple(sorted(found, key=lambda v: order.index(v.field)))


def every_violation(
    kind: Connector[Any], values: Mapping[str, Any], known: Surroundings
) -> tuple[Violation, ...]:
    """Return everything that is wrong with plain values, in the order of the form.

    Where some have the wrong form or are missing, the others are judged all the same.
    """
    found = decoded(kind, values)
    if not isinstance(found, tuple):
        return violations(kind, found, known)
    wrong = {v.field for v in found}
    rest = decoded(kind, stood_in(kind, values, wrong))
    if isinstance(rest, tuple):
        return found
    order = [f.name for f in kind.declaration.fields]
    others = (v for v in violations(kind, rest, known) if v.field not in wrong)
    return tuple(sorted((*found, *others), key=lambda v: order.index(v.field)))


def stood_in(kind: Connector[Any], values: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return values with something of the right form in these fields."""
    usual = {
        f.name: f.default if f.default is not None or f.nullable else "-" for f in kind.declaration.fields
    }
    return {**values, **{name: value for name, value in usual.items() if name in fields}}


def checked(
    work: UnitOfWork, online: Collection[str], values: Mapping[str, Any], record: ConfigurationRecord
) -> ConfigurationRecord | tuple[Violation, ...]:
    """Return a record with these values, or every rule that they break.

    The agent is kept by its identifier, so that it may be given another name.
    """
    kind = connector_type(record.connector)
    known = surroundings(others_of(work), online, values, record.id)
    found = decoded(kind, values)
    broken = every_violation(kind, values, known)
    if broken or isinstance(found, tuple):
        return broken
    plain: dict[str, Any] = dict(values_of(kind.declaration, found))
    agents = find_agents(known.agents or (), str(plain["agent"]))
    return replace(record, name=found.name, settings={**plain, "agent": agents[0].id})


def firmware(settings: HyperVSettings | tuple[Violation, ...], inventory: AgentInventory | None) -> str:
    """Return the firmware of the machines that settings come to; empty if there can be none (CC-3)."""
    if isinstance(settings, tuple):
        return ""
    found = resulting_hardware(settings, inventory)
    return "" if isinstance(found, tuple) else found.firmware.value
