"""How a flow is carried out, whatever makes its steps durable.

A flow has two parts. `run_flow` does the steps and decides what comes of them. `end_flow` undoes what has to
be undone, lets go of what was held, and puts the task into its last state. It is a durable piece of work of
its own, because it also ends tasks whose steps are long over: those that waited for a person, and those whose
clean-up failed and is tried again. There is one for each attempt, so that two who want to end a task at the
same time do it once.

All decisions are made inside durable steps, so that a replay after a restart makes the same ones.

The task table is locked by its rows: `FINISHING` in the column `step` means that a task can no longer be
canceled, `CLEANING` that it is being cleaned up. Whoever sets one writes the row before it looks at the
state, and whoever changes the state looks at the mark after it wrote, so one of the two sees the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from sekiso import crash_points
from sekiso.crash_points import crash_point
from sekiso.errors import CanceledError, SekisoError
from sekiso.i18n import mark
from sekiso.model.task import TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.context import (
    CANCELED,
    Outcome,
    Plan,
    StepContext,
    as_error,
    one_line,
    plain,
)
from sekiso.tasks.errors import CleanUpFailedError, NoFlowError, StoppingError
from sekiso.tasks.port import Flow, Step, StepResult
from sekiso.tasks.progress import Pace, Share, StepProgress

log = logging.getLogger(__name__)

#: Shown as the step while a task is finished; it cannot be canceled any more.
FINISHING = mark("Finishing the task")

#: Shown as the step while a task is cleaned up.
CLEANING = "Cleaning up after the task"

#: Names of the steps that are not the flow's own.
DECIDE, UNDO, ENDED, CLOSE = ":decide", ":undo", ":ended", ":close"

_WAITS: Outcome = {"waits": True}
_NOT_OURS: Outcome = {"gone": True}


@dataclass(frozen=True, slots=True)
class Ending:
    """What is to come of a task, as plain data.

    Attributes:
        state: the final state, as `ended` is told it.
        undo: whether what was made has to be undone.
        error: why it failed, as plain data.
        result: what came out.
        step: title of the step that failed.
    """

    state: str
    undo: bool = False
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ending:
        """Return it from JSON data."""
        return cls(**data)


def failed(error: Exception, *, step: str = "", undo: bool = True) -> Ending:
    """Return the ending of a task that failed."""
    return Ending(TaskState.FAILED.value, undo=undo, error=as_error(error).to_dict(), step=step)


#: The user canceled while something may have been made.
CANCELED_ENDING = Ending(TaskState.CANCELED.value, undo=True)

#: The user canceled before anything was begun.
WITHDRAWN_ENDING = Ending(TaskState.CANCELED.value)

#: A task that waited for a person was settled.
SETTLED_ENDING = Ending(TaskState.COMPLETE.value)


class Journal(Protocol):
    """Makes the steps of one durable piece of work durable."""

    def step(self, name: str, run: Callable[[], Outcome]) -> Outcome:
        """Return the recorded outcome of a step, or run it and record it."""
        ...

    def end(self, ending: Ending) -> None:
        """End the task, durably and once; returns when that is done."""
        ...

    def results(self) -> Mapping[str, Outcome]:
        """Return the recorded outcomes of the steps of this attempt's flow, in order."""
        ...


@dataclass(frozen=True)
class Workshop:
    """What tasks are carried out with.

    Attributes:
        db: the database.
        flows: the flows by kind; filled at launch.
        stopping: whether the process stops.
        hinted: whether this process has just canceled a task.
        changed: called when a task has changed its state.
        pace: how often things are done.
        clock: Unix seconds.
        pause: sleeps; raises StoppingError when the process stops.
    """

    db: DatabasePort
    flows: dict[TaskKind, Flow]
    stopping: Callable[[], bool]
    hinted: Callable[[str], bool]
    changed: Callable[[], None]
    pace: Pace
    pause: Callable[[float], None]
    clock: Callable[[], float] = time.time


def run_flow(shop: Workshop, journal: Journal, task_id: str, attempt: int) -> None:
    """Do the steps of an attempt of a task and see to its end."""
    task = _begin(shop, task_id, attempt)
    if task is None:
        return
    flow = shop.flows.get(task.kind)
    if task.started_s is None:
        journal.end(WITHDRAWN_ENDING)
    elif flow is None:
        journal.end(failed(NoFlowError(kind=task.kind.value), undo=False))
    else:
        ending = _do_steps(shop, journal, flow, task)
        if ending is not None:
            journal.end(ending)


