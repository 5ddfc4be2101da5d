"""Layers."""

from __future__ import annotations

from fastapi import Response

from sekiso.compositing.jobs import ConflictsSummary
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionState
from sekiso.model.listing import LayerFilter, LayerSort
from sekiso.model.task import TaskRecord
from sekiso.services.layer_lists import LayerView
from sekiso.services.layer_tasks import AddVersion, CreateLayer
from sekiso.web.answers import TASK, started, topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import LayerChange, LayerWish, OsImport, Renaming, VersionIds, VersionWish
from sekiso.web.params import PAGED, Descending, Filter, Limit, Offset, Ref, Text, listing_of, rows_of
from sekiso.web.shown import shown_task

router = topic("layers")


@router.get("/layers", operation_id="list_layers", **PAGED)
def list_layers(
    use: Use,
    response: Response,
    kind: LayerKind | None = None,
    state: VersionState | None = None,
    os_layer: Filter = None,
    text: Text = "",
    sort: LayerSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Limit = None,
) -> tuple[LayerView, ...]:
    """List the layers. `state` is that of one of their versions, `os_layer` the identifier of an OS layer."""
    which = LayerFilter(kind, state, os_layer)
    listing = listing_of(text, sort, descending=descending, offset=offset, limit=limit)
    return rows_of(response, use.layers.listed(which, listing))


@router.post("/layers", operation_id="create_layer", **TASK)
def create_layer(body: LayerWish, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Make a platform or app layer on a packaging machine."""
    return started(response, use.layers.create(who, CreateLayer(**body.model_dump())), language)


@router.post("/layers/import-os", operation_id="import_os", **TASK)
def import_os(body: OsImport, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Import an operating system as an OS layer."""
    return started(response, use.layers.import_os(who, body.wish()), language)


@router.post("/layers/conflicts", operation_id="list_conflicts")
def list_conflicts(body: VersionIds, use: Use) -> ConflictsSummary:
    """List the conflicts of a stack of versions before it is published."""
    return use.layers.conflicts(body.version_ids)


@router.get("/layers/{reference}", operation_id="get_layer")
def get_layer(reference: Ref, use: Use, kind: LayerKind | None = None) -> LayerView:
    """Show a layer with its versions."""
    return use.layers.get(reference, kind)


@router.patch("/layers/{reference}", operation_id="change_layer")
def change_layer(reference: Ref, body: LayerChange, use: Use, who: Who) -> LayerView:
    """Change name, notes, icon or priority of a layer; what is left out stays."""
    return use.layers.change(
        who, reference, name=body.name, notes=body.notes, icon=body.icon, priority=body.priority
    )


@router.delete(
    "/layers/{reference}",
    operation_id="remove_layer",
    status_code=202,
    response_description="The tasks were started.",
)
def remove_layer(reference: Ref, use: Use, who: Who, language: Language) -> tuple[TaskRecord, ...]:
    """Delete a layer with all its versions; one task for each."""
    return tuple(shown_task(task, language) for task in use.layers.remove(who, reference))


@router.post("/layers/{reference}/clone", operation_id="clone_layer", status_code=201)
def clone_layer(reference: Ref, body: Renaming, use: Use, who: Who) -> LayerView:
    """Make a layer with the deployable versions of another."""
    return use.layers.clone(who, reference, body.name)


@router.post("/layers/{reference}/versions", operation_id="add_version", **TASK)
def add_version(
    reference: Ref, body: VersionWish, response: Response, use: Use, who: Who, language: Language
) -> TaskRecord:
    """Begin a new version of a layer on a packaging machine."""
    task = use.layers.add_version(who, reference, AddVersion(**body.model_dump()))
    return started(response, task, language)
