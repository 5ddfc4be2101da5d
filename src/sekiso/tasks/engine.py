"""The task engine on whatever makes work durable: everything that is decided by the task table."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sekiso.errors import AlreadyExistsError
from sekiso.model.task import NewTask, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.errors import StoppingError, TaskStateError, WorkLostError
from sekiso.tasks.port import Flow, StepResult
from sekiso.tasks.progress import Pace
from sekiso.tasks.runner import (
    CANCELED_ENDING,
    CLEANING,
    FINISHING,
    SETTLED_ENDING,
    WITHDRAWN_ENDING,
    Ending,
    Workshop,
    again,
    clean_up_failed,
    failed,
)

log = logging.getLogger(__name__)

_ALL = 100_000
_OPEN = frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELING})

#: How long `cancel` waits for a task that has not begun; it is canceled then, mostly at once.
_WITHDRAW_S = 2.0

#: How long `settle` waits for a task that is about to wait for a person.
_SETTLE_S = 10.0


def run_id(task_id: str, attempt: int) -> str:
    """Return the identity of the work of an attempt of a task."""
    return f"{task_id}.{attempt}"


def end_id(task_id: str, attempt: int, tag: str) -> str:
    """Return the identity of the work that ends an attempt of a task."""
    return f"{task_id}.{attempt}.end{tag}"


@dataclass(frozen=True, slots=True)
class WorkState:
    """What is known of a piece of work: `live` while it is queued or runs, else `over`, well or not."""

    live: bool
    succeeded: bool = False


class Works(Protocol):
    """Keeps and carries out durable pieces of work. Adding one with an identity that exists does nothing."""

    def add_run(self, task: TaskRecord) -> None:
        """Queue the work of a task's present attempt in its lane."""
        ...

    def add_end(self, task_id: str, attempt: int, ending: Ending, tag: str) -> None:
        """Queue what ends an attempt of a task; it does not wait for a lane."""
        ...

    def withdraw(self, work_id: str) -> None:
        """Take a piece of work out of the queue if it has not begun."""
        ...

    def state(self, work_id: str) -> WorkState | None:
        """Return what is known of a piece of work."""
        ...

    def live(self) -> frozenset[str]:
        """Return the identities of all work that is queued or runs, in any process."""
        ...


