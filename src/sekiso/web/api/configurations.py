"""Connector configurations."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from sekiso.services.configurations import ConfigurationView
from sekiso.web.answers import Responses, topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import ConfigurationBody, ConfigurationChange, ConfigurationTest, Renaming
from sekiso.web.params import Ref
from sekiso.web.shown import CheckRow, shown_configuration
from sekiso.web.streaming import NDJSON, rows_response

router = topic("connector configurations")
_ROWS: Responses = {
    200: {
        "description": "The rows of the test; with Accept: application/x-ndjson one JSON object per line, "
        "each as soon as it is known. A failure in the middle is a problem document as last line.",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    }
}


@router.get("/connector-configurations", operation_id="list_configurations")
def list_configurations(use: Use, language: Language) -> tuple[ConfigurationView, ...]:
    """List the connector configurations."""
    return tuple(shown_configuration(view, language) for view in use.configurations.list())


@router.post("/connector-configurations", operation_id="create_configuration", status_code=201)
def create_configuration(
    body: ConfigurationBody, use: Use, who: Who, language: Language
) -> ConfigurationView:
    """Save a new configuration. Every broken rule is named, and then nothing is saved."""
    return shown_configuration(use.configurations.create(who, body.connector, body.values), language)


@router.post(
    "/connector-configurations/test",
    operation_id="test_configuration",
    response_model=tuple[CheckRow, ...],
    responses=_ROWS,
)
async def test_configuration(body: ConfigurationTest, request: Request, use: Use, who: Who) -> Response:
    """Test a configuration that is not saved. Rows come live with Accept: application/x-ndjson."""
    rows = await run_in_threadpool(
        use.configurations.test, who, body.connector, body.values, reference=body.reference
    )
    return await rows_response(request, rows, request.app.state.waiting)


@router.get("/connector-configurations/{reference}", operation_id="get_configuration")
def get_configuration(reference: Ref, use: Use, language: Language) -> ConfigurationView:
    """Show a configuration."""
    return shown_configuration(use.configurations.get(reference), language)


@router.put("/connector-configurations/{reference}", operation_id="change_configuration")
def change_configuration(
    reference: Ref, body: ConfigurationChange, use: Use, who: Who, language: Language
) -> ConfigurationView:
    """Save a changed configuration; settings that are left out stay."""
    return shown_configuration(use.configurations.update(who, reference, body.values), language)


@router.delete("/connector-configurations/{reference}", operation_id="remove_configuration", status_code=204)
def remove_configuration(reference: Ref, use: Use, who: Who) -> None:
    """Delete a configuration that nothing uses."""
    use.configurations.remove(who, reference)


@router.post(
    "/connector-configurations/{reference}/clone", operation_id="clone_configuration", status_code=201
)
def clone_configuration(
    reference: Ref, body: Renaming, use: Use, who: Who, language: Language
) -> ConfigurationView:
    """Save a copy of a configuration under another name."""
    return shown_configuration(use.configurations.clone(who, reference, body.name), language)


@router.post(
    "/connector-configurations/{reference}/test",
    operation_id="test_saved_configuration",
    response_model=tuple[CheckRow, ...],
    responses=_ROWS,
)
async def test_saved_configuration(reference: Ref, request: Request, use: Use, who: Who) -> Response:
    """Test a saved configuration. Rows come live with Accept: application/x-ndjson."""
    rows = await run_in_threadpool(use.configurations.test_saved, who, reference)
    return await rows_response(request, rows, request.app.state.waiting)
