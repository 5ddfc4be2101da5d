"""`sekiso task`: what the appliance is doing, and has done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sekiso.cli.follow_view import amount_text, name_text, records_table
from sekiso.cli.following import (
    exit_by,
    finish,
    has_ended,
    needs_nothing_more,
    show_end,
    task_record,
    task_records,
)
from sekiso.cli.help import SekisoGroup
from sekiso.cli.language import say
from sekiso.cli.options import json_option, quiet_option
from sekiso.cli.output import print_json, print_pairs, print_table, printable
from sekiso.cli.remote import connect, listed, moment, no_wait_option, part, views
from sekiso.cli.reporting import report
from sekiso.cli.words import remark, step_words, word
from sekiso.model.task import LogLine, TaskKind, TaskRecord, TaskState

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from sekiso.cli.client import ApplianceClient

_OPEN = tuple(state for state in TaskState if not state.ended)
_LOG_LINES = 1000
_WATCH_EVERY_S = 1.0


@click.group(cls=SekisoGroup)
def task() -> None:
    """Tasks, their progress, their logs."""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415 (for the shell only)

    from sekiso.errors import SekisoError  # noqa: PLC0415

    del ctx, param
    try:
        with connect() as appliance:
            tasks = task_records(appliance.get("/tasks", {"limit": 50}, patience_s=0))
    except (SekisoError, OSError):  # a shell that asks for completions can show no error
        return []
    return [CompletionItem(t.id, help=name_text(t)) for t in tasks if t.id.startswith(incomplete)]


@task.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([s.value for s in TaskState]),
    help="Only this state.",
)
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice([k.value for k in TaskKind]), help="Only this kind."
)
@click.option("--open", "only_open", is_flag=True, help="Only tasks that have not ended.")
@click.option("--subject", help="Only tasks about the object with this identifier.")
@click.option("--text", help="Only tasks with this text in a subject's or user's name.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
def list_(
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    only_open: bool,
    subject: str | None,
    text: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List tasks, the newest first."""
    wanted = states or (tuple(s.value for s in _OPEN) if only_open else ())
    params = {
        "state": list(wanted) or None,
        "kind": list(kinds) or None,
        "subject": subject,
        "text": text,
        "limit": limit,
    }
    with connect() as appliance:
        answer = appliance.get("/tasks", params)
    if as_json:
        print_json(listed("tasks", answer))
        return
    tasks = task_records(answer)
    rows = [(*row, moment(t.created_s)) for row, t in zip(records_table(tasks), tasks, strict=True)]
    print_table(["Task", "Kind", "About", "State", "Percent", "Step", "Begun"], rows, right=[4])


@task.command("show")
@click.argument("task_id", shell_complete=_complete)
@json_option
def show(task_id: str, as_json: bool) -> None:
    """Show a task."""
    with connect() as appliance:
        answer = appliance.get(f"/tasks/{part(task_id)}")
    if as_json:
        print_json(answer)
        return
    found = task_record(answer)
    print_pairs(
        [
            ("Task", found.id),
            ("Kind", word(found.kind)),
            ("About", ", ".join(f"{s.name} ({word(s.kind)})" for s in found.subjects)),
            ("State", word(found.state)),
            ("Percent", f"{found.percent:.0f} %"),
            ("Step", step_words(found.step)),
            ("Amount", amount_text(found)),
            ("What to do", remark(found.action)),
            ("Asked for by", found.requested_by),
            ("Attempt", found.attempt),
            ("Asked for", moment(found.created_s)),
            ("Begun", moment(found.started_s)),
            ("Ended", moment(found.ended_s)),
        ]
    )
    if found.error is not None:
        from sekiso.cli.api_error import error_from_task  # noqa: PLC0415 (slow import)

        report(error_from_task(found.error), as_json=False)


