"""The layer disk cache of a connector configuration (IM-4)."""

from __future__ import annotations

from fastapi import Request, Response

from sekiso.agent.contract import CacheFacts
from sekiso.console.access import Who, pages
from sekiso.console.answers import noticed
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.rendering import show
from sekiso.errors import RuleError, SekisoError
from sekiso.model.library import Role
from sekiso.services.configuration_views import ConfigurationView
from sekiso.web.auth import Use
from sekiso.web.bodies import CacheClearing
from sekiso.web.params import Ref
from sekiso.web.services import Services

_reading, _changing = pages("/connectors"), pages("/connectors", role=Role.LAYER_MANAGER)
routers = (_reading, _changing)


@_reading.get("/{reference}/cache")
def cache_part(request: Request, reference: Ref, use: Use) -> Response:
    """Show what the cache holds; its agent is asked."""
    found = use.configurations.get(reference)
    try:
        facts = use.cache.show(found.id)
    except SekisoError as error:
        # A part of a page: why it is empty stands where its content would.
        context = {"configuration": found, "failure": failure_of(error, request)}
        return show(request, "connectors/cache.html", {**context, "facts": None})
    return _part(request, use, found, facts)


@_changing.delete("/{reference}/cache")
def clear_all(request: Request, reference: Ref, use: Use, who: Who) -> Response:
    """Remove every disk that nothing uses."""
    return _cleared(request, use, use.configurations.get(reference), use.cache.clear(who, reference))


@_changing.post("/{reference}/cache/clear")
def clear_some(request: Request, reference: Ref, form: Sent, use: Use, who: Who) -> Response:
    """Remove the chosen disks that nothing uses."""
    body = checked(CacheClearing, {"keys": form.many("key")})
    if not body.keys:
        raise RuleError(field="key", reason="No disk is chosen.", remedy="Choose one or several disks.")
    facts = use.cache.clear(who, reference, body.keys)
    return _cleared(request, use, use.configurations.get(reference), facts)


def _cleared(request: Request, use: Services, found: ConfigurationView, facts: CacheFacts) -> Response:
    response = _part(request, use, found, facts)
    return noticed(response, request, "The layer disk cache was cleared.")


def _part(request: Request, use: Services, found: ConfigurationView, facts: CacheFacts) -> Response:
    sharing = [
        other
        for other in use.configurations.list()
        if other.id != found.id
        and all(other.settings.get(k) == found.settings.get(k) for k in ("agent", "storage_path"))
    ]
    context = {
        "configuration": found,
        "failure": None,
        "facts": facts,
        "names": use.cache.called(facts),
        "limit_bytes": int(found.settings.get("cache_gb") or 0) << 30,
        "sharing": sharing,
    }
    return show(request, "connectors/cache.html", context)
