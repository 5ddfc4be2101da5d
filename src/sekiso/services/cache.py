"""The layer disk cache of a connector configuration (IM-4)."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.agent.contract import CacheFacts, CacheParams, ClearCacheParams
from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.core import Actor, Core, require
from sekiso.services.sites import resolve_site


class CacheService:
    """Layer disk caches."""

    def __init__(self, core: Core) -> None:
        """Serve the caches of an appliance's agents."""
        self._core = core

    def show(self, reference: str) -> CacheFacts:
        """Return what the cache of a configuration's storage path holds.

        Raises:
            NotFoundError: there is no such configuration.
            AgentOfflineError: its agent is not connected.
        """
        with self._core.db.begin() as work:
            site = resolve_site(work, reference).site
        return self._core.agents.call(site.agent_id, "cache.list", CacheParams(site.storage_path))

    def clear(self, actor: Actor, reference: str, keys: Sequence[str] | None = None) -> CacheFacts:
        """Remove disks from the cache that nothing uses; all if none is named. Returns what is left.

        Raises:
            NotFoundError: there is no such configuration.
            AgentOfflineError: its agent is not connected.
        """
        require(actor, Role.LAYER_MANAGER)
        with self._core.db.begin() as work:
            found = resolve_site(work, reference)
            work.audit.append(
                actor=actor.name,
                action="cache.clear",
                subject=Subject(SubjectKind.CACHE, found.record.id, found.record.name),
            )
        params = ClearCacheParams(found.site.storage_path, None if keys is None else tuple(keys))
        return self._core.agents.call(found.site.agent_id, "cache.clear", params)
