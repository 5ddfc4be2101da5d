"""Resolves a connector configuration to where and how a task works."""

from __future__ import annotations

from dataclasses import dataclass

from sekiso.agent.contract import Hardware
from sekiso.connectors.decoding import decode
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.connectors.hyperv.rules import resulting_hardware
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.model.library import ConfigurationRecord
from sekiso.model.machine import Firmware, Violation
from sekiso.store.database.api import UnitOfWork
from sekiso.tasks.flows.params import Site

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ResolvedSite:
    """A connector configuration and what it comes to.

    Attributes:
        record: the configuration.
        site: where and how.
    """

    record: ConfigurationRecord
    site: Site


def resolve_site(work: UnitOfWork, reference: str) -> ResolvedSite:
    """Resolve a connector configuration.

    Args:
        work: the transaction.
        reference: its identifier or name.

    Raises:
        NotFoundError: there is no such configuration, or its agent was removed.
        ConfigurationInvalidError: what it names at its agent's host is gone, or breaks a rule.
    """
    record = work.configurations.by_reference(reference)
    settings = decode(HYPERV, record.settings)
    if not isinstance(settings, HyperVSettings):
        raise ConfigurationInvalidError.of(settings)
    agent = work.agents.by_reference(settings.agent)
    found = resulting_hardware(settings, agent.inventory)
    if isinstance(found, tuple):
        raise ConfigurationInvalidError.of(found)
    hardware = Hardware(
        generation=found.generation,
        cpus=found.cpus,
        memory_mb=found.memory_mb,
        network=settings.network,
        template_vm=found.template,
        secure_boot=found.firmware is Firmware.UEFI_SECURE_BOOT,
    )
    site = Site(
        configuration_id=record.id,
        agent_id=agent.id,
        storage_path=settings.storage_path,
        offload=settings.offload,
        generation=found.generation,
        disk_format=settings.disk_format,
        hardware=hardware,
        cache_bytes=(settings.cache_gb or 0) * _GIB,
    )
    return ResolvedSite(record, site)


def refuse(field: str, code: str, reason: str, remedy: str) -> ConfigurationInvalidError:
    """Return the error of one broken rule."""
    return ConfigurationInvalidError.of((Violation(field, code, reason, remedy),))