def end_flow(shop: Workshop, journal: Journal, task_id: str, attempt: int, ending: Ending, tag: str) -> None:
    """Undo, let go, and put a task into its last state, as far as this has not been done.

    Args:
        shop: what tasks are carried out with.
        journal: makes the steps durable.
        task_id: the task.
        attempt: which attempt is ended; nothing is done if there is a newer one.
        ending: what is to come of it.
        tag: tells this ending from an earlier one of the same attempt whose clean-up failed.
    """
    task = _find(shop, task_id)
    if task is None or task.attempt != attempt:
        return
    results = {name: found["ok"] for name, found in journal.results().items() if "ok" in found}
    closing = _Closing(shop, task, ending, results, tag)
    outcome: Outcome = {"ok": {}}
    if ending.undo and task.kind in shop.flows:
        outcome = journal.step(UNDO, closing.undo)
    if "ok" in outcome:
        outcome = journal.step(ENDED, closing.ended)
    if outcome != _NOT_OURS:
        journal.step(CLOSE, partial(closing.close, outcome.get("failed")))


def _find(shop: Workshop, task_id: str) -> TaskRecord | None:
    with shop.db.read() as work:
        return work.tasks.find(task_id)


def _begin(shop: Workshop, task_id: str, attempt: int) -> TaskRecord | None:
    """Have a task run; return it, or None if there is nothing to do."""
    with shop.db.begin() as work:
        task = work.tasks.find(task_id)
        if task is None or task.attempt != attempt or task.state.ended:
            return None
        if task.state is TaskState.QUEUED:
            now = shop.clock()
            work.tasks.move(task_id, TaskState.RUNNING, started_s=now, percent=0.0, step="")
        task = work.tasks.get(task_id)
    shop.changed()
    return task


def _do_steps(shop: Workshop, journal: Journal, flow: Flow, task: TaskRecord) -> Ending | None:
    results: dict[str, StepResult] = {}
    last: StepResult = {}
    for step in flow.steps:
        ctx = _context(shop, task, step.name, results)
        try:
            if not step.applies(ctx):
                continue
        except Exception as error:
            log.exception("Whether %s of task %s is needed could not be told", step.name, task.id)
            return failed(error, step=step.title)
        outcome = journal.step(step.name, partial(_do_step, shop, flow, step, task, dict(results)))
        if "ok" not in outcome:
            return _ending(outcome, step)
        last = results[step.name] = outcome["ok"]
    return _decided(journal.step(DECIDE, partial(_decide, shop, flow, task, results, last)), last)


def _ending(outcome: Outcome, step: Step) -> Ending:
    if "failed" in outcome:
        return Ending(TaskState.FAILED.value, undo=True, error=outcome["failed"], step=step.title)
    return CANCELED_ENDING


def _decided(outcome: Outcome, result: StepResult) -> Ending | None:
    if outcome == _WAITS:
        return None
    if "failed" in outcome:
        return Ending(TaskState.FAILED.value, undo=True, error=outcome["failed"])
    if "ok" in outcome:
        return Ending(TaskState.COMPLETE.value, result=result)
    return CANCELED_ENDING


def _context(
    shop: Workshop,
    task: TaskRecord,
    step: str,
    results: Mapping[str, StepResult],
    *,
    share: Share = Share(0.0, 0.0),  # noqa: B008 (immutable)
    cancelable: bool = True,
) -> StepContext:
    progress = _progress(shop, task, share, cancelable=cancelable)
    return StepContext(shop.db, task, step, results, progress)


def _progress(shop: Workshop, task: TaskRecord, share: Share, *, cancelable: bool) -> StepProgress:
    return StepProgress(
        shop.db,
        task.id,
        share=share,
        percent=max(share.start, task.percent),
        pace=shop.pace,
        stopping=shop.stopping,
        hinted=partial(shop.hinted, task.id),
        cancelable=cancelable,
    )


def _do_step(
    shop: Workshop, flow: Flow, step: Step, task: TaskRecord, results: Mapping[str, StepResult]
) -> Outcome:
    """Run a step of a flow; every exception but `StoppingError` becomes an outcome."""
    if shop.stopping():
        raise StoppingError
    now = _find(shop, task.id) or task
    if now.state is TaskState.CANCELING:
        return CANCELED
    share = Plan(flow).share(step, _context(shop, task, step.name, results))
    progress = _progress(shop, now, share, cancelable=True)
    ctx = StepContext(shop.db, task, step.name, results, progress)
    _show_step(shop, task.id, step, max(share.start, now.percent))
    began_s = time.monotonic()
    crash_point(task.kind.value, step.name, "before")
    outcome = _outcome(shop, step, ctx)
    crash_point(task.kind.value, step.name, "after")
    if "ok" in outcome:
        _step_over(shop, task.id, step, max(share.end, now.percent), time.monotonic() - began_s)
    return outcome


