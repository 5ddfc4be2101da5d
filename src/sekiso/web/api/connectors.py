"""Connector types, their config.json, connector configurations, layer disk caches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from sekiso.agent.contract import CacheFacts
from sekiso.connectors.checks import CheckResult
from sekiso.i18n import translate
from sekiso.services.configurations import Applied, ConfigurationView, ConnectorTypeView, FormView
from sekiso.services.connector_settings import ConnectorSettingsView
from sekiso.web.answers import Tags
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import (
    CacheClearing,
    ConfigurationBody,
    ConfigurationChange,
    ConfigurationTest,
    FormBody,
    Renaming,
    SettingsBody,
)
from sekiso.web.yaml_documents import read_documents

router = APIRouter()
_NDJSON = "application/x-ndjson"
_CONNECTORS: Tags = ["connectors"]
_CONFIGURATIONS: Tags = ["connector configurations"]


@router.get("/connectors", tags=_CONNECTORS, operation_id="list_connector_types")
def list_connector_types(use: Use, _who: Who, language: Language) -> tuple[ConnectorTypeView, ...]:
    """List the connector types, each with the JSON schema of its settings."""
    return use.configurations.types(language)


@router.post("/connectors/{code}/form", tags=_CONNECTORS, operation_id="fill_form")
def fill_form(code: str, body: FormBody, use: Use, _who: Who, language: Language) -> FormView:
    """Return the form of a configuration with these values: what is offered, and what is wrong."""
    return use.configurations.form(code, body.values, reference=body.reference, language=language)


@router.get("/connectors/{code}/settings", tags=_CONNECTORS, operation_id="get_connector_settings")
def get_connector_settings(code: str, use: Use, _who: Who) -> ConnectorSettingsView:
    """Show config.json of a connector, and what of it is in force."""
    return use.connector_settings.get(code)


@router.put("/connectors/{code}/settings", tags=_CONNECTORS, operation_id="set_connector_settings")
def set_connector_settings(code: str, body: SettingsBody, use: Use, who: Who) -> ConnectorSettingsView:
    """Write config.json; a restart of the connector takes it up."""
    return use.connector_settings.set(who, code, body.values)


@router.post("/connectors/{code}/restart", tags=_CONNECTORS, operation_id="restart_connector")
def restart_connector(code: str, use: Use, who: Who) -> ConnectorSettingsView:
    """Take config.json up."""
    return use.connector_settings.restart(who, code)


@router.get("/connector-configurations", tags=_CONFIGURATIONS, operation_id="list_configurations")
def list_configurations(use: Use, _who: Who) -> tuple[ConfigurationView, ...]:
    """List the connector configurations."""
    return use.configurations.list()


@router.post(
    "/connector-configurations",
    tags=_CONFIGURATIONS,
    operation_id="create_configuration",
    status_code=201,
)
def create_configuration(body: ConfigurationBody, use: Use, who: Who) -> ConfigurationView:
    """Save a new configuration; every broken rule is named, and then nothing is saved."""
    return use.configurations.create(who, body.connector, body.values)


@router.post(
    "/connector-configurations/test",
    tags=_CONFIGURATIONS,
    operation_id="test_configuration",
    response_model=tuple[CheckResult, ...],
)
def test_configuration(
    body: ConfigurationTest, request: Request, use: Use, who: Who, language: Language
) -> Any:
    """Test a configuration that is not saved; rows come live with Accept: application/x-ndjson."""
    rows = use.configurations.test(who, body.connector, body.values, reference=body.reference)
    return _rows(rows, request, language)


@router.get("/connector-configurations/export", tags=_CONFIGURATIONS, operation_id="export_configurations")
def export_configurations(
    use: Use,
    _who: Who,
    reference: Annotated[list[str] | None, Query(max_length=1000)] = None,
    format: Annotated[str, Query(pattern="^(yaml|json)$")] = "yaml",
) -> Response:
    """Return configurations as documents, as YAML or JSON."""
    documents = use.configurations.export(reference or ())
    if format == "json":
        return Response(json.dumps(documents, ensure_ascii=False, indent=1), media_type="application/json")
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    return Response(text, media_type="application/yaml")


@router.post("/connector-configurations/apply", tags=_CONFIGURATIONS, operation_id="apply_configurations")
async def apply_configurations(
    request: Request, use: Use, who: Who, *, dry_run: bool = False
) -> tuple[Applied, ...]:
    """Save the configurations of documents (YAML or JSON): all of them or none."""
    documents = read_documents(await request.body())
    return use.configurations.apply(who, documents, source="request", dry_run=dry_run)


@router.get("/connector-configurations/{reference}", tags=_CONFIGURATIONS, operation_id="get_configuration")
def get_configuration(reference: str, use: Use, _who: Who) -> ConfigurationView:
    """Show a configuration."""
    return use.configurations.get(reference)


@router.put(
    "/connector-configurations/{reference}", tags=_CONFIGURATIONS, operation_id="change_configuration"
)
def change_configuration(reference: str, body: ConfigurationChange, use: Use, who: Who) -> ConfigurationView:
    """Save a changed configuration."""
    return use.configurations.update(who, reference, body.values)


@router.delete(
    "/connector-configurations/{reference}",
    tags=_CONFIGURATIONS,
    operation_id="remove_configuration",
    status_code=204,
)
def remove_configuration(reference: str, use: Use, who: Who) -> None:
    """Delete a configuration that nothing uses."""
    use.configurations.remove(who, reference)


@router.post(
    "/connector-configurations/{reference}/clone",
    tags=_CONFIGURATIONS,
    operation_id="clone_configuration",
    status_code=201,
)
def clone_configuration(reference: str, body: Renaming, use: Use, who: Who) -> ConfigurationView:
    """Save a copy of a configuration under another name."""
    return use.configurations.clone(who, reference, body.name)


@router.post(
    "/connector-configurations/{reference}/test",
    tags=_CONFIGURATIONS,
    operation_id="test_saved_configuration",
    response_model=tuple[CheckResult, ...],
)
def test_saved_configuration(reference: str, request: Request, use: Use, who: Who, language: Language) -> Any:
    """Test a saved configuration; rows come live with Accept: application/x-ndjson."""
    return _rows(use.configurations.test_saved(who, reference), request, language)


@router.get("/connector-configurations/{reference}/cache", tags=["cache"], operation_id="get_cache")
def get_cache(reference: str, use: Use, _who: Who) -> CacheFacts:
    """Show what the layer disk cache of a configuration holds."""
    return use.cache.show(reference)


@router.post("/connector-configurations/{reference}/cache/clear", tags=["cache"], operation_id="clear_cache")
def clear_cache(reference: str, use: Use, who: Who, body: CacheClearing | None = None) -> CacheFacts:
    """Remove disks that nothing uses from a layer disk cache."""
    return use.cache.clear(who, reference, body.keys if body is not None else None)


def _rows(rows: Iterator[CheckResult], request: Request, language: str) -> Any:
    def shown() -> Iterator[dict[str, Any]]:
        for row in rows:
            texts = {key: translate(getattr(row, key), language) for key in ("detail", "what_to_do")}
            yield {**asdict(row), **texts}

    if _NDJSON in request.headers.get("accept", ""):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in shown())
        return StreamingResponse(lines, media_type=_NDJSON)
    return list(shown())
