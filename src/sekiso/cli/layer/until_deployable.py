"""Follows the making of a version past its packaging machine: until the version is deployable."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sekiso.cli.following import Stop, follow, has_ended, needs_nothing_more, task_record, task_records
from sekiso.cli.language import say
from sekiso.cli.output import printable
from sekiso.cli.remote import flat, part
from sekiso.cli.reporting import hint
from sekiso.cli.words import remark
from sekiso.errors import Family, SekisoError
from sekiso.model.task import TaskKind, TaskRecord, TaskState

if TYPE_CHECKING:
    from sekiso.cli.client import ApplianceClient

_ASK_MACHINE_EVERY_S = 10.0


class NotFinalizedError(SekisoError):
    """A packaging machine needs a person before its version can be deployable. Params: name, reason."""

    code = "layer.not-finalized"
    family = Family.GUEST
    brief = "The version {name} was not finalized by itself."
    why = "{reason}"
    resolution = "Look at its machine: sekiso layer machine LAYER:VERSION"


def works_by_itself(creation: TaskRecord) -> bool:
    """Whether nobody has to do anything: a script installs, then the version is finalized."""
    return bool(creation.params.get("run_once") and creation.params.get("auto_finalize"))


def follow_until_deployable(
    appliance: ApplianceClient, creation: TaskRecord, *, quiet: bool
) -> list[TaskRecord]:
    """Follow the task that makes a version, and those that finalize it.

    The creating task waits while its packaging machine works; a finalizing task settles it.

    Returns:
        The creating task; after it the finalizing one, if there was one. The last one tells how it went.

    Raises:
        NotFinalizedError: the machine's script failed, or it has shut down and something is unfinished.
    """
    made = follow(appliance, [creation], quiet=quiet, stop=needs_nothing_more)[0]
    if made.state is not TaskState.ACTION_REQUIRED:
        return [made]
    if not quiet:
        hint(printable(remark(made.action)))
    watch = _Watch(appliance, made)
    made = follow(appliance, [made], quiet=True, stop=watch.stop)[0]
    finalizing = watch.finalizing()
    if watch.hindrance and not has_ended(made) and not finalizing:
        raise NotFinalizedError(name=watch.name, reason=watch.hindrance)
    if not finalizing:
        return [made]
    if not quiet:
        hint(say("The machine has shut down; the version is finalized."))
    return [made, follow(appliance, finalizing[:1], quiet=quiet, stop=has_ended)[0]]


class _Watch:
    """Looks whether a packaging machine is done, or needs somebody."""

    def __init__(self, appliance: ApplianceClient, creation: TaskRecord) -> None:
        self._appliance, self._creation = appliance, creation
        self._version_id = creation.subjects[0].id if creation.subjects else ""
        self._asked_s = time.monotonic()
        self.name = creation.subjects[0].name if creation.subjects else ""
        self.hindrance = ""
        self._known = {task.id for task in self._finalizing()}

    def finalizing(self) -> list[TaskRecord]:
        """Return the tasks that finalize the version and began since, newest first."""
        return [task for task in self._finalizing() if task.id not in self._known]

    @property
    def stop(self) -> Stop:
        """Whether the creating task need not be followed any more."""
        return lambda task: has_ended(task) or bool(self.finalizing()) or self._needs_somebody()

    def _finalizing(self) -> list[TaskRecord]:
        params = {"kind": TaskKind.FINALIZE_LAYER.value, "subject": self._version_id}
        return task_records(self._appliance.get("/tasks", params))

    def _needs_somebody(self) -> bool:
        """Whether the machine is off with something unfinished, or its script has failed."""
        version = flat(self._appliance.get(f"/layer-versions/{part(self._version_id)}"))
        packaging: dict[str, Any] = version.get("packaging") or {}
        unclear = packaging.get("gate") or not packaging.get("gate_known")
        if packaging.get("shut_down") and unclear:
            now = task_record(self._appliance.get(f"/tasks/{part(self._creation.id)}"))
            self.hindrance = remark(now.action)
        elif time.monotonic() - self._asked_s > _ASK_MACHINE_EVERY_S:
            self._asked_s = time.monotonic()
            state: dict[str, Any] = self._appliance.get(f"/layer-versions/{part(self._version_id)}/machine")
            failed: list[str] = list(state.get("run_once_failed") or ())
            self.hindrance = "\n".join((say("A script failed:"), *failed)) if failed else ""
        return bool(self.hindrance)
