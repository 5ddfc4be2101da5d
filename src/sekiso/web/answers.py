"""Forms of answers that several routes share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from fastapi import Response

from sekiso.model.task import TaskRecord
from sekiso.web.problems import MEDIA_TYPE, Problem

ROOT = "/api/v1"
_SCHEMA: dict[str, Any] = {"model": Problem, "content": {MEDIA_TYPE: {}}}

#: What any route may answer besides its own.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {**_SCHEMA, "description": "Something that was sent is damaged."},
    401: {**_SCHEMA, "description": "Not logged in."},
    403: {**_SCHEMA, "description": "The role does not allow it."},
    404: {**_SCHEMA, "description": "There is no such object."},
    409: {**_SCHEMA, "description": "It conflicts with what is there."},
    422: {**_SCHEMA, "description": "A rule is broken; `errors` names the fields."},
    500: {**_SCHEMA, "description": "Something went wrong inside."},
    502: {**_SCHEMA, "description": "A program that Sekiso uses failed."},
    503: {**_SCHEMA, "description": "Something that is needed is not there now; try again later."},
}
#: Topics of the API's description.
Tags = list[str | Enum]
Responses = dict[int | str, dict[str, Any]]
#: Of a route that starts a task.
TASK: Mapping[str, Any] = {"status_code": 202, "response_model": TaskRecord}


def started(response: Response, task: TaskRecord) -> TaskRecord:
    """Answer a task that was started, with its address."""
    response.headers["Location"] = f"{ROOT}/tasks/{task.id}"
    return task
