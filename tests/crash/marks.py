"""A flow whose steps make files: each effect once by its key, each execution counted."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sekiso.errors import SekisoError
from sekiso.model.progress import check_canceled
from sekiso.model.task import TaskKind
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.port import Flow, FlowContext, Step, StepResult

STEPS = ("copy", "convert", "register")
FACTORY = "tests.crash.marks:flows"


def flows(db: DatabasePort, folder: Path) -> Sequence[Flow]:
    """The same flow as two kinds; one waits for a person at its end."""
    marks = Marks(folder)
    return [marks.flow(TaskKind.PUBLISH_IMAGE, None), marks.flow(TaskKind.CREATE_LAYER, "Act.")]


class Marks:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "marks"
        self.folder.mkdir(exist_ok=True)
        self._executions = folder / "executions"

    def flow(self, kind: TaskKind, action: str | None) -> Flow:
        steps = tuple(Step(name, name.title(), 1.0, self._step(name)) for name in STEPS)
        return Flow(kind, steps, self._undo, self._ended, lambda _: action)

    def executions(self) -> Counter[str]:
        """How often each step was begun, by task and step."""
        return Counter(self._executions.read_text().split()) if self._executions.exists() else Counter()

    def made(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def _step(self, name: str):
        def run(ctx: FlowContext) -> StepResult:
            self._count(ctx, name)
            key = f"{ctx.task.id}.{name}"
            # Convergent: made under its key once, whoever comes later finds it.
            made = not (self.folder / key).exists()
            self._mark(key)
            if ctx.task.params.get("fail") == name:
                raise SekisoError(reason="as ordered")
            pause_s = ctx.task.params.get("pause_s", 0.0)
            while pause_s > 0:
                check_canceled(ctx.progress)
                time.sleep(0.02)
                pause_s -= 0.02
            return {"key": key, "pid": os.getpid(), "before": list(ctx.results), "made": made}

        return run

    def _undo(self, ctx: FlowContext, reason: str) -> None:
        self._count(ctx, f"undo-{reason}")
        for name in STEPS:
            (self.folder / f"{ctx.task.id}.{name}").unlink(missing_ok=True)

    def _ended(self, ctx: FlowContext, state: str) -> None:
        self._count(ctx, f"ended-{state}")
        self._mark(f"{ctx.task.id}.ended-{state}")

    def _mark(self, key: str) -> None:
        (self.folder / key).touch()

    def _count(self, ctx: FlowContext, name: str) -> None:
        handle = os.open(self._executions, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, f"{ctx.task.id}.{name}\n".encode())
        os.close(handle)