@task.command("log")
@click.argument("task_id", shell_complete=_complete)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the task has ended.")
@json_option
def log(task_id: str, following: bool, as_json: bool) -> None:
    """Print the log of a task."""
    lines: list[dict[str, Any]] = []
    with connect() as appliance:
        after = 0
        while True:
            ended = has_ended(task_record(appliance.get(f"/tasks/{part(task_id)}"))) if following else True
            new = _new_lines(appliance, task_id, after)
            after = new[-1]["number"] if new else after
            lines += new if as_json else []
            if not as_json:
                _print_lines(new)
            if len(new) >= _LOG_LINES:
                continue
            if ended:
                break
            time.sleep(_WATCH_EVERY_S)
    if as_json:
        print_json({"lines": lines})


def _new_lines(appliance: ApplianceClient, task_id: str, after: int) -> list[dict[str, Any]]:
    return views(appliance.get(f"/tasks/{part(task_id)}/log", {"after": after}))


def _print_lines(lines: Sequence[dict[str, Any]]) -> None:
    for item in lines:
        line = LogLine(item["number"], item["time_s"], item["text"])
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time_s))
        click.echo(f"{stamp}  {printable(remark(line.text))}")


@task.command("cancel")
@click.argument("task_id", shell_complete=_complete)
@no_wait_option
@quiet_option
@json_option
def cancel(task_id: str, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Cancel a task; what it half made is removed."""
    with connect() as appliance:
        tasks = [task_record(appliance.post(f"/tasks/{part(task_id)}/cancel"))]
        if not no_wait:
            from sekiso.cli.following import follow  # noqa: PLC0415

            tasks = follow(appliance, tasks, quiet=quiet or as_json, stop=has_ended)
    if as_json:
        print_json(tasks[0])
    else:
        click.echo(say("The task {task} is: {state}.", task=task_id, state=word(tasks[0].state)))
    if tasks[0].state is TaskState.FAILED:
        exit_by(tasks)


@task.command("retry")
@click.argument("task_id", shell_complete=_complete)
@no_wait_option
@quiet_option
@json_option
def retry(task_id: str, no_wait: bool, quiet: bool, as_json: bool) -> None:
    """Run a task again that failed or was canceled."""
    with connect() as appliance:
        answer = appliance.post(f"/tasks/{part(task_id)}/retry")
        finish(appliance, answer, no_wait=no_wait, as_json=as_json, quiet=quiet)


@task.command("wait")
@click.argument("task_ids", nargs=-1, required=True, shell_complete=_complete)
@click.option("--ended", is_flag=True, help="Wait on while a person has to do something.")
@quiet_option
@json_option
def wait(task_ids: tuple[str, ...], ended: bool, quiet: bool, as_json: bool) -> None:
    """Follow tasks until they have ended or somebody has to do something."""
    stop = has_ended if ended else needs_nothing_more
    with connect() as appliance:
        answers = [appliance.get(f"/tasks/{part(task_id)}") for task_id in task_ids]
        answer = answers if len(answers) > 1 else answers[0]
        finish(appliance, answer, no_wait=False, as_json=as_json, quiet=quiet, stop=stop)


@task.command("watch")
@click.option("--once", is_flag=True, help="Show the tasks once and return.")
@json_option
def watch(once: bool, as_json: bool) -> None:
    """Show the tasks that have not ended, until Ctrl-C."""
    with connect() as appliance:
        if once or as_json:
            tasks = _open_tasks(appliance)
            print_json({"tasks": tasks}) if as_json else _print_open(tasks)
            return
        while True:
            tasks = _open_tasks(appliance)
            click.clear()
            _print_open(tasks)
            time.sleep(_WATCH_EVERY_S)


def _open_tasks(appliance: ApplianceClient) -> list[TaskRecord]:
    return task_records(appliance.get("/tasks", {"state": [s.value for s in _OPEN], "limit": 100}))


def _print_open(tasks: Sequence[TaskRecord]) -> None:
    if not tasks:
        click.echo(say("No task is under way."))
        return
    rows = [(*row, amount_text(t)) for row, t in zip(records_table(tasks), tasks, strict=True)]
    print_table(["Task", "Kind", "About", "State", "Percent", "Step", "Amount"], rows, right=[4])
    for found in tasks:
        if found.state is TaskState.ACTION_REQUIRED:
            show_end(found)
