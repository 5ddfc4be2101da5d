"""`cache.list` and `cache.clear`: the layer disk cache of a storage path (IM-4)."""

from __future__ import annotations

from sekiso.agent.cache import DiskCache
from sekiso.agent.contract import CacheFacts, CacheParams, ClearCacheParams
from sekiso.agent.handlers.context import Command
from sekiso.agent.handlers.opening import usable_places


def show(command: Command, params: CacheParams) -> CacheFacts:
    """Report what the cache holds."""
    return DiskCache(usable_places(params.storage_path)).facts()


def clear(command: Command, params: ClearCacheParams) -> CacheFacts:
    """Remove disks that nothing uses."""
    cache = DiskCache(usable_places(params.storage_path))
    return cache.clear(params.keys, limit_bytes=params.limit_bytes)
