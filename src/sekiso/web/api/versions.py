"""Versions of layers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import FileResponse

from sekiso.compositing.jobs import DiffSummary, FilesSummary
from sekiso.model.library import Role
from sekiso.model.task import TaskRecord
from sekiso.services.core import require
from sekiso.services.layer_lists import VersionView
from sekiso.web.answers import TASK, content, started, topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.bodies import Finalization
from sekiso.web.params import Id

router = topic("layer versions")
_WIM = "application/octet-stream"


@router.get("/layer-versions/{version_id}", operation_id="get_version")
def get_version(version_id: Id, use: Use) -> VersionView:
    """Show a version."""
    return use.layers.version(version_id)


@router.delete("/layer-versions/{version_id}", operation_id="remove_version", **TASK)
def remove_version(version_id: Id, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Delete a version that nothing uses."""
    return started(response, use.layers.remove_version(who, version_id), language)


@router.post("/layer-versions/{version_id}/finalize", operation_id="finalize_version", **TASK)
def finalize_version(
    version_id: Id,
    response: Response,
    use: Use,
    who: Who,
    language: Language,
    body: Finalization | None = None,
) -> TaskRecord:
    """Turn what was installed on the packaging machine into a deployable version."""
    override = body.override_gate if body is not None else False
    return started(response, use.layers.finalize(who, version_id, override_gate=override), language)


@router.post("/layer-versions/{version_id}/discard", operation_id="discard_version", **TASK)
def discard_version(version_id: Id, response: Response, use: Use, who: Who, language: Language) -> TaskRecord:
    """Give a version under edit up, with its packaging machine."""
    return started(response, use.layers.discard(who, version_id), language)


@router.get("/layer-versions/{version_id}/files", operation_id="list_files")
def list_files(
    version_id: Id,
    use: Use,
    path: Annotated[str, Query(max_length=4000, pattern=r"^[^\x00]*$")] = "/",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> FilesSummary:
    """List what a version holds below a folder."""
    return use.layers.files(version_id, path, limit=limit)


@router.get("/layer-versions/{version_id}/diff/{other_id}", operation_id="diff_versions")
def diff_versions(version_id: Id, other_id: Id, use: Use) -> DiffSummary:
    """List in what two versions differ."""
    return use.layers.diff(version_id, other_id)


@router.get(
    "/layer-versions/{version_id}/export",
    operation_id="export_version",
    response_class=FileResponse,
    responses=content(_WIM, "The layer file, a standard WIM."),
)
def export_version(version_id: Id, use: Use, who: Who) -> FileResponse:
    """Download the layer file of a version, a standard WIM."""
    require(who, Role.LAYER_MANAGER)
    path = use.layers.export(version_id)
    return FileResponse(path, media_type=_WIM, filename=path.name)
