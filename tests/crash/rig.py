"""Kills workers at named points of their flows and starts them again.

Use: give the rig a factory of flows (`module:function`, see `worker.FlowsFactory`), let a worker live with
`crash_at` one of `points(flow)`, let it live again, and look at what is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sekiso import crash_points
from sekiso.model.task import TaskRecord
from sekiso.store.database.database import open_database, sqlite_url
from sekiso.tasks.port import Flow

KILLED = -signal.SIGKILL


def points(flow: Flow, *, ends: bool = True) -> list[str]:
    """Return every point of a flow: before and after each step's effect, and around its ending."""
    names = [step.name for step in flow.steps] + ([crash_points.ENDED] if ends else [])
    return [f"{flow.kind.value}:{name}:{moment}" for name in names for moment in ("before", "after")]


@dataclass(frozen=True)
class Order:
    """A task to start."""

    id: str
    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    lane: str = ""


class Zygote:
    """Starts processes that have everything imported."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fork(self, orders: dict[str, Any], *, env: dict[str, str], log: Path) -> int:
        return self._ask({"orders": orders, "env": env, "log": str(log)})

    def wait(self, pid: int) -> int:
        return self._ask({"wait": pid})

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def zygote() -> Iterator[Zygote]:
    command = [sys.executable, "-m", "tests.crash.zygote"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=root) as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


class CrashRig:
    """Workers on one pair of databases, SQLite unless URLs are given."""

    def __init__(
        self,
        parent: Zygote,
        folder: Path,
        flows: str,
        *,
        database: str | None = None,
        system_database: str | None = None,
    ) -> None:
        self._parent = parent
        self.folder = folder
        self._flows = flows
        self._database = database or sqlite_url(folder / "sekiso.db")
        self._system_database = system_database or sqlite_url(folder / "dbos.db")
        self._log = folder / "worker.log"

    def begin(
        self,
        *tasks: Order,
        crash_at: str = "",
        worker: str = "appliance",
        cancel: Sequence[str] = (),
        settle: Sequence[str] = (),
        until: str = "idle",
    ) -> int:
        """Let a worker live; return its process id."""
        orders = {
            "database": self._database,
            "system_database": self._system_database,
            "folder": str(self.folder),
            "flows": self._flows,
            "worker": worker,
            "tasks": [vars(task) for task in tasks],
            "cancel": list(cancel),
            "settle": list(settle),
            "until": until,
        }
        return self._parent.fork(orders, env={crash_points.VARIABLE: crash_at}, log=self._log)

    def end(self, pid: int) -> int:
        """Wait for the end of a worker; return its exit status, negative for a signal."""
        return self._parent.wait(pid)

    def live(self, *tasks: Order, **how: Any) -> int:
        """Let a worker live to its end; return its exit status."""
        return self.end(self.begin(*tasks, **how))

    def kill(self, pid: int) -> None:
        """Kill a worker."""
        os.kill(pid, signal.SIGKILL)
        assert self.end(pid) == KILLED

    def task(self, task_id: str) -> TaskRecord:
        """Return a task as the table has it."""
        db = open_database(self._database)
        try:
            with db.read() as work:
                return work.tasks.get(task_id)
        finally:
            db.close()

    def log(self) -> str:
        """Return what the workers said."""
        return self._log.read_text() if self._log.exists() else ""
