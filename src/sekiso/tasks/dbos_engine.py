"""The durable task engine, on DBOS Transact. The only module that knows the library.

Its import takes seconds, so nothing that a person waits for (the command line) imports it.

What is set and why:

- The system database of an embedded appliance is an SQLite file in WAL mode with full synchronisation; of
  several workers it is PostgreSQL.
- Everything recorded is JSON text, never pickled: what is recorded must stay readable, and harmless, in later
  versions. Steps return their errors as data, so no exception is ever recorded.
- The application version is a constant, so that work goes on after an update. A flow whose steps have changed
  under a running task is noticed by the library, and the task then fails cleanly (`FlowChangedError`).
- The library recovers the work of an executor when that executor starts again. It does not notice dead ones;
  `leases` and the caretaker thread do.
- There is one engine in a process, because the library keeps one instance in a process.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
    SetWorkflowID,
    WorkflowStatus,
)
from dbos import error as dbos_errors

from sekiso.model.task import TaskRecord
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.caretaker import Begun, Caretaker, Job, Recovery
from sekiso.tasks.context import Outcome
from sekiso.tasks.dbos_database import is_sqlite, system_engine
from sekiso.tasks.engine import TableEngine, Works, WorkState, check_flows, end_id, run_id
from sekiso.tasks.errors import FlowChangedError, StoppingError
from sekiso.tasks.leases import Lease, LeaseTimes, Watch
from sekiso.tasks.port import Flow
from sekiso.tasks.progress import Pace
from sekiso.tasks.runner import Ending, end_flow, failed, run_flow

log = logging.getLogger(__name__)

Returned = TypeVar("Returned")

#: Work goes on across versions of Sekiso; never change it.
APPLICATION_VERSION = "sekiso-tasks-1"

_QUEUE = "sekiso-tasks"
_END_QUEUE = "sekiso-ends"
_LIVE = ["ENQUEUED", "PENDING", "DELAYED"]
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

#: Threads that are never given to the steps of flows, so that tasks can always be ended.
_THREADS_FOR_ENDS = 8

_WORK_ID = re.compile(r"(?P<task>.+)\.\d+(\.end[-\d]*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Times of an engine.

    Attributes:
        poll_s: the queues are looked at so often.
        sweep_s: lost work is looked for so often.
        clean_up_s: failed clean-ups are tried again so often.
        forget_s: old tasks are forgotten so often.
        retention_s: tasks that ended longer ago are forgotten.
        stop_s: `close` waits so long for steps that run.
    """

    poll_s: float = 0.5
    sweep_s: float = 15.0
    clean_up_s: float = 600.0
    forget_s: float = 3600.0
    retention_s: float = 90 * 86400.0
    stop_s: float = 10.0


