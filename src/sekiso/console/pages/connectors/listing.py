"""The list of connector configurations, and the dialog that asks for the type of a new one (CC-6, CC-8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response

from sekiso.console.access import pages
from sekiso.console.rendering import show
from sekiso.model.library import Role
from sekiso.services.configuration_views import ConfigurationView
from sekiso.web.auth import Use
from sekiso.web.services import Services

_reading, _changing = pages("/connectors"), pages("/connectors", role=Role.ADMINISTRATOR)
routers = (_reading, _changing)
_ROWS = 50

Text = Annotated[str, Query(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


@_reading.get("")
def list_page(request: Request, use: Use, text: Text = "", offset: Offset = 0) -> Response:
    """Show the connector configurations."""
    return show(request, "connectors/list.html", _context(use, text, offset))


@_reading.get("/rows")
def rows(request: Request, use: Use, text: Text = "", offset: Offset = 0) -> Response:
    """Show the rows of the list anew."""
    return show(request, "connectors/rows.html", _context(use, text, offset))


@_changing.get("/add")
def choose_type(request: Request, use: Use) -> Response:
    """Ask for the connector type of a new configuration."""
    return show(request, "connectors/add.html", {"types": use.configurations.types()})


def _context(use: Services, text: str, offset: int) -> Mapping[str, Any]:
    every = use.configurations.list()
    found = [view for view in every if _holds(view, text)]
    types = {t.code: t.label for t in use.configurations.types()}
    return {
        "configurations": found[offset : offset + _ROWS],
        "total": len(found),
        "there_are_any": bool(every),
        "text": text,
        "offset": offset,
        "limit": _ROWS,
        "types": types,
        "warnings": warnings_of(every),
        "agents": use.agents.list() if not every else (),
    }


def warnings_of(views: Sequence[ConfigurationView]) -> tuple[str, ...]:
    """Return what to be warned of, each once."""
    return tuple(dict.fromkeys(text for view in views for text in view.warnings))


def _holds(view: ConfigurationView, text: str) -> bool:
    """Return whether each word of a text is somewhere in a configuration."""
    whole = f"{view.name} {view.agent_name} {view.settings.get('storage_path', '')}".casefold()
    return all(word in whole for word in text.casefold().split())
