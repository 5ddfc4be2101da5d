"""Layers, versions, packaging machines, uploads."""

from __future__ import annotations

import os
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from sekiso.agent.contract import PackagingState, SourceDisk
from sekiso.compositing.jobs import ConflictsSummary, DiffSummary, FilesSummary
from sekiso.model.layer import LayerKind
from sekiso.model.library import Role
from sekiso.model.task import TaskRecord
from sekiso.services.core import require
from sekiso.services.layer_tasks import AddVersion, CreateLayer, ImportOs
from sekiso.services.layers import LayerView, VersionView
from sekiso.web.answers import TASK, Responses, Tags, started
from sekiso.web.auth import Use, Who
from sekiso.web.bodies import (
    Finalization,
    Keys,
    LayerChange,
    LayerWish,
    OsImport,
    Renaming,
    VersionIds,
    VersionWish,
)
from sekiso.web.problems import RequestTooLargeError

router = APIRouter()
_LAYERS: Tags = ["layers"]
_VERSIONS: Tags = ["layer versions"]
_MACHINES: Tags = ["packaging machines"]
_UPLOAD_LIMIT_BYTES = 2 << 30
_PNG: Responses = {200: {"content": {"image/png": {}}, "description": "A picture."}}
_WIM: Responses = {200: {"content": {"application/octet-stream": {}}, "description": "A WIM file."}}


@router.get("/layers", tags=_LAYERS, operation_id="list_layers")
def list_layers(use: Use, _who: Who, kind: LayerKind | None = None) -> tuple[LayerView, ...]:
    """List the layers."""
    return use.layers.list(kind)


@router.post("/layers", tags=_LAYERS, operation_id="create_layer", **TASK)
def create_layer(body: LayerWish, response: Response, use: Use, who: Who) -> TaskRecord:
    """Make a platform or app layer on a packaging machine."""
    return started(response, use.layers.create(who, CreateLayer(**body.model_dump())))


@router.post("/layers/import-os", tags=_LAYERS, operation_id="import_os", **TASK)
def import_os(body: OsImport, response: Response, use: Use, who: Who) -> TaskRecord:
    """Import an operating system as an OS layer."""
    source = SourceDisk(body.source.disk_path, body.source.machine)
    wish = ImportOs(
        body.configuration, source, body.name, body.version, body.guest_tools, body.notes, body.icon
    )
    return started(response, use.layers.import_os(who, wish))


@router.post("/layers/conflicts", tags=_LAYERS, operation_id="list_conflicts")
def list_conflicts(body: VersionIds, use: Use, _who: Who) -> ConflictsSummary:
    """List the conflicts of a stack of versions before it is published."""
    return use.layers.conflicts(body.version_ids)


@router.get("/layers/{reference}", tags=_LAYERS, operation_id="get_layer")
def get_layer(reference: str, use: Use, _who: Who, kind: LayerKind | None = None) -> LayerView:
    """Show a layer with its versions."""
    return use.layers.get(reference, kind)


@router.patch("/layers/{reference}", tags=_LAYERS, operation_id="change_layer")
def change_layer(reference: str, body: LayerChange, use: Use, who: Who) -> LayerView:
    """Change name, notes, icon or priority of a layer."""
    return use.layers.change(
        who, reference, name=body.name, notes=body.notes, icon=body.icon, priority=body.priority
    )


@router.delete("/layers/{reference}", tags=_LAYERS, operation_id="remove_layer", status_code=202)
def remove_layer(reference: str, use: Use, who: Who) -> tuple[TaskRecord, ...]:
    """Delete a layer with all its versions; one task for each."""
    return use.layers.remove(who, reference)


@router.post("/layers/{reference}/clone", tags=_LAYERS, operation_id="clone_layer", status_code=201)
def clone_layer(reference: str, body: Renaming, use: Use, who: Who) -> LayerView:
    """Make a layer with the deployable versions of another."""
    return use.layers.clone(who, reference, body.name)


@router.post("/layers/{reference}/versions", tags=_LAYERS, operation_id="add_version", **TASK)
def add_version(reference: str, body: VersionWish, response: Response, use: Use, who: Who) -> TaskRecord:
    """Begin a new version of a layer on a packaging machine."""
    return started(response, use.layers.add_version(who, reference, AddVersion(**body.model_dump())))


@router.get("/layer-versions/{version_id}", tags=_VERSIONS, operation_id="get_version")
def get_version(version_id: str, use: Use, _who: Who) -> VersionView:
    """Show a version."""
    return use.layers.version(version_id)


@router.delete("/layer-versions/{version_id}", tags=_VERSIONS, operation_id="remove_version", **TASK)
def remove_version(version_id: str, response: Response, use: Use, who: Who) -> TaskRecord:
    """Delete a version that nothing uses."""
    return started(response, use.layers.remove_version(who, version_id))


