"""What a step of a flow is given, and the outcomes of steps as plain data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sekiso.errors import SekisoError
from sekiso.model.progress import Progress
from sekiso.model.task import TaskRecord
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult
from sekiso.tasks.progress import Share

log = logging.getLogger(__name__)

#: What is recorded of a finished step: {"ok": result}, {"failed": error} or {"canceled": True}.
Outcome = dict[str, Any]

CANCELED: Outcome = {"canceled": True}


class StepContext:
    """The `FlowContext` of one execution of one step."""

    def __init__(
        self,
        db: DatabasePort,
        task: TaskRecord,
        step: str,
        results: Mapping[str, StepResult],
        progress: Progress,
    ) -> None:
        self._db = db
        self._task = task
        self._step = step
        self._results = MappingProxyType(dict(results))
        self._progress = progress

    @property
    def task(self) -> TaskRecord:
        """The task."""
        return self._task

    @property
    def results(self) -> Mapping[str, StepResult]:
        """Results of the steps that have ended."""
        return self._results

    @property
    def progress(self) -> Progress:
        """Progress of this step."""
        return self._progress

    def command_id(self, name: str) -> str:
        """Return the durable identity of a command of this step."""
        return f"{self._task.id}.{self._task.attempt}.{self._step}.{name}"

    def log(self, text: str) -> None:
        """Add a line to the log of the task; a line that cannot be kept is no reason to fail."""
        add_log_line(self._db, self._task.id, text)


def add_log_line(db: DatabasePort, task_id: str, text: str) -> None:
    """Add a line to the log of a task, if that is possible."""
    try:
        with db.begin() as work:
            work.tasks.log(task_id, text)
    except Exception:
        log.warning("A line of the log of task %s was lost: %s", task_id, text, exc_info=True)


def plain(result: object) -> StepResult:
    """Return a result as it will be read back after a restart.

    Raises:
        SekisoError: it is no plain JSON object.
    """
    try:
        again = json.loads(json.dumps(result, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SekisoError(reason=f"The result of a step is no plain data: {error}") from error
    if not isinstance(again, dict):
        raise SekisoError(reason="The result of a step is no JSON object.")
    return again  # pyright: ignore[reportUnknownVariableType]


def as_error(error: Exception) -> SekisoError:
    """Return what a person is told about any exception."""
    if isinstance(error, SekisoError):
        return error
    return SekisoError(reason=f"{type(error).__name__}: {error}")


def one_line(error: SekisoError) -> str:
    """Return the text of an error in one line."""
    return error.render().replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Plan:
    """How the percentage is divided over the steps of a flow, judged after some of them."""

    flow: Flow

    def share(self, step: Step, ctx: FlowContext) -> Share:
        """Return the part of a step that is about to run, given the results so far."""
        before, after, passed = 0.0, 0.0, False
        for other in self.flow.steps:
            if other.name == step.name:
                passed = True
            elif not passed:
                before += other.weight if other.name in ctx.results else 0.0
            elif _may_apply(other, ctx):
                after += other.weight
        whole = (before + step.weight + after) or 1.0
        return Share(100.0 * before / whole, 100.0 * (before + step.weight) / whole)


def _may_apply(step: Step, ctx: FlowContext) -> bool:
    try:
        return step.applies(ctx)
    except Exception:  # noqa: BLE001 (it looks at results that are not there yet: taken as needed)
        return True
