"""Progress on a terminal (bars with percent), in a log (a line every ten percent), or not at all."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from sekiso.cli.words import step_words

_LOG_EVERY_PERCENT = 10


class BarProgress:
    """Bars on standard error, one per step; finished steps stay with their time."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._current: TaskID | None = None

    def step(self, name: str, *, total: int | None = None) -> None:
        """Finish the step before and show a bar for this one."""
        self._finish()
        self._current = self._bars.add_task(step_words(name), total=total)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._current is not None:
            self._bars.update(self._current, completed=done)

    def canceled(self) -> bool:
        """Return False: on a terminal, Ctrl-C cancels."""
        return False

    def _finish(self) -> None:
        if self._current is not None:
            task = self._bars.tasks[self._bars.task_ids.index(self._current)]
            total = task.total if task.total is not None else max(task.completed, 1)
            self._bars.update(self._current, total=total, completed=total)
            self._bars.stop_task(self._current)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()


class LineProgress:
    """A line per step and per ten percent, for logs."""

    def __init__(self) -> None:
        self._name = ""
        self._total: int | None = None
        self._said = 0

    def step(self, name: str, *, total: int | None = None) -> None:
        """Say that a step begins."""
        self._name, self._total, self._said = step_words(name), total, 0
        click.echo(f"{self._name} …", err=True)

    def advance(self, done: int) -> None:
        """Say how far it is, every ten percent."""
        if not self._total:
            return
        percent = min(100, done * 100 // self._total)
        if percent >= self._said + _LOG_EVERY_PERCENT:
            self._said = percent - percent % _LOG_EVERY_PERCENT
            click.echo(f"{self._name} {self._said} %", err=True)

    def canceled(self) -> bool:
        """Return False: the process is ended by a signal."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        return None


class QuietProgress(LineProgress):
    """Says nothing."""

    def step(self, name: str, *, total: int | None = None) -> None:
        """Ignore the step."""

    def advance(self, done: int) -> None:
        """Ignore the amount."""


def make_progress(*, quiet: bool) -> BarProgress | LineProgress:
    """Return the progress that fits: none if `quiet`, bars on a terminal, lines elsewhere."""
    if quiet:
        return QuietProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
