"""The configuration page: a new configuration, a changed one, a copy; deleting (CC-1 … CC-6)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query, Request, Response

from sekiso.connectors.checks import CHECKS
from sekiso.connectors.errors import ConfigurationInvalidError
from sekiso.connectors.registry import connector as connector_type
from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.pages.connectors.filling import (
    Filling,
    all_touched,
    ask_agent,
    first_values,
    is_agent_field,
    sent,
    shown,
)
from sekiso.console.rendering import show
from sekiso.errors import SekisoError
from sekiso.model.library import Role
from sekiso.web.auth import Use
from sekiso.web.bodies import Renaming
from sekiso.web.errors import RequestInvalidError
from sekiso.web.params import Ref
from sekiso.web.services import Services

_changing = pages("/connectors", role=Role.ADMINISTRATOR)
routers = (_changing,)
_UNPROCESSABLE = 422

Source = Annotated[str, Query(alias="from", max_length=200)]
ChangedField = Annotated[str, Header(alias="HX-Trigger-Name", max_length=200)]


@_changing.get("/new")
def new_page(request: Request, use: Use, connector: str = "hyperv", source: Source = "") -> Response:
    """Show the form of a new configuration, empty or with the settings of another one."""
    connector_type(connector)
    if not source:
        return _page(request, use, Filling(connector, None, first_values(use, connector)))
    found = use.configurations.get(source)
    filling = Filling(found.connector, None, {**found.settings, "name": ""})
    return _page(request, use, all_touched(filling, but=["name"]))


@_changing.get("/{reference}/edit")
def edit_page(request: Request, reference: Ref, use: Use) -> Response:
    """Show the form of a configuration that is there."""
    found = use.configurations.get(reference)
    filling = all_touched(Filling(found.connector, found.id, found.settings))
    return _page(request, use, filling, name=found.name)


@_changing.post("/form")
def fill_form(request: Request, form: Sent, use: Use, changed: ChangedField = "") -> Response:
    """Show the fields anew after a change: what is offered now, what is wrong, what will result."""
    filling = sent(form, changed=changed)
    if changed == "ask" or is_agent_field(filling, changed):
        ask_agent(use, filling)
    return show(request, "connectors/fields.html", {"form": shown(request, use, filling)})


@_changing.post("")
def create(request: Request, form: Sent, use: Use, who: Who) -> Response:
    """Save a new configuration."""
    filling = sent(form)
    try:
        saved = use.configurations.create(who, filling.connector, filling.values)
    except ConfigurationInvalidError as error:
        return _refused(request, use, filling, error)
    return go(request, "/connectors", "The connector configuration {name} was saved.", name=saved.name)


@_changing.put("/{reference}")
def change(request: Request, reference: Ref, form: Sent, use: Use, who: Who) -> Response:
    """Save a changed configuration."""
    filling = sent(form, reference=reference)
    try:
        saved = use.configurations.update(who, reference, filling.values)
    except ConfigurationInvalidError as error:
        return _refused(request, use, filling, error)
    return go(request, "/connectors", "The connector configuration {name} was saved.", name=saved.name)


@_changing.get("/{reference}/clone")
def clone_dialog(request: Request, reference: Ref, use: Use) -> Response:
    """Ask for the name of a copy."""
    return _clone_dialog(request, use, reference)


@_changing.post("/{reference}/clone")
def clone(request: Request, reference: Ref, form: Sent, use: Use, who: Who) -> Response:
    """Save a copy under another name."""
    try:
        body = checked(Renaming, {"name": form.text("name")})
        saved = use.configurations.clone(who, reference, body.name)
    except (ConfigurationInvalidError, RequestInvalidError) as error:
        return _clone_dialog(request, use, reference, typed=form.text("name"), error=error)
    return go(request, "/connectors", "The connector configuration {name} was saved.", name=saved.name)


@_changing.delete("/{reference}")
def remove(request: Request, reference: Ref, use: Use, who: Who) -> Response:
    """Delete a configuration that nothing uses."""
    name = use.configurations.get(reference).name
    use.configurations.remove(who, reference)
    return go(request, "/connectors", "The connector configuration {name} was deleted.", name=name)


def _page(request: Request, use: Services, filling: Filling, *, name: str = "") -> Response:
    ask_agent(use, filling)
    types = {t.code: t.label for t in use.configurations.types()}
    context: dict[str, Any] = {
        "form": shown(request, use, filling),
        "name": name,
        "checks": CHECKS,
        "type_label": types[filling.connector],
        "warnings": use.connector_settings.get(filling.connector).warnings,
    }
    return show(request, "connectors/form.html", context)


def _refused(request: Request, use: Services, filling: Filling, error: SekisoError) -> Response:
    failure = failure_of(error, request)
    context = {"form": shown(request, use, all_touched(filling), failure)}
    return show(request, "connectors/fields.html", context, status=_UNPROCESSABLE)


def _clone_dialog(
    request: Request,
    use: Services,
    reference: str,
    *,
    typed: str | None = None,
    error: SekisoError | None = None,
) -> Response:
    found = use.configurations.get(reference)
    context = {
        "configuration": found,
        "typed": typed,
        "failure": failure_of(error, request) if error is not None else None,
    }
    status = 200 if error is None else _UNPROCESSABLE
    return show(request, "connectors/clone.html", context, status=status)
