"""Tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sekiso.model.task import LogLine, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.web.auth import Use, Who

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.get("", operation_id="list_tasks")
def list_tasks(
    use: Use,
    _who: Who,
    state: Annotated[list[TaskState] | None, Query()] = None,
    kind: Annotated[list[TaskKind] | None, Query()] = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    before: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> tuple[TaskRecord, ...]:
    """List tasks, newest first."""
    which = TaskFilter(
        states=frozenset(state) if state else None,
        kinds=frozenset(kind) if kind else None,
        subject_id=subject,
        text=text,
        before_s=before,
        limit=limit,
    )
    return tuple(use.tasks.list(which))


@router.get("/{task_id}", operation_id="get_task")
def get_task(task_id: str, use: Use, _who: Who) -> TaskRecord:
    """Show a task."""
    return use.tasks.get(task_id)


@router.get("/{task_id}/log", operation_id="get_task_log")
def get_task_log(
    task_id: str, use: Use, _who: Who, after: Annotated[int, Query(ge=0, le=1 << 53)] = 0
) -> tuple[LogLine, ...]:
    """Show the log of a task, from a line on."""
    return tuple(use.tasks.log(task_id, after=after))


@router.get("/{task_id}/wait", operation_id="wait_for_task")
def wait_for_task(
    task_id: str, use: Use, _who: Who, timeout_s: Annotated[float, Query(ge=0, le=60)] = 30.0
) -> TaskRecord:
    """Wait until a task has ended or requires action, at most so long; answer it as it is then."""
    return use.tasks.wait(task_id, timeout_s=timeout_s)


@router.post("/{task_id}/cancel", operation_id="cancel_task")
def cancel_task(task_id: str, use: Use, who: Who) -> TaskRecord:
    """Cancel a task; what it has half made is removed."""
    return use.tasks.cancel(who, task_id)


@router.post("/{task_id}/retry", operation_id="retry_task")
def retry_task(task_id: str, use: Use, who: Who) -> TaskRecord:
    """Run a failed or canceled task again."""
    return use.tasks.retry(who, task_id)