class DbosEngine(TableEngine):
    """`TaskEngine` whose work survives the process."""

    def __init__(
        self,
        db: DatabasePort,
        *,
        system_database_url: str,
        worker: str,
        lane_tasks: int = 2,
        threads: int = 64,
        pace: Pace | None = None,
        times: EngineTimes | None = None,
        leases: LeaseTimes | None = None,
        retention_s: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare an engine; nothing is opened yet.

        Args:
            db: the database with the task table.
            system_database_url: where the work is recorded: `sqlite:///…` or `postgresql://…`.
            worker: name of this process, the same after a restart, another for each worker of one database.
            lane_tasks: how many tasks of one lane run at once, in all workers together.
            threads: how many threads work; each running task takes one.
            pace: how often steps report and look for cancellation.
            times: times of this engine.
            leases: how dead workers are told.
            retention_s: tells how long tasks that have ended are kept; None = as in `times`.
            clock: Unix seconds.
        """
        super().__init__(db, pace=pace or Pace(), clock=clock)
        self._url = system_database_url
        self._worker = worker
        self._lane_tasks = lane_tasks
        self._thread_count = max(threads, _THREADS_FOR_ENDS + lane_tasks)
        self._times = times or EngineTimes()
        self._lease_times = leases or LeaseTimes()
        self._retention_s = retention_s or (lambda: self._times.retention_s)
        self._lease: Lease | None = None
        self._engine = None if not is_sqlite(system_database_url) else system_engine(system_database_url)
        self._running: dict[str, int] = {}
        self._running_lock = threading.Lock()
        self._caretaker: Caretaker | None = None

    @property
    def _works(self) -> Works:
        return _DbosWorks()

    def launch(self, flows: Sequence[Flow]) -> None:
        """Begin to work, and resume what was under way when the process ended.

        Raises:
            RuntimeError: another engine works in this process.
        """
        check_flows(flows)
        _Current.take(self)
        self._register(flows)
        self._closing.clear()
        self._lease = Lease(self._db, self._worker, self._lease_times)
        self._lease.begin()
        _route_logging()
        DBOS(config=self._config())
        DBOS.launch()
        self._register_queues()
        self._launched = True
        self._reconcile()
        self._retry_clean_ups()
        self._caretaker = self._make_caretaker(self._lease)
        self._caretaker.start()

    def close(self) -> None:
        """Stop working; steps that run are cut off where they look at their progress.

        A step that does not look is left behind after the time limit. It runs again at the next launch.
        """
        if not _Current.is_current(self):
            return
        self._closing.set()
        self._launched = False
        self._notify()
        if self._caretaker is not None:
            self._caretaker.join()
        idle = self._wait_until_idle()
        DBOS.destroy()
        if self._lease is not None and idle:
            self._lease.end()
        if self._engine is not None:
            self._engine.dispose()
        _Current.leave(self)

    def run_work(self, task_id: str, attempt: int) -> None:
        """Carry out the steps of a flow; called by the library."""
        work = run_id(task_id, attempt)
        with self._at_work(work):
            try:
                run_flow(self._shop, _DbosJournal(task_id, attempt), task_id, attempt)
            except dbos_errors.DBOSUnexpectedStepError:
                log.exception("The steps of task %s are not those that were recorded", task_id)
                self._flow_changed(task_id, attempt)

    def end_work(self, task_id: str, attempt: int, ending: Mapping[str, Any], tag: str) -> None:
        """Carry out what ends a task; called by the library."""
        with self._at_work(end_id(task_id, attempt, tag)):
            journal = _DbosJournal(task_id, attempt)
            end_flow(self._shop, journal, task_id, attempt, Ending.from_dict(ending), tag)

    @property
    def works(self) -> bool:
        """Whether it is at work: launched, and its caretaker lives."""
        return self._launched and self._caretaker is not None and self._caretaker.lives

    def running(self) -> frozenset[str]:
        """Return what runs in this process."""
        with self._running_lock:
            return frozenset(self._running)

    def forget(self) -> None:
        """Forget tasks that ended long ago, and their work."""
        before_s = self._clock() - self._retention_s()
        with self._db.begin() as work:
            gone = work.tasks.forget_ended_before(before_s)
        if gone:
            log.info("Forgot %s tasks that ended long ago", gone)
        old = [w for w in _over_before(before_s) if self._forgotten(w)]
        if old:
            DBOS.delete_workflows(old)

    def _make_caretaker(self, lease: Lease) -> Caretaker:
        times, leases = self._times, self._lease_times
        recovery = Recovery(_DbosWorks(), Watch(self._db, leases), worker=self._worker, running=self.running)
        jobs = (
            Job("sign of life", leases.beat_s, lease.beat),
            Job("work of dead workers", times.sweep_s, recovery.take_over),
            Job("work that was cut off", times.sweep_s, recovery.resume_strays),
            Job("tasks without work", times.sweep_s, self._reconcile),
            Job("failed clean-ups", times.clean_up_s, self._retry_clean_ups),
            Job("old tasks", times.forget_s, self.forget),
        )
        return Caretaker(jobs, self._closing)

    def _stopping(self) -> bool:
        lease = self._lease
        # An SQLite file has one worker, so nobody can have taken its work over.
        fenced = lease is not None and lease.lost and not is_sqlite(self._url)
        return self._closing.is_set() or fenced

    def _forgotten(self, work_id: str) -> bool:
        match = _WORK_ID.fullmatch(work_id)
        if match is None:
            return False
        with self._db.read() as work:
            return work.tasks.find(match["task"]) is None

    def _flow_changed(self, task_id: str, attempt: int) -> None:
        task = self._get(task_id)
        ending = failed(FlowChangedError(kind=task.kind.value), step=task.step)
        self._works.add_end(task_id, attempt, ending, self._tag(task))

    @contextmanager
    def _at_work(self, work: str) -> Any:
        """Keep count of what runs; whatever goes wrong around the steps leaves the work to be resumed."""
        if self._stopping():
            raise StoppingError
        self._count(work, 1)
        try:
            yield
        except Exception as error:
            log.exception("Work %s was cut off; it is resumed soon", work)
            raise StoppingError from error
        finally:
            self._count(work, -1)
            self._notify()

    def _count(self, work: str, change: int) -> None:
        with self._running_lock:
            now = self._running.get(work, 0) + change
            if now:
                self._running[work] = now
            else:
                self._running.pop(work, None)

    def _wait_until_idle(self) -> bool:
        deadline_s = time.monotonic() + self._times.stop_s
        while self.running() and time.monotonic() < deadline_s:
            self._wait_for_change(0.05)
        for work in self.running():
            log.warning("Work %s does not stop; it is resumed at the next launch", work)
        return not self.running()

    def _config(self) -> DBOSConfig:
        config: DBOSConfig = {
            "name": "sekiso",
            "system_database_url": self._url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._worker,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
            "max_executor_threads": self._thread_count,
            "sys_db_pool_size": 10,
            "notification_listener_polling_interval_sec": self._times.poll_s,
        }
        if self._engine is not None:
            config["system_database_engine"] = self._engine
        return config

    def _register_queues(self) -> None:
        for_flows = self._thread_count - _THREADS_FOR_ENDS
        DBOS.register_queue(
            _QUEUE,
            worker_concurrency=for_flows,
            partition_concurrency=self._lane_tasks,
            polling_interval_sec=self._times.poll_s,
            on_conflict="always_update",
        )
        DBOS.register_queue(_END_QUEUE, polling_interval_sec=self._times.poll_s, on_conflict="always_update")


class _Current:
    """The engine of this process."""

    _lock = threading.Lock()
    _engine: DbosEngine | None = None

    @classmethod
    def take(cls, engine: DbosEngine) -> None:
        with cls._lock:
            if cls._engine is not None:
                raise RuntimeError("another task engine works in this process")
            cls._engine = engine

    @classmethod
    def leave(cls, engine: DbosEngine) -> None:
        with cls._lock:
            if cls._engine is engine:
                cls._engine = None

    @classmethod
    def is_current(cls, engine: DbosEngine) -> bool:
        with cls._lock:
            return cls._engine is engine

    @classmethod
    def get(cls) -> DbosEngine:
        with cls._lock:
            if cls._engine is None:
                raise StoppingError
            return cls._engine


# The names and parameters of these two are recorded; never change them.
@DBOS.workflow(name="sekiso.run")
def _run_workflow(task_id: str, attempt: int) -> None:
    _Current.get().run_work(task_id, attempt)


@DBOS.workflow(name="sekiso.end")
def _end_workflow(task_id: str, attempt: int, ending: dict[str, Any], tag: str) -> None:
    _Current.get().end_work(task_id, attempt, ending, tag)


def _aside(call: Callable[[], Returned]) -> Returned:
    """Call the library as nobody's step: what is asked inside a step must not be recorded as part of it."""
    return contextvars.Context().run(call)


class _DbosWorks:
    """`Works` of the library."""

    def add_run(self, task: TaskRecord) -> None:
        def add() -> None:
            with (
                SetWorkflowID(run_id(task.id, task.attempt)),
                SetEnqueueOptions(queue_partition_key=task.lane or task.id),
            ):
                DBOS.enqueue_workflow(_QUEUE, _run_workflow, task.id, task.attempt)

        _aside(add)

    def add_end(self, task_id: str, attempt: int, ending: Ending, tag: str) -> None:
        def add() -> None:
            with SetWorkflowID(end_id(task_id, attempt, tag)):
                DBOS.enqueue_workflow(_END_QUEUE, _end_workflow, task_id, attempt, ending.to_dict(), tag)

        _aside(add)

    def withdraw(self, work_id: str) -> None:
        _aside(partial(DBOS.cancel_workflow, work_id))

    def state(self, work_id: str) -> WorkState | None:
        found = _listed(workflow_ids=[work_id])
        return WorkState(found[0].status in _LIVE, found[0].status == "SUCCESS") if found else None

    def live(self) -> frozenset[str]:
        return frozenset(work.workflow_id for work in _listed(status=_LIVE))

    def begun(self) -> Sequence[Begun]:
        listed = _listed(status="PENDING")
        return [Begun(work.workflow_id, work.executor_id or "") for work in listed]

    def put_back(self, worker: str) -> None:
        # The library's own recovery puts back only what still belongs to that worker, each into its own queue
        # and lane, so two who do this at the same time do it once. Its `resume_workflow` is not so careful.
        _aside(partial(DBOS._recover_pending_workflows, [worker]))  # pyright: ignore[reportPrivateUsage]

    def resume(self, work_id: str) -> None:
        for work in _listed(workflow_ids=[work_id]):
            _aside(partial(DBOS.resume_workflow, work_id, queue_name=work.queue_name or _END_QUEUE))

    def give_up(self, work_id: str) -> None:
        _aside(partial(DBOS.cancel_workflow, work_id))


def _listed(**which: Any) -> list[WorkflowStatus]:
    return _aside(partial(DBOS.list_workflows, load_input=False, load_output=False, **which))


def _over_before(time_s: float) -> list[str]:
    text = datetime.fromtimestamp(time_s, UTC).isoformat()
    return [work.workflow_id for work in _listed(status=_OVER, completed_before=text)]


@dataclass(frozen=True, slots=True)
class _DbosJournal:
    """`Journal` of the workflow that runs on this thread."""

    task_id: str
    attempt: int

    def step(self, name: str, run: Callable[[], Outcome]) -> Outcome:
        # JSON within JSON: ASCII only, so that names of files that are no valid text survive every database.
        return json.loads(DBOS.run_step({"name": name}, partial(_recordable, name, run)))

    def end(self, ending: Ending) -> None:
        with SetWorkflowID(end_id(self.task_id, self.attempt, "")):
            _end_workflow(self.task_id, self.attempt, ending.to_dict(), "")

    def results(self) -> Mapping[str, Outcome]:
        steps = _aside(partial(DBOS.list_workflow_steps, run_id(self.task_id, self.attempt)))
        found = {step["function_name"]: step["output"] for step in steps}
        return {name: json.loads(text) for name, text in found.items() if isinstance(text, str)}


def _recordable(name: str, run: Callable[[], Outcome]) -> str:
    try:
        return json.dumps(run())
    except Exception as error:
        # Recorded, it would be the outcome for ever; so the work is cut off here and resumed soon.
        log.exception("Step %s was cut off by something that is not its own", name)
        raise StoppingError from error


class _Forward(logging.Handler):
    """Hands the library's messages to our own logging."""

    def emit(self, record: logging.LogRecord) -> None:
        target = logging.getLogger("sekiso.tasks.dbos")
        if target.isEnabledFor(record.levelno):
            target.handle(record)


def _route_logging() -> None:
    logger = logging.getLogger("dbos")
    if not any(isinstance(handler, _Forward) for handler in logger.handlers):
        logger.handlers[:] = [_Forward()]
    logger.propagate = False
