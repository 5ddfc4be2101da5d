"""Follows the making of a version past its packaging machine: until the version is deployable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sekiso.cli.following import Stop, follow, has_ended, needs_nothing_more, task_records
from sekiso.cli.language import say
from sekiso.cli.output import printable
from sekiso.cli.reporting import hint
from sekiso.cli.words import remark
from sekiso.model.task import TaskKind, TaskRecord, TaskState

if TYPE_CHECKING:
    from sekiso.cli.client import ApplianceClient


def follow_until_deployable(
    appliance: ApplianceClient, creation: TaskRecord, *, quiet: bool
) -> list[TaskRecord]:
    """Follow the task that makes a version, and those that finalize it.

    The creating task waits while its packaging machine works; a finalizing task settles it. It is followed to
    its end, or until a finalizing task has failed: then a person has to see to it.

    Returns:
        The creating task; after it the finalizing one, if there was one. The last one tells how it went.
    """
    made = follow(appliance, [creation], quiet=quiet, stop=needs_nothing_more)[0]
    if made.state is not TaskState.ACTION_REQUIRED:
        return [made]
    if not quiet:
        hint(printable(remark(made.action)))
    known = {task.id for task in _finalizing(appliance, made)}
    made = follow(appliance, [made], quiet=True, stop=_ended_or_finalizing(appliance, known))[0]
    finalizing = [task for task in _finalizing(appliance, made) if task.id not in known]
    if not finalizing:
        return [made]
    if not quiet:
        hint(say("The machine has shut down; the version is finalized."))
    last = follow(appliance, finalizing[:1], quiet=quiet, stop=has_ended)[0]
    return [made, last]


def _finalizing(appliance: ApplianceClient, creation: TaskRecord) -> list[TaskRecord]:
    """Return the tasks that finalize the version, newest first."""
    if not creation.subjects:
        return []
    version_id = creation.subjects[0].id
    params = {"kind": TaskKind.FINALIZE_LAYER.value, "subject": version_id}
    return task_records(appliance.get("/tasks", params))


def _ended_or_finalizing(appliance: ApplianceClient, known: set[str]) -> Stop:
    def stop(task: TaskRecord) -> bool:
        return has_ended(task) or any(t.id not in known for t in _finalizing(appliance, task))

    return stop
