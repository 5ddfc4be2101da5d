"""Forms of answers that several routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from sekiso.model.task import TaskRecord
from sekiso.web.auth import LoginRoute
from sekiso.web.problems import MEDIA_TYPE
from sekiso.web.shown import shown_task

ROOT = "/api/v1"
_PROBLEM: Mapping[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
_MEANINGS: Mapping[int, str] = {
    400: "Something that was sent is damaged or cannot be used.",
    401: "Not logged in.",
    403: "The role does not allow it, or the header X-Sekiso-CSRF is missing.",
    404: "There is no such object.",
    409: "It conflicts with what is there: a name is taken, something is in use or busy.",
    413: "The body is too large.",
    422: "A rule is broken; `errors` names the fields.",
    500: "Something went wrong inside; the log has it under the number in `detail`.",
    502: "A program that the appliance uses failed.",
    503: "Something that is needed is not there now; try again later.",
}
_OPEN = (400, 413, 422, 500)
Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Return the problem documents that a route may answer."""
    return {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: dict(_PROBLEM)}}
        for status in statuses
    }


def content(media_type: str, description: str, schema: Mapping[str, Any] | None = None) -> Responses:
    """Return the answer of a route that answers something else than JSON."""
    found = schema or {"type": "string", "format": "binary"}
    return {200: {"description": description, "content": {media_type: {"schema": dict(found)}}}}


def topic(tag: str) -> APIRouter:
    """Return a router whose routes need a login."""
    return APIRouter(tags=[tag], route_class=LoginRoute, responses=problems(*_MEANINGS))


def open_topic(tag: str, *more: int) -> APIRouter:
    """Return a router whose routes need no login; `more` are statuses of problems besides the usual ones."""
    return APIRouter(tags=[tag], responses=problems(*_OPEN, *more))


#: Of a route that starts a task.
TASK: Mapping[str, Any] = {
    "status_code": 202,
    "response_description": "The task was started.",
    "responses": {
        202: {
            "headers": {
                "Location": {
                    "description": "Address of the task.",
                    "schema": {"type": "string"},
                }
            }
        }
    },
}


def started(response: Response, task: TaskRecord, language: str) -> TaskRecord:
    """Answer a task that was started, with its address."""
    response.headers["Location"] = f"{ROOT}/tasks/{task.id}"
    return shown_task(task, language)
