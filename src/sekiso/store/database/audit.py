"""The audit history: append-only, each entry's hash covers the one before (OP-4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from sekiso.model.canonical import canonical_json
from sekiso.model.library import AuditEntry
from sekiso.model.task import Subject
from sekiso.store.database import tables
from sekiso.store.database.columns import clamped, storable
from sekiso.store.database.errors import AuditBrokenError
from sekiso.store.database.records import Session, plain_rows

#: What the first entry's hash follows.
GENESIS = "0" * 64
_VERIFIED_AT_ONCE = 1000
_HASHED = ("number", "time_us", "actor", "action", "subject_kind", "subject_id", "subject_name", "details")


class AuditTable:
    """See `api.AuditRows`.

    The row of `audit_head` is the last entry. Transactions that write follow each other (`Database.begin`),
    so no two entries continue the same one; were they not to, the number would be taken.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection

    def append(
        self, *, actor: str, action: str, subject: Subject, details: Mapping[str, Any] | None = None
    ) -> AuditEntry:
        """Add an entry. Fractions in the details are kept as texts: they have no canonical form.

        Raises:
            AuditBrokenError: someone else has added entries.
        """
        number, previous = self._head()
        row: dict[str, Any] = {
            "number": number + 1,
            "time_us": round(self._session.clock() * 1_000_000),
            "actor": storable(actor),
            "action": storable(action),
            "subject_kind": subject.kind.value,
            "subject_id": storable(subject.id),
            "subject_name": storable(subject.name),
            "details": _exact(msgspec.to_builtins(dict(details or {}), str_keys=True)),
        }
        row["hash"] = entry_hash(previous, row)
        try:
            self._connection.execute(insert(tables.audit).values(**row))
        except IntegrityError as exc:
            raise AuditBrokenError(number=row["number"]) from exc
        head = update(tables.audit_head).values(number=row["number"], hash=row["hash"])
        self._connection.execute(head)
        return _entry(row)

    def list(
        self,
        *,
        before: int | None = None,
        limit: int = 100,
        actor: str | None = None,
        action: str | None = None,
        subject_id: str | None = None,
    ) -> Sequence[AuditEntry]:
        """Return entries that match, newest first; `action` matches a prefix."""
        columns = tables.audit.c
        query = select(tables.audit).order_by(columns.number.desc()).limit(clamped(limit))
        if before is not None:
            query = query.where(columns.number < clamped(before))
        if actor is not None:
            query = query.where(columns.actor == actor)
        if action is not None:
            query = query.where(columns.action.startswith(action, autoescape=True))
        if subject_id is not None:
            query = query.where(columns.subject_id == subject_id)
        return tuple(_entry(row) for row in plain_rows(self._connection, query))

    def verify(self) -> int | None:
        """Check the whole chain; return the number of the first entry that breaks it, None if none does.

        Entries missing from the end count as broken from the first that is missing.
        """
        number, previous = 0, GENESIS
        for row in self._rows():
            number += 1
            if row["number"] != number or row["hash"] != entry_hash(previous, row):
                return number
            previous = row["hash"]
        last, hash_ = self._head()
        return None if (last, hash_) == (number, previous) else min(last, number) + 1

    def _head(self) -> tuple[int, str]:
        columns = tables.audit_head.c
        row = self._connection.execute(select(columns.number, columns.hash)).one()
        return row[0], row[1]

    def _rows(self) -> Iterator[dict[str, Any]]:
        columns = tables.audit.c
        last = 0
        while True:
            query = select(tables.audit).where(columns.number > last).order_by(columns.number)
            rows = plain_rows(self._connection, query.limit(_VERIFIED_AT_ONCE))
            yield from rows
            if len(rows) < _VERIFIED_AT_ONCE:
                return
            last = rows[-1]["number"]


def entry_hash(previous: str, row: Mapping[str, Any]) -> str:
    """Return the hash of an entry: SHA-256 over the previous hash and the canonical JSON of its fields.

    The time is hashed as whole microseconds.
    """
    fields = {name: row[name] for name in _HASHED}
    return hashlib.sha256(previous.encode() + canonical_json(fields)).hexdigest()


def _entry(row: Mapping[str, Any]) -> AuditEntry:
    fields = {name: value for name, value in row.items() if name != "time_us"}
    return AuditEntry(time_s=row["time_us"] / 1_000_000, **fields)


def _exact(value: Any) -> Any:
    """Return plain data without floating-point numbers: whole ones as integers, others as texts."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {str(key): _exact(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
