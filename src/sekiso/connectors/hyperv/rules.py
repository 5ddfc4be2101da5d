"""All rules of a Hyper-V connector configuration (CC-1 to CC-5), by the check that shows them (CC-7)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sekiso.connectors.base import Surroundings, flatten
from sekiso.connectors.decoding import range_violations
from sekiso.connectors.hyperv.combination import Combination, combination_violations, given_by, with_remedy
from sekiso.connectors.hyperv.limits import CPUS_OF_GENERATION, MEMORY_MB_OF_GENERATION
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.connectors.hyperv.templates import chosen_template, reference_violations, template_violations
from sekiso.model.connector import AgentInventory, TemplateVm, find_agents
from sekiso.model.machine import Firmware, Generation, Violation, resulting_firmware
from sekiso.model.storage_path import (
    HostPlatform,
    PathKind,
    StoragePath,
    parse_storage_path,
    storage_path_violations,
)

#: Fields of the combination and the check that shows what is wrong with each.
_COMBINATION_GROUPS = {"offload": "offload", "template_vm": "template-vm"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine made through a configuration is like.

    Attributes:
        generation: its generation.
        firmware: its firmware.
        cpus: virtual processors.
        memory_mb: memory in MiB.
        switches: switch of each of its network adapters; None = not connected.
        template: identifier of the template VM that it is made after; None = none.
    """

    generation: Generation
    firmware: Firmware
    cpus: int
    memory_mb: int
    switches: tuple[str | None, ...]
    template: str | None


def violations(settings: HyperVSettings, surroundings: Surroundings) -> tuple[Violation, ...]:
    """Return every broken rule, in the order of the form; empty when the configuration can be saved."""
    order = [f.name for f in HYPERV.fields]
    found = flatten(grouped_violations(settings, surroundings))
    return tuple(sorted(found, key=lambda v: order.index(v.field)))


def grouped_violations(
    settings: HyperVSettings, surroundings: Surroundings
) -> Mapping[str, tuple[Violation, ...]]:
    """Return every broken rule by the code of the check that shows it (`connectors.checks.CHECKS`).

    What is not known (an agent that is not connected) is not judged.
    """
    inventory = surroundings.inventory
    template = chosen_template(settings, inventory)
    given = given_by(inventory, template.firmware if template else None)
    combined = combination_violations(_combination(settings), given)
    by_group = {
        group: tuple(v for v in combined if _COMBINATION_GROUPS.get(v.field, "settings") == group)
        for group in ("settings", "offload", "template-vm")
    }
    return {
        "settings": (
            *_name_violations(settings, surroundings.other_names),
            *range_violations(HYPERV, settings),
            *_generation_limits(settings),
            *by_group["settings"],
        ),
        "agent-known": tuple(_agent_violations(settings, surroundings)),
        "offload": by_group["offload"],
        "template-vm": (*_template_group(settings, inventory, template), *by_group["template-vm"]),
        "network-switch": tuple(_network_violations(settings, inventory, template)),
        "host-capacity": tuple(_capacity_violations(settings, inventory)),
        "storage-path": tuple(_path_violations(settings, inventory)),
    }


def resulting_hardware(
    settings: HyperVSettings, inventory: AgentInventory | None
) -> Hardware | tuple[Violation, ...]:
    """Return what machines made through a configuration are like, or why there can be none (CC-3, CC-4)."""
    template = chosen_template(settings, inventory)
    if template is None:
        if settings.template_vm is not None:
            return tuple(reference_violations(settings.template_vm, inventory)) or (_not_reported(),)
        firmware = resulting_firmware(settings.generation, None, offload=settings.offload)
        if isinstance(firmware, Violation):
            return (with_remedy(firmware),)
        return Hardware(
            settings.generation, firmware, settings.cpus, settings.memory_mb, (settings.network,), None
        )
    firmware = resulting_firmware(settings.generation, template.firmware, offload=settings.offload)
    faults = (
        *template_violations(template),
        *((with_remedy(firmware),) if isinstance(firmware, Violation) else ()),
    )
    if faults or isinstance(firmware, Violation):
        return faults
    switches = tuple(a if a is not None else settings.network for a in template.adapters)
    return Hardware(template.generation, firmware, template.cpus, template.memory_mb, switches, template.id)


def hindered_checks(settings: HyperVSettings) -> Mapping[str, str]:
    """Return the checks that do not apply to a configuration, and why, each in a sentence."""
    found: dict[str, str] = {}
    if settings.template_vm is None:
        found["template-vm"] = "No template VM is chosen."
    else:
        found["host-capacity"] = "The numbers of the template VM count."
    if not settings.offload:
        found["offload"] = "Offload compositing is off."
    if settings.storage_unc_path is None:
        found["same-place"] = "No UNC path is given beside the storage path."
    return found


