"""Tasks."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import Query, Request, Response

from sekiso.model.listing import TaskSort
from sekiso.model.task import LogLine, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.web.answers import topic
from sekiso.web.auth import Language, Use, Who
from sekiso.web.params import PAGED, Descending, Filter, Id, Offset, Text, listing_of, rows_of
from sekiso.web.shown import shown_line, shown_task

router = topic("tasks")
#: A thread waits so long; then others that wait have their turn, and it is seen whether the client is there.
_TURN_S = 2.0


@router.get("/tasks", operation_id="list_tasks", **PAGED)
def list_tasks(
    use: Use,
    response: Response,
    language: Language,
    state: Annotated[list[TaskState] | None, Query(max_length=20)] = None,
    kind: Annotated[list[TaskKind] | None, Query(max_length=20)] = None,
    subject: Filter = None,
    text: Text = "",
    before: Annotated[float | None, Query(ge=0, le=1e12)] = None,
    sort: TaskSort | None = None,
    descending: Descending = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> tuple[TaskRecord, ...]:
    """List tasks, newest first unless another order is asked for."""
    which = TaskFilter(
        states=frozenset(state) if state else None,
        kinds=frozenset(kind) if kind else None,
        subject_id=subject,
        before_s=before,
    )
    page = use.tasks.page(which, listing_of(text, sort, descending=descending, offset=offset, limit=limit))
    return tuple(shown_task(task, language) for task in rows_of(response, page))


@router.get("/tasks/{task_id}", operation_id="get_task")
def get_task(task_id: Id, use: Use, language: Language) -> TaskRecord:
    """Show a task."""
    return shown_task(use.tasks.get(task_id), language)


@router.get("/tasks/{task_id}/log", operation_id="get_task_log")
def get_task_log(
    task_id: Id, use: Use, language: Language, after: Annotated[int, Query(ge=0, le=1 << 53)] = 0
) -> tuple[LogLine, ...]:
    """Show the log of a task, from a line on."""
    return tuple(shown_line(line, language) for line in use.tasks.log(task_id, after=after))


@router.get("/tasks/{task_id}/wait", operation_id="wait_for_task")
async def wait_for_task(
    task_id: Id,
    request: Request,
    use: Use,
    language: Language,
    timeout_s: Annotated[float, Query(ge=0, le=60)] = 30.0,
) -> TaskRecord:
    """Wait until a task has ended or requires action, at most so long. Answers it as it is then."""
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        wait = partial(use.tasks.wait, task_id, timeout_s=min(left_s, _TURN_S))
        task = await anyio.to_thread.run_sync(wait, limiter=request.app.state.waiting)
        is_over = task.state.ended or task.state is TaskState.ACTION_REQUIRED
        if is_over or left_s <= _TURN_S or await request.is_disconnected():
            return shown_task(task, language)


@router.post("/tasks/{task_id}/cancel", operation_id="cancel_task")
def cancel_task(task_id: Id, use: Use, who: Who, language: Language) -> TaskRecord:
    """Cancel a task; what it has half made is removed."""
    return shown_task(use.tasks.cancel(who, task_id), language)


@router.post("/tasks/{task_id}/retry", operation_id="retry_task")
def retry_task(task_id: Id, use: Use, who: Who, language: Language) -> TaskRecord:
    """Run a failed or canceled task again."""
    return shown_task(use.tasks.retry(who, task_id), language)
