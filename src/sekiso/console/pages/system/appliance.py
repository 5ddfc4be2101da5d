"""The appliance itself: settings, logs, health (OP-4)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Form, Sent
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.i18n import mark
from sekiso.model.library import Role
from sekiso.services.appliance_settings import SettingField
from sekiso.services.logs import MAX_DAYS
from sekiso.web.auth import Use
from sekiso.web.services import Services

#: Languages call themselves the same everywhere.
LANGUAGE_NAMES = {"en": "English", "ja": "日本語"}
#: Of how many days tasks can be in a support bundle.
BUNDLE_DAYS = (1, 7, 30, MAX_DAYS)
#: Where what a check is about can be changed, and what that page is called.
CHECK_PLACES = {
    "certificate": ("/system/certificate", mark("Certificate")),
    "certificate-agents": ("/system/certificate", mark("Certificate")),
    "agents": ("/system/agents", mark("Agents")),
    "agent-certificates": ("/system/agents", mark("Agents")),
    "agent-clocks": ("/system/agents", mark("Agents")),
    "tasks": ("/tasks", mark("Tasks")),
    "connector-settings": ("/connectors", mark("Connectors")),
}

_seen = pages("/system")
_pages = pages("/system", role=Role.ADMINISTRATOR)


@_pages.get("/settings")
def settings(request: Request, use: Use) -> Response:
    """Show the settings of the appliance."""
    return show(request, "system/settings.html", _settings(use))


@_pages.post("/settings")
def change_settings(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Change them."""
    fields = use.appliance_settings.get().fields
    given = {item.name: _given(item, form) for item in fields if item.name in form}
    try:
        use.appliance_settings.set(who, given)
    except SekisoError as error:
        context = _settings(use, given, failure_of(error, request))
        return show(request, "system/settings_form.html", context, status=422)
    return go(request, "/system/settings", "The settings were saved.")


@_pages.get("/logs")
def logs(request: Request, use: Use) -> Response:
    """Offer the support bundle."""
    context = {"facts": use.appliance_settings.get().facts, "days_offered": BUNDLE_DAYS}
    return show(request, "system/logs.html", context)


@_pages.get("/logs/bundle")
def bundle(use: Use, who: Who, days: Annotated[int, Query(ge=1, le=MAX_DAYS)] = 7) -> Response:
    """Send the support bundle."""
    name = time.strftime("sekiso-support-%Y%m%d-%H%M%S.tar.gz", time.gmtime())
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = use.logs.bundle(who, days=days)
    return StreamingResponse(content, media_type="application/gzip", headers=headers)


@_seen.get("/health")
def health(request: Request, use: Use) -> Response:
    """Show how the appliance is."""
    return show(request, "system/health.html", _health(use))


@_seen.get("/health/checks")
def health_checks(request: Request, use: Use) -> Response:
    """Show how the appliance is, as a part of the page."""
    return show(request, "system/health_checks.html", _health(use))


def _settings(
    use: Services, typed: Mapping[str, Any] | None = None, failure: Failure | None = None
) -> dict[str, Any]:
    view = use.appliance_settings.get()
    return {
        "view": view,
        "values": {**view.values, **(typed or {})},
        "language_names": LANGUAGE_NAMES,
        "failure": failure,
    }


def _given(item: SettingField, form: Form) -> Any:
    """Return what was typed as the kind of value that a setting has; what is none stays a text."""
    match item.kind:
        case "number":
            return form.number(item.name)
        case "names":
            return [line.strip() for line in form.text(item.name).splitlines() if line.strip()]
        case _:
            return form.text(item.name)


def _health(use: Services) -> dict[str, Any]:
    return {"health": use.health.look(), "places": CHECK_PLACES}


router = APIRouter()
router.include_router(_seen)
router.include_router(_pages)