def comparable_name(name: str) -> str:
    """Return what two names must differ in: case, width and runs of spaces do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _combination(settings: HyperVSettings) -> Combination:
    return Combination(settings.offload, settings.generation, settings.disk_format)


def _name_violations(settings: HyperVSettings, others: tuple[str, ...]) -> Iterator[Violation]:
    name = settings.name
    if not name.strip() or name != name.strip() or not name.isprintable():
        yield Violation(
            "name",
            "name-not-usable",
            "A name has printable characters only and no space at its ends.",
            "Choose another name.",
        )
    elif comparable_name(name) in map(comparable_name, others):
        yield Violation(
            "name",
            "name-taken",
            f"Another connector configuration has the name {name}.",
            "Choose another name.",
        )


def _agent_violations(settings: HyperVSettings, surroundings: Surroundings) -> Iterator[Violation]:
    if surroundings.agents is None:
        return
    count = len(find_agents(surroundings.agents, settings.agent))
    if count == 0:
        yield Violation(
            "agent",
            "agent-unknown",
            f"No agent {settings.agent} is registered with the appliance.",
            "Choose a registered agent, or register this one.",
        )
    elif count > 1:
        yield Violation(
            "agent",
            "agent-ambiguous",
            f"There are {count} agents with the name {settings.agent}.",
            "Name the agent by its identifier.",
        )


def _generation_limits(settings: HyperVSettings) -> Iterator[Violation]:
    if settings.template_vm is not None or settings.generation is Generation.TWO:
        return  # the template's own numbers count; the limits of generation 2 are those of the fields
    cpus, memory_mb = CPUS_OF_GENERATION[Generation.ONE], MEMORY_MB_OF_GENERATION[Generation.ONE]
    if cpus < settings.cpus <= CPUS_OF_GENERATION[Generation.TWO]:
        yield Violation(
            "cpus",
            "cpus-exceed-generation1",
            f"Generation 1 machines have at most {cpus} CPUs.",
            "Choose fewer CPUs, or generation 2.",
        )
    if memory_mb < settings.memory_mb <= MEMORY_MB_OF_GENERATION[Generation.TWO]:
        yield Violation(
            "memory_mb",
            "memory-exceeds-generation1",
            f"Generation 1 machines have at most {memory_mb} MB of memory.",
            "Choose less memory, or generation 2.",
        )


def _template_group(
    settings: HyperVSettings, inventory: AgentInventory | None, template: TemplateVm | None
) -> Iterator[Violation]:
    if template is not None:
        yield from template_violations(template)
    elif settings.template_vm is not None:
        yield from reference_violations(settings.template_vm, inventory)


def _network_violations(
    settings: HyperVSettings, inventory: AgentInventory | None, template: TemplateVm | None
) -> Iterator[Violation]:
    if settings.network is None:
        if settings.template_vm is None:
            yield Violation(
                "network",
                "network-missing",
                "Without a template VM, a network switch has to be chosen.",
                "Choose a network switch.",
            )
        elif template is not None and template.adapters and not any(template.adapters):
            yield Violation(
                "network",
                "network-missing-for-template",
                f"No network adapter of the template VM {template.name} is connected to a switch.",
                "Choose a network switch, or connect the template's adapter.",
            )
    elif inventory is not None and inventory.find_switch(settings.network) is None:
        known = ", ".join(s.name for s in inventory.switches) or "-"
        yield Violation(
            "network",
            "network-unknown",
            f"The agent's host has no network switch {settings.network}.",
            f"Choose one of: {known}.",
        )


def _capacity_violations(settings: HyperVSettings, inventory: AgentInventory | None) -> Iterator[Violation]:
    if inventory is None or settings.template_vm is not None:
        return
    if 0 < inventory.cpus < settings.cpus:
        yield Violation(
            "cpus",
            "cpus-exceed-host",
            f"The agent's host has {inventory.cpus} logical processors; a machine cannot have more.",
            "Choose fewer CPUs.",
        )
    if 0 < inventory.memory_mb < settings.memory_mb:
        yield Violation(
            "memory_mb",
            "memory-exceeds-host",
            f"The agent's host has {inventory.memory_mb} MB of memory; a machine cannot have more.",
            "Choose less memory.",
        )


def _path_violations(settings: HyperVSettings, inventory: AgentInventory | None) -> Iterator[Violation]:
    platform = inventory.platform if inventory else likely_platform(settings.storage_path)
    drives = inventory.drives if inventory else None
    yield from storage_path_violations(settings.storage_path, platform, drives)
    if settings.storage_unc_path is not None:
        yield from _unc_violations(settings.storage_path, settings.storage_unc_path, platform)
    yield from _cache_violations(settings, inventory)


def _unc_violations(path: str, unc_path: str, platform: HostPlatform) -> Iterator[Violation]:
    field = "storage_unc_path"
    local = parse_storage_path(path, platform)
    unc = parse_storage_path(unc_path, platform, field=field)
    if not isinstance(unc, StoragePath):
        yield from unc
    elif unc.kind is not PathKind.UNC:
        yield Violation(
            field,
            "path-not-unc",
            "This field takes a UNC path only.",
            "Write it like \\\\server\\share\\folder, or leave it out.",
        )
    elif isinstance(local, StoragePath) and local.kind is PathKind.UNC and local.key != unc.key:
        yield Violation(
            field,
            "path-two-shares",
            "The storage path is a UNC path already, and this is another one.",
            "Leave it out.",
        )


def _cache_violations(settings: HyperVSettings, inventory: AgentInventory | None) -> Iterator[Violation]:
    path = parse_storage_path(settings.storage_path, inventory.platform) if inventory else None
    volume = inventory.volume_of(path) if inventory and isinstance(path, StoragePath) else None
    if volume is not None and settings.cache_limit_bytes > volume.size_bytes:
        yield Violation(
            "cache_gb",
            "cache-exceeds-volume",
            f"The volume {volume.path} has {volume.size_bytes >> 30} GB; the cache cannot be larger.",
            "Choose a smaller layer disk cache.",
        )


def likely_platform(path: str) -> HostPlatform:
    """Return the platform that a path was written for, for as long as the agent's is not known."""
    is_posix = path.startswith("/") and not path.startswith("//")
    return HostPlatform.POSIX if is_posix else HostPlatform.WINDOWS


def _not_reported() -> Violation:
    return Violation(
        "template_vm",
        "template-not-reported",
        "The agent has not reported its machines yet.",
        "Try again when the agent is connected.",
    )
