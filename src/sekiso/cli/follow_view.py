"""How tasks that are followed are shown: bars on a terminal, lines in a log, or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sekiso.cli.output import human_bytes, printable
from sekiso.cli.words import step_words, word
from sekiso.model.task import TaskRecord, TaskState

_LOG_EVERY_PERCENT = 10
_RATE_OVER_S = 10.0


class TaskView(Protocol):
    """Shows how tasks go on."""

    def show(self, task: TaskRecord) -> None:
        """Show a task as it is now."""
        ...

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop showing; what was shown stays."""
        ...


class Rate:
    """How fast the current step of a task moves, over the last seconds."""

    def __init__(self) -> None:
        self._step = ""
        self._seen: list[tuple[float, int]] = []

    def per_second(self, task: TaskRecord, now_s: float) -> float | None:
        """Take note of a task as it is now; return bytes per second, None if not known."""
        if task.step != self._step or (self._seen and task.done < self._seen[-1][1]):
            self._step, self._seen = task.step, []
        self._seen = [s for s in self._seen if now_s - s[0] <= _RATE_OVER_S]
        self._seen.append((now_s, task.done))
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s - first_s >= 1 and last > first else None


def amount_text(task: TaskRecord, rate: float | None = None) -> str:
    """Return how much of the current step is done: `1.2 GiB / 3.4 GiB, 110.0 MiB/s`; may be empty."""
    if task.unit != "bytes" or not (task.done or task.total):
        return ""
    text = human_bytes(task.done) + (f" / {human_bytes(task.total)}" if task.total else "")
    return f"{text}, {human_bytes(round(rate))}/s" if rate else text


def stage_text(task: TaskRecord) -> str:
    """Return where a task stands: its step while it runs, else its state."""
    running = task.state in (TaskState.RUNNING, TaskState.CANCELING) and task.step
    text = step_words(task.step) if running and task.state is TaskState.RUNNING else word(task.state)
    return printable(text)


def name_text(task: TaskRecord) -> str:
    """Return what a task is about: the name of its main subject."""
    return printable(task.subjects[0].name if task.subjects else word(task.kind))


class BarView:
    """A bar per task on standard error."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            console=Console(stderr=True),
        )
        self._rows: dict[str, TaskID] = {}
        self._rates: dict[str, Rate] = {}

    def show(self, task: TaskRecord) -> None:
        """Move the task's bar."""
        rate = self._rates.setdefault(task.id, Rate()).per_second(task, time.monotonic())
        description = f"{name_text(task)}: {stage_text(task)}"
        amount = "" if task.state.ended else amount_text(task, rate)
        if task.id not in self._rows:
            self._rows[task.id] = self._bars.add_task(description, total=100, amount=amount)
        row = self._rows[task.id]
        self._bars.update(row, completed=task.percent, description=description, amount=amount)
        if task.state.ended:
            self._bars.stop_task(row)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._bars.stop()


class LineView:
    """A line per step and per ten percent, for logs."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, int]] = {}

    def show(self, task: TaskRecord) -> None:
        """Say what is new of a task."""
        tens = int(task.percent) // _LOG_EVERY_PERCENT
        now = (stage_text(task), tens)
        if self._said.get(task.id) == now:
            return
        self._said[task.id] = now
        amount = amount_text(task)
        tail = f" ({amount})" if amount and not task.state.ended else ""
        click.echo(f"{name_text(task)}: {now[0]} {task.percent:.0f} %{tail}", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        return None


class QuietView(LineView):
    """Says nothing."""

    def show(self, task: TaskRecord) -> None:
        """Ignore the task."""


def make_view(*, quiet: bool) -> TaskView:
    """Return the view that fits: none if `quiet`, bars on a terminal, lines elsewhere."""
    if quiet:
        return QuietView()
    return BarView() if sys.stderr.isatty() else LineView()


def records_table(tasks: Sequence[TaskRecord]) -> list[tuple[object, ...]]:
    """Return the rows of a table of tasks: id, what, about, state, percent, step."""
    return [
        (t.id, word(t.kind), name_text(t), word(t.state), f"{t.percent:.0f} %", step_words(t.step))
        for t in tasks
    ]