def _show_step(shop: Workshop, task_id: str, step: Step, percent: float) -> None:
    with shop.db.begin() as work:
        work.tasks.report(task_id, step=step.title, percent=round(percent, 2), done=0, total=None, unit="")
        work.tasks.log(task_id, step.title)


def _step_over(shop: Workshop, task_id: str, step: Step, percent: float, seconds: float) -> None:
    with shop.db.begin() as work:
        work.tasks.report(task_id, percent=round(percent, 2), done=0, total=None, unit="")
        work.tasks.log(task_id, f"{step.title}: done in {seconds:.1f} s")


def _outcome(shop: Workshop, step: Step, ctx: StepContext) -> Outcome:
    try:
        return {"ok": plain(step.run(ctx))}
    except CanceledError as error:
        now = _find(shop, ctx.task.id)
        if now is not None and now.state is TaskState.CANCELING:
            return CANCELED
        return _failure(ctx, error)
    except Exception as error:  # noqa: BLE001 (top of a task: whatever a step raises fails the task, no more)
        return _failure(ctx, error)


def _failure(ctx: StepContext, error: Exception) -> Outcome:
    if not isinstance(error, SekisoError):
        log.error("Task %s failed", ctx.task.id, exc_info=error)
    told = as_error(error)
    # The line before it names the step.
    ctx.log(one_line(told))
    return {"failed": told.to_dict()}


def _decide(
    shop: Workshop, flow: Flow, task: TaskRecord, results: Mapping[str, StepResult], result: StepResult
) -> Outcome:
    """Say what comes of a task whose steps are done, so that nothing can come in between afterwards."""
    ctx = _context(shop, task, "decide", results, cancelable=False)
    try:
        action = flow.waits(ctx)
    except Exception as error:  # noqa: BLE001 (top of a task)
        return _failure(ctx, error)
    outcome = _wait_for_person(shop, task.id, action, result) if action else _close_door(shop, task.id)
    shop.changed()
    return outcome


def _wait_for_person(shop: Workshop, task_id: str, action: str, result: StepResult) -> Outcome:
    with shop.db.begin() as work:
        moved = work.tasks.move(
            task_id, TaskState.ACTION_REQUIRED, action=action, step="", result=result, percent=100.0
        )
        if moved is not None:
            work.tasks.log(task_id, action)
            return _WAITS
        now = work.tasks.find(task_id)
    # Not moved: it is canceled, or an earlier execution of this step has moved it and somebody went on.
    if now is not None and now.state is TaskState.CANCELING and not now.action:
        return CANCELED
    return _WAITS


def _close_door(shop: Workshop, task_id: str) -> Outcome:
    with shop.db.begin() as work:
        work.tasks.report(task_id, step=FINISHING, percent=100.0)
        now = work.tasks.find(task_id)
    return CANCELED if now is not None and now.state is TaskState.CANCELING else {"ok": {}}


