"""A task engine in memory, for tests: threads, and a store that a later engine can be given."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sekiso.model.task import TaskRecord
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.context import Outcome
from sekiso.tasks.engine import TableEngine, Works, WorkState, check_flows, end_id, run_id
from sekiso.tasks.errors import StoppingError
from sekiso.tasks.port import Flow
from sekiso.tasks.progress import Pace
from sekiso.tasks.runner import Ending, end_flow, run_flow

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    """A piece of work. `ending` is None for the steps of a flow, `lane` for what waits for no lane."""

    id: str
    task_id: str
    attempt: int
    lane: str | None = None
    ending: dict[str, Any] | None = None
    tag: str = ""
    state: Literal["queued", "running", "over"] = "queued"
    steps: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class MemoryStore:
    """What outlives an engine: its work with the recorded outcomes of steps. Guarded by its lock."""

    works: dict[str, _Work] = field(default_factory=dict[str, _Work])
    lock: threading.RLock = field(default_factory=threading.RLock)


class MemoryEngine(TableEngine):
    """`TaskEngine` on threads of this process."""

    def __init__(
        self,
        db: DatabasePort,
        *,
        store: MemoryStore | None = None,
        lane_tasks: int = 2,
        pace: Pace | None = None,
        stop_s: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare an engine.

        Args:
            db: the database with the task table.
            store: work of an earlier engine that is to go on.
            lane_tasks: how many tasks of one lane run at once.
            pace: how often things are done.
            stop_s: how long `close` waits for steps that run.
            clock: Unix seconds.
        """
        super().__init__(db, pace=pace or Pace(), clock=clock)
        self._store = store or MemoryStore()
        self._threads: set[threading.Thread] = set()
        self._lane_tasks = lane_tasks
        self._stop_s = stop_s

    @property
    def _works(self) -> Works:
        return _MemoryWorks(self._store, self._pump)

    def launch(self, flows: Sequence[Flow]) -> None:
        """Begin to work, and go on with what the store holds."""
        check_flows(flows)
        self._register(flows)
        self._closing.clear()
        with self._store.lock:
            for work in self._store.works.values():
                if work.state == "running":
                    work.state = "queued"
        self._launched = True
        self._reconcile()
        self._retry_clean_ups()
        self._pump()

    def close(self) -> None:
        """Stop working; steps that run are cut off where they look at their progress."""
        self._closing.set()
        self._launched = False
        self._notify()
        deadline_s = time.monotonic() + self._stop_s
        with self._store.lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _pump(self) -> None:
        """Begin whatever may begin."""
        with self._store.lock:
            for work in list(self._store.works.values()):
                if work.state == "queued" and self._launched and self._may_begin(work):
                    work.state = "running"
                    thread = threading.Thread(target=self._carry_out, args=(work,), name=work.id, daemon=True)
                    self._threads.add(thread)
                    thread.start()

    def _may_begin(self, work: _Work) -> bool:
        if work.lane is None:
            return True
        running = [w for w in self._store.works.values() if w.state == "running" and w.lane == work.lane]
        return len(running) < self._lane_tasks

    def _carry_out(self, work: _Work) -> None:
        try:
            self._do(work)
        except StoppingError:
            log.debug("Work %s was cut off", work.id)
        except Exception:
            log.exception("Work %s was cut off; it goes on at the next launch", work.id)
        with self._store.lock:
            self._threads.discard(threading.current_thread())
        self._notify()
        self._pump()

    def _do(self, work: _Work) -> None:
        if self._closing.is_set():
            raise StoppingError
        journal = _MemoryJournal(self, work)
        if work.ending is None:
            run_flow(self._shop, journal, work.task_id, work.attempt)
        else:
            ending = Ending.from_dict(work.ending)
            end_flow(self._shop, journal, work.task_id, work.attempt, ending, work.tag)
        with self._store.lock:
            work.state = "over"

    def do_end(self, run: _Work, ending: Ending) -> None:
        """End a task on this thread, or wait until somebody else has done so."""
        work_id = end_id(run.task_id, run.attempt, "")
        with self._store.lock:
            work = self._store.works.get(work_id)
            mine = work is None
            if work is None:
                work = _Work(work_id, run.task_id, run.attempt, ending=ending.to_dict(), state="running")
                self._store.works[work_id] = work
        if mine:
            self._do(work)
        while work.state != "over":
            if self._closing.is_set():
                raise StoppingError
            self._wait_for_change(0.1)

    def recorded(self, run: str) -> Mapping[str, Outcome]:
        """Return the recorded outcomes of the steps of a flow."""
        with self._store.lock:
            work = self._store.works.get(run)
            return {name: json.loads(text) for name, text in work.steps.items()} if work else {}


@dataclass(frozen=True, slots=True)
class _MemoryWorks:
    """`Works` in a store."""

    store: MemoryStore
    pump: Callable[[], None]

    def add_run(self, task: TaskRecord) -> None:
        work_id = run_id(task.id, task.attempt)
        self._add(_Work(work_id, task.id, task.attempt, lane=task.lane or task.id))

    def add_end(self, task_id: str, attempt: int, ending: Ending, tag: str) -> None:
        work_id = end_id(task_id, attempt, tag)
        self._add(_Work(work_id, task_id, attempt, ending=ending.to_dict(), tag=tag))

    def withdraw(self, work_id: str) -> None:
        with self.store.lock:
            work = self.store.works.get(work_id)
            if work is not None and work.state == "queued":
                work.state = "over"

    def state(self, work_id: str) -> WorkState | None:
        with self.store.lock:
            work = self.store.works.get(work_id)
            return None if work is None else WorkState(work.state != "over", work.state == "over")

    def live(self) -> frozenset[str]:
        with self.store.lock:
            return frozenset(w.id for w in self.store.works.values() if w.state != "over")

    def _add(self, work: _Work) -> None:
        with self.store.lock:
            self.store.works.setdefault(work.id, work)
        self.pump()


@dataclass(frozen=True, slots=True)
class _MemoryJournal:
    """`Journal` of one piece of work."""

    engine: MemoryEngine
    work: _Work

    def step(self, name: str, run: Callable[[], Outcome]) -> Outcome:
        recorded = self.work.steps.get(name)
        if recorded is None:
            recorded = self.work.steps[name] = json.dumps(run())
        return json.loads(recorded)

    def end(self, ending: Ending) -> None:
        self.engine.do_end(self.work, ending)

    def results(self) -> Mapping[str, Outcome]:
        return self.engine.recorded(run_id(self.work.task_id, self.work.attempt))
