"""Which offload, generation and disk format go together, with a template VM and at a host (CC-2, CC-3).

The choices are offered from the first to the last of offload compositing, generation, disk format: each
value is offered if the rest can still be completed, so that a form is never stuck, and a combination is
allowed exactly if each of its values is offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sekiso.connectors.base import N_, Offer
from sekiso.model.connector import AgentInventory
from sekiso.model.machine import (
    DiskFormat,
    Firmware,
    Generation,
    Violation,
    disk_format_violations,
    resulting_firmware,
)

FORMATS = (DiskFormat.VHD, DiskFormat.VHDX)
#: By the text of the value: as keys of one dictionary, True and generation 1 would be the same.
_LABELS = {
    "False": N_("Off"),
    "True": N_("On"),
    "1": N_("Generation 1"),
    "2": N_("Generation 2"),
    "vhd": "VHD",
    "vhdx": "VHDX",
}
#: What to do about the rules that hold everywhere, in the words of this form.
_REMEDIES = {
    "generation2-needs-offload": N_("Switch offload compositing on, or choose generation 1."),
    "generation2-needs-vhdx": N_("Choose VHDX, or generation 1."),
    "vhdx-needs-offload": N_("Switch offload compositing on, or choose VHD."),
    "uefi-template-needs-offload": N_("Switch offload compositing on, or choose another template VM."),
    "generation-differs-from-template": N_("Choose the template's generation, or another template VM."),
}


@dataclass(frozen=True, slots=True)
class Combination:
    """The choices that depend on each other.

    Attributes:
        offload: offload compositing.
        generation: generation of the machines.
        disk_format: format of their disks.
    """

    offload: bool = False
    generation: Generation = Generation.ONE
    disk_format: DiskFormat = DiskFormat.VHD


@dataclass(frozen=True, slots=True)
class Given:
    """What a combination is chosen for.

    Attributes:
        template: firmware of the template VM; None = no template VM.
        offload_hindrance: why the agent's host cannot composite; empty when it can or is not known.
        disk_formats: formats that the host's machines can have.
    """

    template: Firmware | None = None
    offload_hindrance: str = ""
    disk_formats: tuple[DiskFormat, ...] = FORMATS


def given_by(inventory: AgentInventory | None, template: Firmware | None) -> Given:
    """Return what a host and a template VM allow; everything is assumed of a host that is not known."""
    if inventory is None:
        return Given(template)
    hindrance = inventory.offload_hindrance or "The agent reports that it cannot composite layers."
    return Given(template, "" if inventory.offload else hindrance, inventory.disk_formats)


def combination_violations(choice: Combination, given: Given) -> tuple[Violation, ...]:
    """Return every rule that the combination breaks; the template's own rules are `template_violations`."""
    found: list[Violation] = []
    if choice.offload and given.offload_hindrance:
        found.append(
            Violation(
                "offload",
                "offload-not-available",
                given.offload_hindrance,
                "Switch offload compositing off, or choose another agent.",
            )
        )
    found += disk_format_violations(choice.generation, choice.disk_format, offload=choice.offload)
    if choice.disk_format in FORMATS and choice.disk_format not in given.disk_formats:
        found.append(
            Violation(
                "disk_format",
                "format-not-on-host",
                f"The agent's host does not attach {choice.disk_format.value.upper()} disks.",
                "Choose the other disk format, or another agent.",
            )
        )
    firmware = resulting_firmware(choice.generation, given.template, offload=choice.offload)
    if isinstance(firmware, Violation) and firmware not in found:
        found.append(firmware)
    return tuple(with_remedy(v) for v in found)


def with_remedy(violation: Violation) -> Violation:
    """Return a broken rule with what to do about it, where it does not say so itself."""
    return replace(violation, remedy=violation.remedy or _REMEDIES.get(violation.code, ""))


def offered_combinations(choice: Combination, given: Given) -> tuple[Offer, ...]:
    """Return every value of the three fields and whether it can be chosen, and why not.

    Offload values are judged for any generation and format, generations for the chosen offload and any
    format, formats for the chosen offload and generation.
    """
    offers: list[Offer] = []
    for offload in (False, True):
        completions = [Combination(offload, g, f) for g in Generation for f in FORMATS]
        offers.append(_offer("offload", offload, completions, given))
    for generation in Generation:
        completions = [replace(choice, generation=generation, disk_format=f) for f in FORMATS]
        offers.append(_offer("generation", generation, completions, given))
    for disk_format in FORMATS:
        completions = [replace(choice, disk_format=disk_format)]
        offers.append(_offer("disk_format", disk_format, completions, given))
    return tuple(offers)


def settle(choice: Combination, given: Given) -> Combination:
    """Return the allowed combination nearest to what was chosen: what a form shows after a change.

    Later fields give way to earlier ones. Where nothing is allowed (a UEFI template VM at a host that cannot
    composite) the choice stays as it is, and its violations say why.
    """
    settled = choice
    for field in ("offload", "generation", "disk_format"):
        offered = [o.value for o in offered_combinations(settled, given) if o.field == field and o.offered]
        if not offered:
            return choice
        if _value(settled, field) not in offered:
            settled = _with(settled, field, offered[0])
    return settled


def _offer(
    field: str,
    value: bool | Generation | DiskFormat,  # noqa: FBT001 (a value of the form)
    completions: Iterable[Combination],
    given: Given,
) -> Offer:
    plain = value.value if isinstance(value, Generation | DiskFormat) else value
    broken = [combination_violations(c, given) for c in completions]
    hindrance = None if () in broken else _hindrance(field, broken)
    return Offer(field, plain, _LABELS[str(plain)], hindrance)


def _hindrance(field: str, broken: list[tuple[Violation, ...]]) -> Violation:
    """Of the rules in the way, the one that names the field; else one that every completion breaks."""
    least = min(broken, key=len)
    every = [v for v in least if all(v in others for others in broken)]
    named = [v for v in (*every, *least) if v.field == field]
    return (named or every or list(least))[0]


def _value(choice: Combination, field: str) -> bool | int | str:
    value: bool | Generation | DiskFormat = getattr(choice, field)
    return value.value if isinstance(value, Generation | DiskFormat) else value


def _with(choice: Combination, field: str, value: object) -> Combination:
    if field == "offload":
        return replace(choice, offload=bool(value))
    if field == "generation":
        return replace(choice, generation=Generation(value))
    return replace(choice, disk_format=DiskFormat(str(value)))
