"""What the suite runs on: each engine, with a way to stop it and to start it again."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sekiso.errors import CanceledError
from sekiso.model.progress import check_canceled
from sekiso.model.task import LogLine, NewTask, Subject, SubjectKind, TaskKind, TaskRecord, TaskState
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.tasks.dbos_engine import DbosEngine, EngineTimes
from sekiso.tasks.leases import LeaseTimes
from sekiso.tasks.memory import MemoryEngine, MemoryStore
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult, TaskEngine
from sekiso.tasks.progress import Pace

PACE = Pace(report_s=0.02, canceled_s=0.02, tries=3, backoff_s=0.01)
TIMES = EngineTimes(poll_s=0.02, sweep_s=0.3, clean_up_s=300.0, stop_s=3.0)
LONG_S = 20.0


class EngineRig(Protocol):
    db: Database
    engine: TaskEngine

    def launch(self, flows: Sequence[Flow]) -> TaskEngine:
        """A new engine on what the last one left."""
        ...

    def close(self) -> None:
        """Stop the engine."""
        ...


class _Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for template in folder.parent.joinpath("task-databases").glob("*.db"):
            shutil.copy(template, folder)
        self.db = open_database(sqlite_url(folder / "sekiso.db"))
        self.engine: TaskEngine

    def make(self) -> TaskEngine:
        raise NotImplementedError

    def launch(self, flows: Sequence[Flow]) -> TaskEngine:
        self.engine = self.make()
        self.engine.launch(flows)
        return self.engine

    def close(self) -> None:
        self.engine.close()

    def dispose(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
        self.db.close()


class MemoryRig(_Rig):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = MemoryStore()

    def make(self) -> TaskEngine:
        return MemoryEngine(self.db, store=self._store, pace=PACE, stop_s=3.0)


class DbosRig(_Rig):
    def make(self) -> TaskEngine:
        return DbosEngine(
            self.db,
            system_database_url=sqlite_url(self.folder / "dbos.db"),
            worker="appliance",
            pace=PACE,
            times=TIMES,
            leases=LeaseTimes(beat_s=0.2, dead_s=5.0),
        )


@dataclass
class Script:
    """A flow whose steps are told what to do, and what they did."""

    kind: TaskKind = TaskKind.IMPORT_OS
    steps: tuple[str, ...] = ("one", "two", "three")
    acts: dict[str, Callable[[FlowContext], StepResult | None]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    action: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    applies: dict[str, Callable[[FlowContext], bool]] = field(default_factory=dict)

    def flow(self) -> Flow:
        steps = tuple(
            Step(
                name,
                f"Doing {name}",
                self.weights.get(name, 1.0),
                self._step(name),
                self.applies.get(name, lambda _: True),
            )
            for name in self.steps
        )
        return Flow(self.kind, steps, self._undo, self._ended, lambda _: self.action)

    def _step(self, name: str) -> Callable[[FlowContext], StepResult]:
        def run(ctx: FlowContext) -> StepResult:
            result = self.acts[name](ctx) if name in self.acts else None
            self.done.append(name)
            return result if result is not None else {"by": name}

        return run

    def _undo(self, ctx: FlowContext, reason: str) -> None:
        if "undo" in self.acts:
            self.acts["undo"](ctx)
        self.done.append(f"undo {reason}")

    def _ended(self, ctx: FlowContext, state: str) -> None:
        if "ended" in self.acts:
            self.acts["ended"](ctx)
        self.done.append(f"ended {state}")


class Gate:
    """Holds steps until it is opened; a held step looks for cancellation."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = threading.Semaphore(0)

    def __call__(self, ctx: FlowContext) -> StepResult:
        self.reached.release()
        while not self._open.wait(0.01):
            check_canceled(ctx.progress)
        return {"gate": True}

    def await_reached(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.reached.acquire(timeout=LONG_S), "the step was not reached"

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()


def new(task_id: str, *, kind: TaskKind = TaskKind.IMPORT_OS, lane: str = "", **params: Any) -> NewTask:
    subject = Subject(SubjectKind.LAYER, f"layer-{task_id}", f"Layer {task_id}")
    return NewTask(task_id, kind, (subject,), params, "admin", lane)


def record(rig: EngineRig, task_id: str) -> TaskRecord:
    with rig.db.read() as work:
        return work.tasks.get(task_id)


def lines(rig: EngineRig, task_id: str) -> list[str]:
    with rig.db.read() as work:
        found: Sequence[LogLine] = work.tasks.log_lines(task_id)
    return [line.text for line in found]


def ended(rig: EngineRig, task_id: str) -> TaskRecord:
    found = rig.engine.wait(task_id, timeout_s=LONG_S)
    assert found.state.ended or found.state is TaskState.ACTION_REQUIRED, found
    return found


def until(what: Callable[[], bool], *, timeout_s: float = LONG_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline_s, "it did not come true"
        time.sleep(0.01)


__all__ = ["CanceledError", "DbosRig", "EngineRig", "Gate", "MemoryRig", "Script"]
