"""Leaves pages that refresh themselves as they are while nothing changes: selection, focus, scroll."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

from fastapi import Query, Response

from sekiso.model.task import TaskRecord

#: Mark of what a page shows already, as a parameter of a route.
Seen = Annotated[str, Query(max_length=64)]


def mark_of(*shown: object) -> str:
    """Return a mark of what is shown; another one as soon as anything of it is different."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def progress_of(tasks: Iterable[TaskRecord]) -> list[tuple[object, ...]]:
    """Return what pages show of tasks."""
    return [(task.id, task.state, round(task.percent), task.step) for task in tasks]


def nothing_new() -> Response:
    """Return the answer that leaves a page as it is."""
    return Response(status_code=204)
