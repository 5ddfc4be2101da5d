"""Template VMs: which machines can be one (CC-4), and which one a configuration names."""

from __future__ import annotations

from collections.abc import Iterator

from sekiso.connectors.hyperv.settings import HyperVSettings
from sekiso.model.connector import AgentInventory, TemplateVm
from sekiso.model.machine import Violation

FIELD = "template_vm"
_SHOWN_DISKS = 3


def template_violations(template: TemplateVm) -> tuple[Violation, ...]:
    """Return why a machine cannot be a template VM (CC-4), naming it; empty when it can."""
    found: list[Violation] = []
    name = template.name
    if not template.adapters:
        found.append(
            Violation(
                FIELD,
                "template-without-adapter",
                f"The template VM {name} has no network adapter.",
                "Add a network adapter to it, or choose another template VM.",
            )
        )
    if template.disks:
        disks = ", ".join(template.disks[:_SHOWN_DISKS]) + (", …" if template.disks[_SHOWN_DISKS:] else "")
        found.append(
            Violation(
                FIELD,
                "template-with-disk",
                f"The template VM {name} has a disk attached: {disks}.",
                "Detach its disks, or choose another template VM.",
            )
        )
    return tuple(found)


def chosen_template(settings: HyperVSettings, inventory: AgentInventory | None) -> TemplateVm | None:
    """Return the template VM that a configuration names; None if it names none, or none for certain."""
    if inventory is None or settings.template_vm is None:
        return None
    found = inventory.find_template_vms(settings.template_vm)
    return found[0] if len(found) == 1 else None


def reference_violations(reference: str, inventory: AgentInventory | None) -> Iterator[Violation]:
    """Yield why a name or identifier stands for no template VM; nothing while that is not known."""
    count = len(inventory.find_template_vms(reference)) if inventory else 1
    if count == 0:
        yield Violation(
            FIELD,
            "template-unknown",
            f"The agent's host has no machine {reference}.",
            "Choose another template VM, or leave the field empty.",
        )
    elif count > 1:
        yield Violation(
            FIELD,
            "template-ambiguous",
            f"There are {count} machines with the name {reference}.",
            "Name the machine by its identifier, or rename the others.",
        )
