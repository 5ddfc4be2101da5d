"""Tasks as users see them: history, log, cancel, retry (OP-1)."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.model.library import Role
from sekiso.model.paging import Listing, Page
from sekiso.model.task import LogLine, Subject, SubjectKind, TaskFilter, TaskKind, TaskRecord
from sekiso.services.core import Actor, Core, require

#: Tasks that publishers may start, and so cancel and retry; all others are of layer managers.
_PUBLISHERS = frozenset({TaskKind.PUBLISH_IMAGE, TaskKind.BOOT_TEST, TaskKind.DELETE_IMAGE})


class TaskService:
    """Tasks."""

    def __init__(self, core: Core) -> None:
        """Serve the tasks of an appliance."""
        self._core = core

    def list(self, which: TaskFilter) -> Sequence[TaskRecord]:
        """Return the tasks that match, newest first."""
        with self._core.db.read() as work:
            return tuple(work.tasks.list(which))

    def page(self, which: TaskFilter, listing: Listing | None = None) -> Page[TaskRecord]:
        """Return a page of the tasks that match, sorted by `TaskSort`; the filter's limit does not count.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self._core.db.read() as work:
            return work.tasks.page(which, listing or Listing())

    def get(self, task_id: str) -> TaskRecord:
        """Return a task.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.read() as work:
            return work.tasks.get(task_id)

    def log(self, task_id: str, *, after: int = 0) -> Sequence[LogLine]:
        """Return lines of a task's log with a number above `after`.

        Raises:
            NotFoundError: there is no such task.
        """
        with self._core.db.read() as work:
            work.tasks.get(task_id)
            return tuple(work.tasks.log_lines(task_id, after=after))

    def wait(self, task_id: str, *, timeout_s: float) -> TaskRecord:
        """Wait until a task has ended or requires action, at most so long.

        Raises:
            NotFoundError: there is no such task.
        """
        return self._core.tasks.wait(task_id, timeout_s=timeout_s)

    def cancel(self, actor: Actor, task_id: str) -> TaskRecord:
        """Cancel a task; what it has half made is removed.

        Raises:
            NotFoundError: there is no such task.
            NotAllowedError: the user may not start such a task either.
            TaskStateError: it has ended.
        """
        return self._act(actor, task_id, "cancel")

    def retry(self, actor: Actor, task_id: str) -> TaskRecord:
        """Run a failed or canceled task again.

        Raises:
            NotFoundError: there is no such task.
            NotAllowedError: the user may not start such a task either.
            TaskStateError: it has not failed or been canceled.
        """
        return self._act(actor, task_id, "retry")

    def _act(self, actor: Actor, task_id: str, what: str) -> TaskRecord:
        task = self.get(task_id)
        require(actor, needed_role(task.kind))
        done = self._core.tasks.cancel(task_id) if what == "cancel" else self._core.tasks.retry(task_id)
        with self._core.db.begin() as work:
            subject = Subject(SubjectKind.TASK, task.id, task.kind.value)
            work.audit.append(actor=actor.name, action=f"task.{what}", subject=subject)
        return done


def needed_role(kind: TaskKind) -> Role:
    """Return the role that may start tasks of a kind, and so cancel and retry them."""
    return Role.PUBLISHER if kind in _PUBLISHERS else Role.LAYER_MANAGER
