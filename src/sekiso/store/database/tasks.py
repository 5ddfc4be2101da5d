"""Tasks and their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import msgspec
from sqlalchemy import ColumnElement, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from sekiso.model.listing import TaskSort
from sekiso.model.paging import Listing, Page
from sekiso.model.task import TRANSITIONS, LogLine, TaskFilter, TaskKind, TaskRecord, TaskState
from sekiso.store.database import constraints, tables
from sekiso.store.database.api import TaskStatistic
from sekiso.store.database.columns import clamped, name_key
from sekiso.store.database.library import ENDED_STATES
from sekiso.store.database.paging import Order, PagedRows
from sekiso.store.database.records import ListField

#: What identifies a task and what it was asked for stays as it is.
_CHANGEABLE = frozenset(f.name for f in fields(TaskRecord)) - {"id", "kind", "state", "subjects", "created_s"}

_SUBJECTS = ListField(
    "subjects",
    tables.task_subjects,
    tables.task_subjects.c.task_id,
    lambda item: {
        "kind": item["kind"],
        "subject_id": item["id"],
        "name": item["name"],
        "name_key": name_key(item["name"]),
    },
    lambda row: {"kind": row["kind"], "id": row["subject_id"], "name": row["name"]},
)


class TaskTable(PagedRows[TaskRecord]):
    """See `api.TaskRows`."""

    table = tables.tasks
    record_type = TaskRecord
    list_fields = (_SUBJECTS,)
    orders: ClassVar = {
        TaskSort.CREATED: Order((tables.tasks.c.created_s,), descending=True),
        TaskSort.KIND: Order((tables.tasks.c.kind,), (tables.tasks.c.created_s.desc(),)),
        TaskSort.STATE: Order((tables.tasks.c.state,), (tables.tasks.c.created_s.desc(),)),
        TaskSort.USER: Order((tables.tasks.c.requested_by_key,), (tables.tasks.c.created_s.desc(),)),
    }
    searched = ()

    def page(self, which: TaskFilter, listing: Listing) -> Page[TaskRecord]:
        """Return a page of the tasks that match; the filter's limit does not count.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        named = [_is_named(word) for word in listing.words]
        return self._page([*_conditions(which), *named], replace(listing, text=""))

    def list(self, which: TaskFilter) -> Sequence[TaskRecord]:
        """Return the tasks that match, newest first."""
        columns = tables.tasks.c
        return self._select(
            *_conditions(which),
            order_by=(columns.created_s.desc(), columns.id.desc()),
            limit=clamped(which.limit),
        )

    def move(self, task_id: str, to: TaskState, **changes: Any) -> TaskRecord | None:
        """Put a task into a state if `TRANSITIONS` allows it from the present one.

        Returns:
            The task as it is now; None if the transition is not allowed (nothing was changed).

        Raises:
            NotFoundError: there is no such task.
        """
        columns = tables.tasks.c
        before = [state.value for state, after in TRANSITIONS.items() if to in after]
        moved = self._set(
            columns.id == task_id, columns.state.in_(before), state=to.value, **_changed(changes)
        )
        task = self.get(task_id)
        return task if moved else None

    def report(self, task_id: str, **changes: Any) -> None:
        """Set attributes other than the state; harmless if the task was forgotten."""
        if changes:
            self._set(tables.tasks.c.id == task_id, **_changed(changes))

    def log(self, task_id: str, text: str) -> None:
        """Add a line to a task's log.

        Raises:
            NotFoundError: there is no such task.
        """
        columns = tables.task_log.c
        last = select(func.max(columns.number)).where(columns.task_id == task_id)
        number = (self._connection.execute(last).scalar() or 0) + 1
        line = {"task_id": task_id, "number": number, "time_s": self._session.clock(), "text": text}
        try:
            with constraints.savepoint(self._connection):
                self._connection.execute(insert(tables.task_log).values(**line))
        except IntegrityError as exc:
            raise self._not_found(task_id) from exc

    def log_lines(self, task_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[LogLine]:
        """Return lines of a task's log with a number above `after`."""
        columns = tables.task_log.c
        query = (
            select(columns.number, columns.time_s, columns.text)
            .where(columns.task_id == task_id, columns.number > clamped(after))
            .order_by(columns.number)
            .limit(clamped(limit))
        )
        return tuple(LogLine(row[0], row[1], row[2]) for row in self._connection.execute(query))

    def statistics(self) -> Sequence[TaskStatistic]:
        """Return how many tasks there are of each kind in each state."""
        columns = tables.tasks.c
        took_s = columns.ended_s - columns.started_s
        query = (
            select(
                columns.kind,
                columns.state,
                func.count(),
                func.count(took_s),
                func.coalesce(func.sum(took_s), 0.0),
                func.coalesce(func.max(took_s), 0.0),
            )
            .group_by(columns.kind, columns.state)
            .order_by(columns.kind, columns.state)
        )
        rows = self._connection.execute(query)
        return tuple(
            TaskStatistic(TaskKind(r[0]), TaskState(r[1]), r[2], r[3], float(r[4]), float(r[5])) for r in rows
        )

    def forget_ended_before(self, time_s: float) -> int:
        """Remove tasks that ended before a time, with their logs; return how many."""
        columns = tables.tasks.c
        return self._delete(columns.ended_s < time_s, columns.state.in_(ENDED_STATES))

    def _values(self, record: TaskRecord) -> dict[str, Any]:
        return {**super()._values(record), "requested_by_key": name_key(record.requested_by)}


def _changed(changes: dict[str, Any]) -> dict[str, Any]:
    strange = sorted(changes.keys() - _CHANGEABLE)
    if strange:
        raise TypeError(f"these attributes of a task cannot be changed: {', '.join(strange)}")
    values: dict[str, Any] = msgspec.to_builtins(changes)
    if "requested_by" in values:
        values["requested_by_key"] = name_key(values["requested_by"])
    return values


def _conditions(which: TaskFilter) -> list[ColumnElement[bool]]:
    columns, subjects = tables.tasks.c, tables.task_subjects.c
    found: list[ColumnElement[bool]] = []
    if which.states is not None:
        found.append(columns.state.in_(sorted(state.value for state in which.states)))
    if which.kinds is not None:
        found.append(columns.kind.in_(sorted(kind.value for kind in which.kinds)))
    if which.subject_id is not None:
        found.append(_has_subject(subjects.subject_id == which.subject_id))
    text = name_key(which.text or "")
    if text:
        found.append(_is_named(text))
    if which.before_s is not None:
        found.append(columns.created_s < which.before_s)
    return found


def _is_named(text: str) -> ColumnElement[bool]:
    by_subject = _has_subject(tables.task_subjects.c.name_key.contains(text, autoescape=True))
    return or_(tables.tasks.c.requested_by_key.contains(text, autoescape=True), by_subject)


def _has_subject(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return tables.tasks.c.id.in_(select(tables.task_subjects.c.task_id).where(condition))