class _Closing:
    """The steps that end a task."""

    def __init__(
        self,
        shop: Workshop,
        task: TaskRecord,
        ending: Ending,
        results: Mapping[str, StepResult],
        tag: str,
    ) -> None:
        self._shop = shop
        self._task = task
        self._ending = ending
        self._results = results
        self._tag = tag

    def undo(self) -> Outcome:
        """Undo what was made."""
        return self._durably(crash_points.UNDO, lambda flow, ctx: flow.undo(ctx, self._ending.state))

    def ended(self) -> Outcome:
        """Let go of what was held."""
        return self._durably(crash_points.ENDED, lambda flow, ctx: flow.ended(ctx, self._ending.state))

    def close(self, error: dict[str, Any] | None) -> Outcome:
        """Put the task into its last state; `error` is of the clean-up."""
        if error is not None:
            self._finish_failed(self._clean_up_error(error))
        elif self._ending.state == TaskState.FAILED.value:
            self._finish_failed(self._ending.error)
        elif self._ending.state == TaskState.CANCELED.value:
            self._finish(TaskState.CANCELED, step="", action="")
        else:
            self._finish_complete()
        self._shop.changed()
        return {"ok": {}}

    def _durably(self, name: str, act: Callable[[Flow, StepContext], None]) -> Outcome:
        flow = self._shop.flows.get(self._task.kind)
        if not self._still_ours():
            return _NOT_OURS
        if flow is None:
            return {"ok": {}}
        outcome: Outcome = {}
        for number in range(1, self._shop.pace.tries + 1):
            outcome = self._try(name, number, flow, act)
            if "ok" in outcome:
                break
            if number < self._shop.pace.tries:
                self._shop.pause(self._shop.pace.backoff_s * 2 ** (number - 1))
        return outcome

    def _try(self, name: str, number: int, flow: Flow, act: Callable[[Flow, StepContext], None]) -> Outcome:
        # Each try gives commands of its own: the journal of commands would repeat the failure of the last.
        step = f"{name}{self._tag}.{number}"
        ctx = _context(self._shop, self._task, step, self._results, cancelable=False)
        crash_point(self._task.kind.value, name, "before")
        try:
            act(flow, ctx)
        except Exception as error:  # noqa: BLE001 (top of a task)
            return _failure(ctx, error)
        crash_point(self._task.kind.value, name, "after")
        return {"ok": {}}

    def _still_ours(self) -> bool:
        """Mark the task as being cleaned up, unless it has gone on without us."""
        mark = FINISHING if self._ending.state == TaskState.COMPLETE.value else CLEANING
        with self._shop.db.begin() as work:
            task = work.tasks.find(self._task.id)
            if not self._endable(task):
                return False
            work.tasks.report(self._task.id, step=mark)
            return self._endable(work.tasks.find(self._task.id))

    def _endable(self, task: TaskRecord | None) -> bool:
        if task is None or task.attempt != self._task.attempt:
            return False
        if task.state is TaskState.COMPLETE:
            return self._ending.state == TaskState.COMPLETE.value
        if task.state is TaskState.FAILED:
            return clean_up_failed(task)
        return task.state is not TaskState.CANCELED

    def _clean_up_error(self, error: dict[str, Any]) -> dict[str, Any]:
        first = self._ending.error
        told = CleanUpFailedError(reason=_said(error), first=_said(first) if first else "")
        undo = self._ending.undo
        return {**told.to_dict(), "cause": first, "clean_up": error, "undo": undo}

    def _finish_failed(self, error: dict[str, Any] | None) -> None:
        settled = self._finish(TaskState.FAILED, error=error, step=self._ending.step, action="")
        if settled is None:
            return
        # It was in a last state already: it is the same failure again, or its clean-up has succeeded now.
        with self._shop.db.begin() as work:
            if settled.state is TaskState.FAILED:
                work.tasks.report(self._task.id, error=error, step=self._ending.step)

    def _finish_complete(self) -> None:
        settled = self._finish(TaskState.COMPLETE, result=self._ending.result, percent=100.0, step="")
        if settled is None:
            return
        with self._shop.db.begin() as work:
            if settled.state is TaskState.COMPLETE:
                work.tasks.report(self._task.id, step="")

    def _finish(self, to: TaskState, **changes: Any) -> TaskRecord | None:
        """Move the task; return None if that was done, else the task as it is."""
        done = {"done": 0, "total": None, "unit": "", "ended_s": self._shop.clock()}
        with self._shop.db.begin() as work:
            if work.tasks.move(self._task.id, to, **done, **changes) is not None:
                work.tasks.log(self._task.id, _LAST_WORDS[to])
                return None
            return work.tasks.find(self._task.id)


_LAST_WORDS = {
    TaskState.COMPLETE: "The task is complete.",
    TaskState.FAILED: "The task has failed.",
    TaskState.CANCELED: "The task has been canceled.",
}


def _said(error: Mapping[str, Any]) -> str:
    params: Mapping[str, Any] = error.get("params", {})
    text = str(params.get("reason", ""))
    return f"{error.get('code', '')}: {text}" if text else str(error.get("code", ""))


def clean_up_failed(task: TaskRecord) -> bool:
    """Whether a failed task still has to be cleaned up."""
    return task.error is not None and task.error.get("code") == CleanUpFailedError.code


def again(task: TaskRecord) -> Ending:
    """Return the ending that tries the clean-up of a failed task once more."""
    error = task.error or {}
    first = error.get("cause") or CanceledError().to_dict()
    ending = Ending(TaskState.FAILED.value, undo=bool(error.get("undo")), error=first, step=task.step)
    return replace(ending, step="" if task.step in (CLEANING, FINISHING) else task.step)
