"""Connector types and their config.json."""

from __future__ import annotations

from sekiso.services.configurations import ConnectorTypeView, FormView
from sekiso.services.connector_settings import ConnectorSettingsView
from sekiso.web.answers import topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import FormBody, SettingsBody
from sekiso.web.params import Ref
from sekiso.web.shown import shown_settings, shown_type

router = topic("connectors")


@router.get("/connectors", operation_id="list_connector_types")
def list_connector_types(use: Use, language: Language) -> tuple[ConnectorTypeView, ...]:
    """List the connector types, each with the JSON schema of its settings."""
    return tuple(shown_type(view, language) for view in use.configurations.types(language))


@router.post("/connectors/{code}/form", operation_id="fill_form")
def fill_form(code: Ref, body: FormBody, use: Use, language: Language) -> FormView:
    """Return the form of a configuration with these values: what is offered, and what is wrong."""
    return use.configurations.form(code, body.values, reference=body.reference, language=language)


@router.get("/connectors/{code}/settings", operation_id="get_connector_settings")
def get_connector_settings(code: Ref, use: Use, language: Language) -> ConnectorSettingsView:
    """Show config.json of a connector, and what of it is in force."""
    return shown_settings(use.connector_settings.get(code), language)


@router.put("/connectors/{code}/settings", operation_id="set_connector_settings")
def set_connector_settings(
    code: Ref, body: SettingsBody, use: Use, who: Who, language: Language
) -> ConnectorSettingsView:
    """Write config.json; a restart of the connector takes it up."""
    return shown_settings(use.connector_settings.set(who, code, body.values), language)


@router.post("/connectors/{code}/restart", operation_id="restart_connector")
def restart_connector(code: Ref, use: Use, who: Who, language: Language) -> ConnectorSettingsView:
    """Take config.json up."""
    return shown_settings(use.connector_settings.restart(who, code), language)
