"""One life of a worker: opens the databases, launches the engine, starts tasks, waits for them, closes."""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sekiso.model.task import NewTask, Subject, SubjectKind, TaskFilter, TaskKind, TaskState
from sekiso.store.database.database import Database, open_database
from sekiso.tasks.dbos_engine import DbosEngine, EngineTimes
from sekiso.tasks.leases import LeaseTimes
from sekiso.tasks.port import Flow
from sekiso.tasks.progress import Pace

#: Returns the flows of a life: given the database and the folder that all lives share.
FlowsFactory = Callable[[Database, Path], Sequence[Flow]]

TIMES = EngineTimes(poll_s=0.05, sweep_s=0.3, clean_up_s=1.0, stop_s=5.0)
LEASES = LeaseTimes(beat_s=0.2, dead_s=5.0)


def flows_of(name: str) -> FlowsFactory:
    """Return a factory by `module:function`."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def live(orders: Mapping[str, Any]) -> None:
    """Do what a rig orders.

    Args:
        orders: `database`, `system_database` (URLs), `folder`, `flows` (`module:function`), `worker`,
            `tasks` to start ({id, kind, params, lane}), `cancel` (ids to cancel once they run), `settle`
            (ids to settle once they wait), `until` ("idle": return when no task is under way; "killed").
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    db = open_database(orders["database"])
    engine = DbosEngine(
        db,
        system_database_url=orders["system_database"],
        worker=orders["worker"],
        pace=Pace(report_s=0.02, canceled_s=0.02, tries=3, backoff_s=0.05),
        times=TIMES,
        leases=LEASES,
    )
    engine.launch(flows_of(orders["flows"])(db, Path(orders["folder"])))
    for order in orders["tasks"]:
        subject = Subject(SubjectKind.LAYER, order["id"], order["id"])
        kind = TaskKind(order["kind"])
        engine.start(NewTask(order["id"], kind, (subject,), order["params"], "admin", order["lane"]))
    waiting, canceling = set(orders["settle"]), set(orders["cancel"])
    while orders["until"] == "killed" or not _idle(db):
        with db.read() as work:
            tasks = {task.id: task for task in work.tasks.list(TaskFilter(limit=1000))}
        for task_id in [t for t in waiting if tasks[t].state is TaskState.ACTION_REQUIRED]:
            engine.settle(task_id)
            waiting.discard(task_id)
        for task_id in [t for t in canceling if tasks[t].state is TaskState.RUNNING and tasks[t].step]:
            engine.cancel(task_id)
            canceling.discard(task_id)
        time.sleep(0.02)
    engine.close()
    db.close()


def _idle(db: Database) -> bool:
    states = frozenset(s for s in TaskState if not s.ended and s is not TaskState.ACTION_REQUIRED)
    with db.read() as work:
        return not work.tasks.list(TaskFilter(states=states)) and not any(
            task.step for task in work.tasks.list(TaskFilter(states=frozenset({TaskState.COMPLETE})))
        )
