"""Tasks: the bar at the bottom of every page, the history, and one task with its log (OP-1)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request, Response

from sekiso.console.access import Who, is_part, pages
from sekiso.console.answers import done
from sekiso.console.formats import stamp
from sekiso.console.reader import READER, page_language, reader_of
from sekiso.console.rendering import show
from sekiso.console.subjects import place_of
from sekiso.i18n import translate
from sekiso.model.paging import Listing
from sekiso.model.task import LogLine, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.services.core import Actor, allows
from sekiso.services.tasks import needed_role
from sekiso.web.auth import Use
from sekiso.web.services import Services
from sekiso.web.shown import shown_line, shown_task
from sekiso.wording import word_of

router = pages("/tasks")

#: As a state in the filter: whatever has not ended.
IN_PROGRESS = "in-progress"
_ACTIVE = frozenset(state for state in TaskState if not state.ended)
#: Cookies of the bar: whether it is unfolded, and which failures are not to be shown any more.
OPEN_COOKIE = "sekiso_task_bar"
DISMISSED_COOKIE = "sekiso_dismissed"
_MOST_IN_BAR, _MOST_FAILED_IN_BAR = 12, 5
_FAILED_SHOWN_S = 60.0
_MOST_DISMISSED = 20
_LOG_LINES = 1000
_Text = Annotated[str, Query(max_length=200)]


@router.get("/bar")
def bar(request: Request, use: Use, who: Who) -> Response:
    """Show what runs, what waits for a person, and what has just failed; nothing if there is nothing."""
    return _bar(request, use, who, _dismissed(request))


@router.post("/{task_id}/dismiss")
def dismiss(task_id: str, request: Request, use: Use, who: Who) -> Response:
    """Show a failure in the bar no longer."""
    dismissed = (*_dismissed(request), use.tasks.get(task_id).id)[-_MOST_DISMISSED:]
    response = _bar(request, use, who, dismissed)
    response.set_cookie(
        DISMISSED_COOKIE,
        ".".join(dismissed),
        max_age=int(2 * _FAILED_SHOWN_S),
        secure=True,
        httponly=True,
        samesite="lax",
        path="/tasks",
    )
    return response


@router.get("")
def history(
    request: Request,
    use: Use,
    who: Who,
    state: _Text = "",
    kind: _Text = "",
    subject: _Text = "",
    text: _Text = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> Response:
    """List tasks, newest first."""
    which = TaskFilter(states=_states(state), kinds=_kinds(kind), subject_id=subject or None)
    page = use.tasks.page(which, Listing(text=text, offset=offset))
    query = {"state": state, "kind": kind, "subject": subject, "text": text}
    context = {
        "page": page,
        "tasks": _shown(request, page.rows),
        "query": query,
        "subject_name": _subject_name(page.rows, subject),
        "is_filtered": any(query.values()),
        "states": _state_choices(request),
        "kinds": [(kind.value, word_of(kind.value, page_language(request))) for kind in TaskKind],
        **_rights(who, page.rows),
    }
    # A page that the browser takes from its history is a whole one.
    is_list = is_part(request) and "hx-history-restore-request" not in request.headers
    return show(request, "tasks/list.html" if is_list else "tasks/page.html", context)


@router.get("/{task_id}")
def task_page(task_id: str, request: Request, use: Use, who: Who) -> Response:
    """Show a task and its log."""
    task = use.tasks.get(task_id)
    lines = use.tasks.log(task_id)
    return show(request, "tasks/task.html", _facts(request, task, who) | _log(request, task, lines))


@router.get("/{task_id}/facts")
def task_facts(task_id: str, request: Request, use: Use, who: Who) -> Response:
    """Show how a task stands."""
    return show(request, "tasks/facts.html", _facts(request, use.tasks.get(task_id), who))


@router.get("/{task_id}/log")
def task_log(
    task_id: str, request: Request, use: Use, after: Annotated[int, Query(ge=0, le=1 << 53)] = 0
) -> Response:
    """Show the lines of a log after a line; 204 while there are none."""
    task = use.tasks.get(task_id)
    lines = use.tasks.log(task_id, after=after)
    if not lines and not task.state.ended:
        return Response(status_code=204)
    return show(request, "tasks/log.html", {**_log(request, task, lines), "last": _last(lines, after)})


@router.get("/{task_id}/log.txt")
def download_log(task_id: str, request: Request, use: Use) -> Response:
    """Return the whole log as a text file."""
    task, language = use.tasks.get(task_id), page_language(request)
    token = READER.set(reader_of(request))
    try:
        head = _headline(task, language)
        rows = [
            f"{stamp(line.time_s)}  {shown_line(line, language).text}" for line in _all_lines(use, task_id)
        ]
    finally:
        READER.reset(token)
    name = quote(f"{task.kind.value}-{task.id}.txt", safe="")
    return Response(
        "\r\n".join([head, "", *rows, ""]),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


@router.post("/{task_id}/cancel")
def cancel(task_id: str, request: Request, use: Use, who: Who) -> Response:
    """Cancel a task."""
    use.tasks.cancel(who, task_id)
    return done(request, "The task is being canceled.", refresh="sekiso:tasks")


@router.post("/{task_id}/retry")
def retry(task_id: str, request: Request, use: Use, who: Who) -> Response:
    """Run a task again."""
    use.tasks.retry(who, task_id)
    return done(request, "The task runs again.", refresh="sekiso:tasks")


def _bar(request: Request, use: Services, who: Actor, dismissed: Sequence[str]) -> Response:
    now_s = time.time()
    waiting = _some(use, frozenset({TaskState.ACTION_REQUIRED}), _MOST_IN_BAR)
    running = _some(use, _ACTIVE - {TaskState.ACTION_REQUIRED}, _MOST_IN_BAR)
    latest = use.tasks.list(TaskFilter(states=frozenset({TaskState.FAILED}), limit=50))
    since = [(task, (task.ended_s or 0.0) + _FAILED_SHOWN_S - now_s) for task in latest]
    failed = [(t, left_s) for t, left_s in since if left_s > 0 and t.id not in dismissed][
        :_MOST_FAILED_IN_BAR
    ]
    rows = [*(task for task, _ in failed), *waiting.rows, *running.rows]
    if not rows:
        return Response("", media_type="text/html")
    context = {
        "tasks": _shown(request, rows),
        "counts": {"running": running.total, "waiting": waiting.total, "failed": len(failed)},
        "more": waiting.total + running.total + len(failed) - len(rows),
        "is_open": request.cookies.get(OPEN_COOKIE) == "open",
        "again_s": int(min(left_s for _, left_s in failed)) + 1 if failed else None,
        **_rights(who, rows),
    }
    return show(request, "tasks/bar.html", context)


def _some(use: Services, states: frozenset[TaskState], limit: int) -> Any:
    return use.tasks.page(TaskFilter(states=states), Listing(limit=limit))


def _dismissed(request: Request) -> tuple[str, ...]:
    return tuple(request.cookies.get(DISMISSED_COOKIE, "")[:2000].split("."))


def _shown(request: Request, tasks: Sequence[TaskRecord]) -> list[TaskRecord]:
    language = page_language(request)
    return [shown_task(task, language) for task in tasks]


def _rights(who: Actor, tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """Return what rows need besides their tasks: who may act on them, and where their subjects are."""
    allowed = frozenset(task.id for task in tasks if allows(who, needed_role(task.kind)))
    return {"allowed": allowed, "place": place_of}


def _facts(request: Request, task: TaskRecord, who: Actor) -> dict[str, Any]:
    return {"task": shown_task(task, page_language(request)), **_rights(who, [task])}


def _log(request: Request, task: TaskRecord, lines: Sequence[LogLine]) -> dict[str, Any]:
    language = page_language(request)
    return {
        "task": shown_task(task, language),
        "lines": [shown_line(line, language) for line in lines],
        "last": _last(lines, 0),
        # The rest is asked for at once.
        "is_cut": len(lines) >= _LOG_LINES,
    }


def _last(lines: Sequence[LogLine], before: int) -> int:
    return lines[-1].number if lines else before


def _all_lines(use: Services, task_id: str) -> Iterator[LogLine]:
    last = 0
    while lines := use.tasks.log(task_id, after=last):
        yield from lines
        last = lines[-1].number


def _headline(task: TaskRecord, language: str) -> str:
    names = ", ".join(subject.name for subject in task.subjects)
    return f"{word_of(task.kind.value, language)}  {names}  {task.id}"


def _states(chosen: str) -> frozenset[TaskState] | None:
    if chosen == IN_PROGRESS:
        return _ACTIVE
    return frozenset({TaskState(chosen)}) if chosen in set(TaskState) else None


def _kinds(chosen: str) -> frozenset[TaskKind] | None:
    return frozenset({TaskKind(chosen)}) if chosen in set(TaskKind) else None


def _state_choices(request: Request) -> list[tuple[str, str]]:
    language = page_language(request)
    choices = [(state.value, word_of(state.value, language)) for state in TaskState]
    return [(IN_PROGRESS, translate("Not ended", language)), *choices]


def _subject_name(tasks: Sequence[TaskRecord], subject_id: str) -> str:
    """Return what an object was last called by its tasks; its identifier if there are none."""
    names = (s.name for task in tasks for s in task.subjects if s.id == subject_id)
    return next(names, subject_id)