class TableEngine:
    """What both engines share. Subclasses set `_works` and implement launch and close."""

    def __init__(self, db: DatabasePort, *, pace: Pace, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._changes = threading.Condition()
        self._closing = threading.Event()
        self._hints: set[str] = set()
        self._launched = False
        self._shop = Workshop(
            db=db,
            flows={},
            stopping=self._stopping,
            hinted=self._hints.__contains__,
            changed=self._notify,
            pace=pace,
            pause=self._pause,
            clock=clock,
        )

    @property
    def _works(self) -> Works:
        raise NotImplementedError

    def start(self, new: NewTask) -> TaskRecord:
        """Record a task and queue it; with an identifier that exists, return that task."""
        record = TaskRecord(
            id=new.id,
            kind=new.kind,
            state=TaskState.QUEUED,
            subjects=new.subjects,
            params=new.params,
            requested_by=new.requested_by,
            lane=new.lane,
            created_s=self._clock(),
        )
        try:
            with self._db.begin() as work:
                work.tasks.add(record)
        except AlreadyExistsError:
            record = self._get(new.id)
        if record.state is TaskState.QUEUED and self._launched:
            self._works.add_run(record)
        return record

    def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task; it is CANCELING until its undo has run.

        Raises:
            NotFoundError: there is no such task.
            TaskStateError: it has ended, or it is being finished.
        """
        with self._db.begin() as work:
            task = work.tasks.get(task_id)
            if task.state is TaskState.CANCELING:
                return task
            moved = work.tasks.move(task_id, TaskState.CANCELING)
            if moved is None:
                raise _refused(work.tasks.get(task_id), "A task that has ended cannot be canceled.")
            if moved.step == FINISHING and not moved.action:
                raise _refused(task, "Its work is done and it is being finished.")
            work.tasks.log(task_id, "Canceling.")
        self._hints.add(task_id)
        self._notify()
        return self._see_to_cancel(moved)

    def retry(self, task_id: str) -> TaskRecord:
        """Run a failed or canceled task again, as its next attempt.

        Raises:
            NotFoundError: there is no such task.
            TaskStateError: it has not failed or been canceled, or it is being cleaned up just now.
        """
        with self._db.begin() as work:
            task = work.tasks.get(task_id)
            moved = work.tasks.move(
                task_id,
                TaskState.QUEUED,
                attempt=task.attempt + 1,
                action="",
                result=None,
                error=None,
                started_s=None,
                ended_s=None,
            )
            if moved is None:
                raise _refused(task, "Only a task that has failed or was canceled can be retried.")
            if moved.step == CLEANING:
                raise _refused(task, "It is being cleaned up just now.")
            work.tasks.report(task_id, step="", percent=0.0, done=0, total=None, unit="")
            work.tasks.log(task_id, f"This is attempt {moved.attempt}.")
            record = work.tasks.get(task_id)
        self._hints.discard(task_id)
        self._notify()
        if self._launched:
            self._works.add_run(record)
        return record

    def settle(self, task_id: str, result: StepResult | None = None) -> None:
        """End the wait of a task for a person: it is COMPLETE. Harmless when it has ended.

        Raises:
            NotFoundError: there is no such task.
            TaskStateError: it does not wait for a person.
        """
        deadline_s = time.monotonic() + _SETTLE_S
        while not self._settled(task_id, result):
            if time.monotonic() > deadline_s:
                raise _refused(self._get(task_id), "It does not wait for a person.")
            self._wait_for_change(0.1)

    def wait(self, task_id: str, *, timeout_s: float) -> TaskRecord:
        """Wait until a task has ended or requires action, at most so long; return it as it is then.

        Raises:
            NotFoundError: there is no such task.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            task = self._get(task_id)
            left_s = deadline_s - time.monotonic()
            if task.state.ended or task.state is TaskState.ACTION_REQUIRED or left_s <= 0:
                return task
            self._wait_for_change(min(left_s, 0.25))

    def _get(self, task_id: str) -> TaskRecord:
        with self._db.read() as work:
            return work.tasks.get(task_id)

    def _settled(self, task_id: str, result: StepResult | None) -> bool:
        with self._db.begin() as work:
            task = work.tasks.get(task_id)
            if task.state.ended:
                return True
            if task.state is not TaskState.ACTION_REQUIRED:
                return False
            merged = {**(task.result or {}), **(result or {})}
            now = self._clock()
            moved = work.tasks.move(
                task_id, TaskState.COMPLETE, result=merged, action="", step=FINISHING, ended_s=now
            )
        if moved is None:
            return False
        self._notify()
        if self._launched:
            self._works.add_end(task_id, task.attempt, SETTLED_ENDING, "")
        return True

    def _see_to_cancel(self, task: TaskRecord) -> TaskRecord:
        if not self._launched or (task.started_s is not None and not task.action):
            return task  # whoever runs it sees to the rest; without anybody, the next launch does
        ending = CANCELED_ENDING if task.action else WITHDRAWN_ENDING
        self._works.add_end(task.id, task.attempt, ending, "")
        if task.started_s is not None:
            return task
        self._works.withdraw(run_id(task.id, task.attempt))
        return self.wait(task.id, timeout_s=_WITHDRAW_S)

    def _register(self, flows: Sequence[Flow]) -> None:
        self._shop.flows.clear()
        self._shop.flows.update({flow.kind: flow for flow in flows})

    def _stopping(self) -> bool:
        return self._closing.is_set()

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise StoppingError

    def _notify(self) -> None:
        with self._changes:
            self._changes.notify_all()

    def _wait_for_change(self, seconds: float) -> None:
        with self._changes:
            self._changes.wait(seconds)

    def _reconcile(self) -> None:
        """Queue the work of every task that has none: whatever was lost between the table and the works."""
        # The tasks first: work that begins after the list was made is no work that is missing.
        tasks = self._list(_OPEN)
        live = self._works.live()
        for task in tasks:
            self._reconcile_one(task, live)

    def _reconcile_one(self, task: TaskRecord, live: frozenset[str]) -> None:
        run = run_id(task.id, task.attempt)
        if _is_ending(task, live):
            return
        never_begun = task.started_s is None
        if task.state is TaskState.CANCELING:
            if never_begun or task.action or run not in live:
                ending = WITHDRAWN_ENDING if never_begun else CANCELED_ENDING
                self._works.add_end(task.id, task.attempt, ending, self._tag(task))
        elif run not in live:
            self._revive(task)

    def _revive(self, task: TaskRecord) -> None:
        state = self._works.state(run_id(task.id, task.attempt))
        if state is None:
            self._works.add_run(task)  # its steps are convergent, so beginning anew is right in every case
        elif not state.live:
            error = WorkLostError(reason="Its work ended without a result.")
            log.error("The work of task %s ended without a result", task.id)
            self._works.add_end(task.id, task.attempt, failed(error, step=task.step), self._tag(task))

    def _retry_clean_ups(self) -> None:
        """Try again what failed when tasks were ended."""
        tasks = self._list(frozenset({TaskState.FAILED, TaskState.COMPLETE}))
        live = self._works.live()
        for task in tasks:
            ending = self._unfinished(task)
            if ending is not None and not _is_ending(task, live):
                self._works.add_end(task.id, task.attempt, ending, self._tag(task))

    def _unfinished(self, task: TaskRecord) -> Ending | None:
        if task.kind not in self._shop.flows:
            return None
        if task.state is TaskState.COMPLETE:
            return SETTLED_ENDING if task.step == FINISHING else None
        return again(task) if clean_up_failed(task) else None

    def _tag(self, task: TaskRecord) -> str:
        if self._works.state(end_id(task.id, task.attempt, "")) is None:
            return ""
        return f"-{time.time_ns() // 1_000_000}"

    def _list(self, states: frozenset[TaskState]) -> Sequence[TaskRecord]:
        with self._db.read() as work:
            return work.tasks.list(TaskFilter(states=states, limit=_ALL))


def _is_ending(task: TaskRecord, live: frozenset[str]) -> bool:
    prefix = end_id(task.id, task.attempt, "")
    return any(work.startswith(prefix) for work in live)


def _refused(task: TaskRecord, reason: str) -> TaskStateError:
    return TaskStateError(task=task.id, state=task.state.value, reason=reason)


def check_flows(flows: Sequence[Flow]) -> None:
    """Refuse flows that cannot be told apart or whose steps cannot.

    Raises:
        ValueError: a kind or a step's name comes twice, or a name or title is reserved.
    """
    kinds: set[TaskKind] = set()
    for flow in flows:
        names = [step.name for step in flow.steps]
        if flow.kind in kinds or len(set(names)) != len(names):
            raise ValueError(f"flow {flow.kind}: the kind or the name of a step comes twice")
        if any(name.startswith(":") or name in ("undo", "ended") for name in names):
            raise ValueError(f"flow {flow.kind}: the name of a step is reserved")
        if any(step.title in (FINISHING, CLEANING) for step in flow.steps):
            raise ValueError(f"flow {flow.kind}: the title of a step is reserved")
        kinds.add(flow.kind)
