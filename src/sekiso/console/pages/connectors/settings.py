"""config.json of a connector: what the file says, what is in force, the restart that takes it up (CC-8)."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from sekiso.connectors.decoding import from_text
from sekiso.connectors.form import FormField, describe_form
from sekiso.connectors.hyperv.config_file import CONFIG
from sekiso.console.access import Who, pages
from sekiso.console.answers import noticed
from sekiso.console.forms import Sent
from sekiso.console.reader import page_language
from sekiso.console.rendering import show
from sekiso.model.library import Role
from sekiso.services.connector_settings import ConnectorSettingsView
from sekiso.web.auth import Use

_reading, _changing = pages("/connectors/settings"), pages("/connectors/settings", role=Role.ADMINISTRATOR)
routers = (_reading, _changing)


@_reading.get("")
def settings_page(request: Request, use: Use, connector: str = "hyperv") -> Response:
    """Show the settings of a connector."""
    return show(request, "connectors/settings.html", _context(request, use.connector_settings.get(connector)))


@_changing.put("")
def save(request: Request, form: Sent, use: Use, who: Who, connector: str = "hyperv") -> Response:
    """Write config.json."""
    texts = {f.name: form.text(f.name) for f in CONFIG.fields}
    view = use.connector_settings.set(who, connector, from_text(CONFIG, texts))
    response = show(request, "connectors/settings_parts.html", _context(request, view))
    if view.pending_restart:
        return noticed(
            response, request, "The file config.json was saved. Restart the connector to take it up."
        )
    return noticed(response, request, "The file config.json was saved.")


@_changing.post("/restart")
def restart(request: Request, use: Use, who: Who, connector: str = "hyperv") -> Response:
    """Take config.json up."""
    view = use.connector_settings.restart(who, connector)
    response = show(request, "connectors/settings_parts.html", _context(request, view))
    return noticed(response, request, "The connector was restarted, and its settings are in force.")


def _context(request: Request, view: ConnectorSettingsView) -> dict[str, Any]:
    language = page_language(request)
    fields: tuple[FormField, ...] = tuple(
        f
        for section in describe_form(CONFIG, view.file or view.in_force, language=language)
        for f in section.fields
    )
    return {"settings": view, "fields": fields}
