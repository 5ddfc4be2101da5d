"""Layer disk caches."""

from __future__ import annotations

from sekiso.agent.contract import CacheFacts
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import CacheClearing
from sekiso.web.params import Ref

router = topic("cache")


@router.get("/connector-configurations/{reference}/cache", operation_id="get_cache")
def get_cache(reference: Ref, use: Use) -> CacheFacts:
    """Show what the layer disk cache of a configuration holds."""
    return use.cache.show(reference)


@router.post("/connector-configurations/{reference}/cache/clear", operation_id="clear_cache")
def clear_cache(reference: Ref, use: Use, who: Who, body: CacheClearing | None = None) -> CacheFacts:
    """Remove disks that nothing uses from a layer disk cache."""
    return use.cache.clear(who, reference, body.keys if body is not None else None)
