"""The layer disk cache of a connector configuration (IM-4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sekiso.agent.contract import CacheFacts, CacheParams, ClearCacheParams
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.connectors.registry import connector as connector_type
from sekiso.model.library import ConfigurationRecord, Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.configuration_rules import decoded
from sekiso.services.core import Actor, Core, require


class CacheService:
    """Layer disk caches."""

    def __init__(self, core: Core) -> None:
        """Serve the caches of an appliance's agents."""
        self._core = core

    def show(self, reference: str) -> CacheFacts:
        """Return what the cache of a configuration's storage path holds.

        Raises:
            NotFoundError: there is no such configuration, or its agent was removed.
            AgentOfflineError: its agent is not connected.
        """
        _, agent_id, path = self._place(reference)
        return self._core.agents.call(agent_id, "cache.list", CacheParams(path))

    def clear(self, actor: Actor, reference: str, keys: Sequence[str] | None = None) -> CacheFacts:
        """Remove disks from the cache that nothing uses; all if none is named. Returns what is left.

        Raises:
            NotFoundError: there is no such configuration, or its agent was removed.
            AgentOfflineError: its agent is not connected.
        """
        require(actor, Role.LAYER_MANAGER)
        record, agent_id, path = self._place(reference)
        chosen = None if keys is None else tuple(keys)
        left: CacheFacts = self._core.agents.call(agent_id, "cache.clear", ClearCacheParams(path, chosen))
        details: dict[str, Any] = {} if chosen is None else {"keys": list(chosen)}
        with self._core.db.begin() as work:
            subject = Subject(SubjectKind.CACHE, record.id, record.name)
            work.audit.append(actor=actor.name, action="cache.clear", subject=subject, details=details)
        return left

    def called(self, facts: CacheFacts) -> Mapping[str, str]:
        """Return names of what a cache speaks of: layers by identity, packaging machines by version.

        What the appliance does not know any more is left out.
        """
        identities = dict.fromkeys(i for disk in facts.disks for i in disk.identities)
        users = dict.fromkeys(v for disk in facts.disks for v in disk.in_use_by)
        with self._core.db.read() as work:
            first = {i: found[0].id for i in identities if (found := work.versions.by_identity(i))}
            names = work.versions.called([*first.values(), *users])
        by_identity = {i: names[v] for i, v in first.items() if v in names}
        return {**by_identity, **{v: names[v] for v in users if v in names}}

    def _place(self, reference: str) -> tuple[ConfigurationRecord, str, str]:
        """Return configuration, agent and storage path; whatever else is wrong, the cache can be seen."""
        with self._core.db.read() as work:
            record = work.configurations.by_reference(reference)
            agent = work.agents.by_reference(str(record.settings.get("agent")))
        kind = connector_type(record.connector)
        settings = decoded(kind, record.settings)
        if isinstance(settings, tuple):
            raise ConfigurationInvalidError.of(settings)
        return record, agent.id, kind.place(settings).path
