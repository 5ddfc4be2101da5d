"""The page of a connector configuration: its settings, what uses it, its cache (CC-6)."""

from __future__ import annotations

from fastapi import Request, Response

from sekiso.console.access import pages
from sekiso.console.pages.connectors.filling import Filling, all_touched, shown
from sekiso.console.rendering import show
from sekiso.console.subjects import place_of
from sekiso.web.auth import Use
from sekiso.web.params import Ref

_reading = pages("/connectors")
routers = (_reading,)


@_reading.get("/{reference}")
def detail_page(request: Request, reference: Ref, use: Use) -> Response:
    """Show a connector configuration."""
    found = use.configurations.get(reference)
    types = {t.code: t.label for t in use.configurations.types()}
    filling = all_touched(Filling(found.connector, found.id, found.settings))
    context = {
        "configuration": found,
        "form": shown(request, use, filling),
        "type_label": types[found.connector],
        "used_by": [(subject, place_of(subject)) for subject in found.used_by],
    }
    return show(request, "connectors/detail.html", context)
