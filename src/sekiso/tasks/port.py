"""The port to the workflow engine, and what a flow is.

A flow is a list of named steps. The result of each finished step is durable: after a restart the flow goes on
with the first step that has no result. A step that was cut off runs again, so every step is convergent: it
finds what is there already. Only `tasks.dbos_engine` knows the workflow library; `tasks.memory` is the
implementation for tests. Both pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sekiso.model.progress import Progress
from sekiso.model.task import NewTask, TaskKind, TaskRecord

#: What a step returns and what is kept of it: plain JSON data.
StepResult = dict[str, Any]


class FlowContext(Protocol):
    """What a step is given."""

    @property
    def task(self) -> TaskRecord:
        """The task as it was when the flow was (re)started; `params` are what matters."""
        ...

    @property
    def results(self) -> Mapping[str, StepResult]:
        """Results of the steps that have ended, by name."""
        ...

    @property
    def progress(self) -> Progress:
        """Progress of this step; its cancellation raises `CanceledError` in those who ask."""
        ...

    def command_id(self, name: str) -> str:
        """Return the durable identity of a command that this step gives to an agent.

        The same in every execution of this step of this attempt of the task; `name` tells several apart.
        """
        ...

    def log(self, text: str) -> None:
        """Add a line to the log of the task (English; translated by text where it is known)."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a flow.

    Attributes:
        name: stable name, unique in its flow.
        title: what it does, for a person.
        weight: its share of the whole percentage, in any unit.
        run: does it; returns plain data.
        applies: whether it is needed; a step that is not is left out.
    """

    name: str
    title: str
    weight: float
    run: Callable[[FlowContext], StepResult]
    applies: Callable[[FlowContext], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow.

    Attributes:
        kind: the kind of task it carries out.
        steps: in order.
        undo: removes what was half made after a cancellation (`canceled`), or after a failure
            (`failed`); convergent; an error in it is logged and tried again at the next start.
        ended: called once everything is over with the final state, in the same durable way: lets go of what
            was held. Convergent.
        waits: whether a completed flow leaves the task waiting for a person: returns the sentence of what
            to do, or None. The task is then ACTION_REQUIRED until `TaskEngine.settle` is called.
    """

    kind: TaskKind
    steps: tuple[Step, ...]
    undo: Callable[[FlowContext, str], None]
    ended: Callable[[FlowContext, str], None]
    waits: Callable[[FlowContext], str | None] = lambda _: None


class TaskEngine(Protocol):
    """Starts, cancels and retries tasks. Thread-safe. The task table is what others read."""

    def launch(self, flows: Sequence[Flow]) -> None:
        """Begin to work, and resume what was under way when the process ended."""
        ...

    def start(self, new: NewTask) -> TaskRecord:
        """Record a task and queue it; with an identifier that exists, return that task.

        The record is durable when this returns.
        """
        ...

    def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task; it is CANCELING until its undo has run. Harmless when it is already canceling.

        A task in ACTION_REQUIRED is undone too.

        Raises:
            NotFoundError: there is no such task.
            TaskStateError: it has ended.
        """
        ...

    def retry(self, task_id: str) -> TaskRecord:
        """Run a failed or canceled task again, from the first step, as its next attempt.

        Raises:
            NotFoundError: there is no such task.
            TaskStateError: it has not failed or been canceled.
        """
        ...

    def settle(self, task_id: str, result: StepResult | None = None) -> None:
        """End the wait of a task in ACTION_REQUIRED: it is COMPLETE. Harmless when it has ended."""
        ...

    def wait(self, task_id: str, *, timeout_s: float) -> TaskRecord:
        """Wait until a task has ended or requires action, at most so long; return it as it is then."""
        ...

    def close(self) -> None:
        """Stop working; what is under way is resumed at the next launch."""
        ...
