"""Follows tasks to their end: progress, what a person has to do, errors, and what Ctrl-C means."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click
import msgspec

from sekiso.cli.follow_view import make_view, name_text
from sekiso.cli.language import say
from sekiso.cli.output import print_json, printable
from sekiso.cli.remote import part
from sekiso.cli.reporting import hint, report
from sekiso.cli.words import remark, word
from sekiso.errors import CanceledError, Family
from sekiso.model.task import TaskRecord, TaskState

if TYPE_CHECKING:
    from sekiso.cli.client import ApplianceClient

#: An appliance that is restarted is back within this; tasks go on then.
_PATIENCE_S = 300.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 1.0
_GROWTH = 1.3

Stop = Callable[[TaskRecord], bool]


class InterruptedFollowing(KeyboardInterrupt):
    """Ctrl-C was pressed while a task is followed."""


def task_record(data: Any) -> TaskRecord:
    """Return a task as the appliance sends it; members that it added are ignored."""
    return msgspec.convert(data, TaskRecord)


def task_records(answer: Any) -> list[TaskRecord]:
    """Return the tasks of an answer: one, or a list of them."""
    several = cast("dict[str, Any]", answer).get("tasks") if isinstance(answer, dict) else answer
    items = cast("list[object]", several) if isinstance(several, list) else [cast("object", answer)]
    return [task_record(item) for item in items]


def needs_nothing_more(task: TaskRecord) -> bool:
    """Whether a task has ended or waits for a person."""
    return task.state.ended or task.state is TaskState.ACTION_REQUIRED


def has_ended(task: TaskRecord) -> bool:
    """Whether a task has ended."""
    return task.state.ended


def follow(
    appliance: ApplianceClient,
    tasks: Sequence[TaskRecord],
    *,
    quiet: bool = False,
    stop: Stop = needs_nothing_more,
) -> list[TaskRecord]:
    """Show tasks while they work.

    Ctrl-C asks whether to cancel them or to leave them running; without a terminal they are left running.

    Args:
        appliance: where they run.
        tasks: the tasks.
        quiet: show nothing.
        stop: whether a task need not be followed any more.

    Returns:
        The tasks as they are at the end; one that was left running is not ended.
    """
    now = {task.id: task for task in tasks}
    while True:
        try:
            with _interruptible():
                _watch(appliance, now, quiet=quiet, stop=stop)
            return list(now.values())
        except InterruptedFollowing:
            if not _asks_to_cancel():
                return list(now.values())
        for task in now.values():
            if not task.state.ended:
                now[task.id] = task_record(appliance.post(f"/tasks/{part(task.id)}/cancel"))
        stop = has_ended


def _watch(appliance: ApplianceClient, now: dict[str, TaskRecord], *, quiet: bool, stop: Stop) -> None:
    pause_s = _FIRST_PAUSE_S
    with make_view(quiet=quiet) as view:
        for task in now.values():
            view.show(task)
        while waiting := [task for task in now.values() if not stop(task)]:
            time.sleep(pause_s)
            pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
            for task in waiting:
                data = appliance.get(f"/tasks/{part(task.id)}", patience_s=_PATIENCE_S)
                now[task.id] = task_record(data)
                view.show(now[task.id])


@contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C interrupt only the following; other signals end the command as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise InterruptedFollowing


def _asks_to_cancel() -> bool:
    if not _on_terminal():
        return False
    click.echo(err=True)
    try:
        return click.confirm(say("Cancel the task? No leaves it running."), default=False, err=True)
    except (click.Abort, KeyboardInterrupt):
        return False


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def finish(
    appliance: ApplianceClient,
    answer: Any,
    *,
    no_wait: bool,
    as_json: bool,
    quiet: bool = False,
    stop: Stop = needs_nothing_more,
    always_list: bool = False,
) -> list[TaskRecord]:
    """Follow the tasks that an answer names, show how they ended, and exit by their errors.

    Args:
        appliance: where they run.
        answer: a task, or a list of tasks, as the appliance sends them.
        no_wait: only say which tasks were started.
        as_json: print the tasks as JSON, and nothing else.
        quiet: show no progress.
        stop: whether a task need not be followed any more.
        always_list: print a list for a single task, too.

    Raises:
        click.exceptions.Exit: a task failed, was canceled, or was left running.
    """
    tasks = task_records(answer)
    if not no_wait:
        tasks = follow(appliance, tasks, quiet=quiet or as_json, stop=stop)
    if as_json:
        several = always_list or isinstance(answer, list)
        print_json({"tasks": tasks} if several else tasks[0])
    else:
        for task in tasks:
            show_end(task)
    exit_by(tasks, no_wait=no_wait)
    return tasks


def exit_by(tasks: Sequence[TaskRecord], *, no_wait: bool = False) -> None:
    """Exit by the first task that did not do what it should.

    Raises:
        click.exceptions.Exit: there is one.
    """
    codes = (exit_code(task, no_wait=no_wait) for task in tasks)
    worst = next((code for code in codes if code), 0)
    if worst:
        raise click.exceptions.Exit(worst)


def exit_code(task: TaskRecord, *, no_wait: bool = False) -> int:
    """Return the exit code that a task stands for."""
    match task.state:
        case TaskState.COMPLETE | TaskState.ACTION_REQUIRED:
            return 0
        case TaskState.FAILED:
            family = str((task.error or {}).get("family", "")).upper()
            return (Family[family] if family in Family.__members__ else Family.INTERNAL).value
        case TaskState.CANCELED:
            return Family.CANCELED.value
        case _:
            return 0 if no_wait else Family.CANCELED.value


def show_end(task: TaskRecord) -> None:
    """Show how a task stands, and what its reader can do."""
    name = name_text(task)
    match task.state:
        case TaskState.COMPLETE:
            click.echo(say("{what}: {name} is done.", what=word(task.kind), name=name))
        case TaskState.ACTION_REQUIRED:
            click.echo(printable(remark(task.action)))
            hint(say("The task waits: sekiso task show {task}", task=task.id))
        case TaskState.FAILED:
            from sekiso.cli.api_error import error_from_task  # noqa: PLC0415 (only after a failure)

            report(error_from_task(task.error or {}), as_json=False)
            hint(say("Its log: sekiso task log {task}", task=task.id))
        case TaskState.CANCELED:
            report(CanceledError(), as_json=False)
        case _:
            click.echo(say("{what}: {name} is task {task}.", what=word(task.kind), name=name, task=task.id))
            hint(say("Follow it: sekiso task wait {task}", task=task.id))