@router.post("/layer-versions/{version_id}/finalize", tags=_VERSIONS, operation_id="finalize_version", **TASK)
def finalize_version(
    version_id: str, response: Response, use: Use, who: Who, body: Finalization | None = None
) -> TaskRecord:
    """Turn what was installed on the packaging machine into a deployable version."""
    override = body.override_gate if body is not None else False
    return started(response, use.layers.finalize(who, version_id, override_gate=override))


@router.post("/layer-versions/{version_id}/discard", tags=_VERSIONS, operation_id="discard_version", **TASK)
def discard_version(version_id: str, response: Response, use: Use, who: Who) -> TaskRecord:
    """Give a version under edit up, with its packaging machine."""
    return started(response, use.layers.discard(who, version_id))


@router.get("/layer-versions/{version_id}/files", tags=_VERSIONS, operation_id="list_files")
def list_files(
    version_id: str,
    use: Use,
    _who: Who,
    path: Annotated[str, Query(max_length=4000)] = "/",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> FilesSummary:
    """List what a version holds in a folder."""
    return use.layers.files(version_id, path, limit=limit)


@router.get("/layer-versions/{version_id}/diff/{other_id}", tags=_VERSIONS, operation_id="diff_versions")
def diff_versions(version_id: str, other_id: str, use: Use, _who: Who) -> DiffSummary:
    """List in what two versions differ."""
    return use.layers.diff(version_id, other_id)


@router.get(
    "/layer-versions/{version_id}/export",
    tags=_VERSIONS,
    operation_id="export_version",
    response_class=FileResponse,
    responses=_WIM,
)
def export_version(version_id: str, use: Use, who: Who) -> FileResponse:
    """Download the layer file of a version, a standard WIM."""
    require(who, Role.LAYER_MANAGER)
    path = use.layers.export(version_id)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/layer-versions/{version_id}/machine", tags=_MACHINES, operation_id="get_machine")
def get_machine(version_id: str, use: Use, _who: Who) -> PackagingState:
    """Show what the packaging machine of a version is doing."""
    return use.layers.machine(version_id)


@router.post("/layer-versions/{version_id}/machine/start", tags=_MACHINES, operation_id="start_machine")
def start_machine(version_id: str, use: Use, who: Who) -> PackagingState:
    """Start a packaging machine again."""
    return use.layers.start_machine(who, version_id)


@router.post(
    "/layer-versions/{version_id}/machine/shut-down", tags=_MACHINES, operation_id="shut_down_machine"
)
def shut_down_machine(version_id: str, use: Use, who: Who) -> PackagingState:
    """Ask the guest of a packaging machine to shut down."""
    return use.layers.shut_down_machine(who, version_id)


@router.post("/layer-versions/{version_id}/machine/turn-off", tags=_MACHINES, operation_id="turn_off_machine")
def turn_off_machine(version_id: str, use: Use, who: Who) -> PackagingState:
    """Cut the power of a packaging machine."""
    return use.layers.turn_off_machine(who, version_id)


@router.get(
    "/layer-versions/{version_id}/machine/screenshot",
    tags=_MACHINES,
    operation_id="machine_screenshot",
    response_class=Response,
    responses=_PNG,
)
def machine_screenshot(version_id: str, use: Use, _who: Who) -> Response:
    """Return the screen of a packaging machine as PNG."""
    return Response(use.layers.screenshot(version_id), media_type="image/png")


@router.post(
    "/layer-versions/{version_id}/machine/keys",
    tags=_MACHINES,
    operation_id="press_keys",
    status_code=204,
)
def press_keys(version_id: str, body: Keys, use: Use, who: Who) -> None:
    """Press keys in a packaging machine."""
    use.layers.press_keys(who, version_id, body.keys)


@router.post("/uploads/run-once", tags=["uploads"], operation_id="upload_run_once", status_code=201)
async def upload_run_once(request: Request, use: Use, who: Who) -> dict[str, str]:
    """Upload a tar file with run.sh and what it needs, for a packaging machine."""
    require(who, Role.LAYER_MANAGER)
    upload_id = str(uuid.uuid4())
    use.uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
    part, taken_bytes = use.uploads / f".{upload_id}.part", 0
    try:
        with part.open("xb") as stream:
            part.chmod(0o600)
            async for piece in request.stream():
                taken_bytes += len(piece)
                if taken_bytes > _UPLOAD_LIMIT_BYTES:
                    raise RequestTooLargeError(limit_bytes=_UPLOAD_LIMIT_BYTES)
                await run_in_threadpool(stream.write, piece)
            stream.flush()
            await run_in_threadpool(os.fsync, stream.fileno())
        part.rename(use.uploads / f"{upload_id}.tar")
    finally:
        part.unlink(missing_ok=True)
    return {"id": upload_id}
