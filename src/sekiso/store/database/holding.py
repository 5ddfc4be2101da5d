"""One task at a time works on a version or an image."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import Column, or_, select
from sqlalchemy.exc import IntegrityError

from sekiso.errors import BusyError
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database import constraints, tables
from sekiso.store.database.records import RecordRows

R = TypeVar("R")


class HeldRows(RecordRows[R]):
    """Records that a task can hold."""

    def _hold(self, record_id: str, task_id: str) -> R:
        """Let a task work on a record; once for all who try at the same time. Again by the same task: fine.

        Raises:
            BusyError: another task holds it; names that task.
            NotFoundError: there is no such record or task.
        """
        holder = self._holder
        free = or_(holder.is_(None), holder == task_id)
        try:
            with constraints.savepoint(self._connection):
                held = self._set(self.table.c.id == record_id, free, holder_task_id=task_id)
        except IntegrityError as exc:
            raise constraints.not_found(tables.tasks, task_id) from exc
        if not held:
            raise self._busy(record_id)
        return self.get(record_id)

    def _let_go(self, record_id: str, task_id: str) -> None:
        """End the hold of a task; harmless if it has none."""
        self._set(self.table.c.id == record_id, self._holder == task_id, holder_task_id=None)

    @property
    def _holder(self) -> Column[str | None]:
        return self.table.c.holder_task_id

    def _busy(self, record_id: str) -> Exception:
        query = select(self._holder).where(self.table.c.id == record_id)
        row = self._connection.execute(query).first()
        if row is None:
            return self._not_found(record_id)
        return BusyError(
            what=constraints.what(self.table),
            name=self._label(record_id),
            holder=self._task_label(str(row[0])),
            task=str(row[0]),
        )

    def _task_label(self, task_id: str) -> str:
        """Return what a task does and about what."""
        kind = tables.tasks.c.kind
        row = self._connection.execute(select(kind).where(tables.tasks.c.id == task_id)).first()
        subjects = tables.task_subjects.c
        query = select(subjects.name).where(subjects.task_id == task_id).order_by(subjects.position).limit(1)
        subject = self._connection.execute(query).first()
        return " ".join(str(found[0]) for found in (row, subject) if found is not None)

    def _holder_subject(self, task_id: str) -> Subject:
        return Subject(SubjectKind.TASK, task_id, self._task_label(task_id))
