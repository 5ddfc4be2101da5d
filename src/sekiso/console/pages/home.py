"""The start page: leads a new user to the first published image, and later shows how things stand."""

from __future__ import annotations

from fastapi import Request, Response

from sekiso.console.access import is_part, pages
from sekiso.console.journey import active_tasks, count, steps
from sekiso.console.rendering import show
from sekiso.model.task import TaskFilter
from sekiso.web.auth import Use

router = pages()
_SHOWN_TASKS = 6


@router.get("/")
def home(request: Request, use: Use) -> Response:
    """Show the start page, or what of it changes while tasks run."""
    counts, active = count(use), active_tasks(use)
    way = steps(counts, active)
    context = {
        "counts": counts,
        "steps": way,
        "is_new": not all(step.is_done for step in way),
        "done": sum(step.is_done for step in way),
        "recent": use.tasks.list(TaskFilter(limit=_SHOWN_TASKS)),
    }
    return show(request, "home/standing.html" if is_part(request) else "home/page.html", context)
