"""The Hyper-V connector as one object: declaration, rules and offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sekiso.connectors.base import Declaration, Offer, Place, Surroundings
from sekiso.connectors.hyperv import rules
from sekiso.connectors.hyperv.combination import (
    FORMATS,
    Combination,
    combination_violations,
    given_by,
    offered_combinations,
    settle,
)
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.connectors.hyperv.templates import template_violations
from sekiso.model.connector import AgentInventory, TemplateVm
from sekiso.model.machine import DiskFormat, Firmware, Generation, Violation


class HyperVConnector:
    """The connector type "Microsoft Hyper-V"; a `connectors.base.Connector`."""

    @property
    def declaration(self) -> Declaration[HyperVSettings]:
        """Its settings and abilities."""
        return HYPERV

    def grouped_violations(
        self, settings: HyperVSettings, surroundings: Surroundings
    ) -> Mapping[str, tuple[Violation, ...]]:
        """Return every broken rule by the code of the check that shows it."""
        return rules.grouped_violations(settings, surroundings)

    def place(self, settings: HyperVSettings) -> Place:
        """Return where a configuration works."""
        return Place(settings.agent, settings.storage_path, settings.storage_unc_path)

    def hindered_checks(self, settings: HyperVSettings) -> Mapping[str, str]:
        """Return the checks that do not apply to a configuration, and why."""
        return rules.hindered_checks(settings)

    def offers(self, values: Mapping[str, Any], surroundings: Surroundings) -> tuple[Offer, ...]:
        """Return the choices of a form: agents, template VMs, switches, and the combination."""
        inventory = surroundings.inventory
        given = given_by(inventory, _template_firmware(values, inventory))
        return (
            *(Offer("agent", a.id, a.name) for a in surroundings.agents or ()),
            *(_template_offer(t, inventory) for t in (inventory.template_vms if inventory else ())),
            *(Offer("network", s.name, s.name) for s in (inventory.switches if inventory else ())),
            *offered_combinations(combination_of(values), given),
        )

    def settled(self, values: Mapping[str, Any], inventory: AgentInventory | None) -> dict[str, Any]:
        """Return the form's values after a change, brought into an allowed combination where there is one."""
        given = given_by(inventory, _template_firmware(values, inventory))
        settled = settle(combination_of(values), given)
        return {
            **values,
            "offload": settled.offload,
            "generation": settled.generation.value,
            "disk_format": settled.disk_format.value,
        }


def combination_of(values: Mapping[str, Any]) -> Combination:
    """Return the combination that a form holds; what it cannot hold counts as the default."""
    generation, disk_format = values.get("generation"), values.get("disk_format")
    known = type(generation) is int and generation in list(Generation)
    return Combination(
        values.get("offload") is True,
        Generation(generation) if known else Generation.ONE,
        DiskFormat(disk_format) if disk_format in FORMATS else DiskFormat.VHD,
    )


def _template_firmware(values: Mapping[str, Any], inventory: AgentInventory | None) -> Firmware | None:
    reference = values.get("template_vm")
    if inventory is None or not isinstance(reference, str):
        return None
    found = inventory.find_template_vms(reference)
    return found[0].firmware if len(found) == 1 else None


def _template_offer(template: TemplateVm, inventory: AgentInventory | None) -> Offer:
    hindrances = (*template_violations(template), *_unreachable(template, inventory))
    return Offer("template_vm", template.id, template.name, next(iter(hindrances), None))


def _unreachable(template: TemplateVm, inventory: AgentInventory | None) -> Iterator[Violation]:
    """Yield why no combination goes with a template VM at this host."""
    given = given_by(inventory, template.firmware)
    every = [Combination(o, template.generation, f) for o in (False, True) for f in FORMATS]
    broken = [combination_violations(choice, given) for choice in every]
    if () not in broken:
        yield next(v for b in broken for v in sorted(b, key=lambda v: v.field != "template_vm"))
