"""The audit history: append-only, each entry's hash covers the one before (OP-4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sekiso.model.canonical import canonical_json
from sekiso.model.library import AuditEntry
from sekiso.model.listing import AuditFilter, AuditSort
from sekiso.model.paging import NO_LIMIT, Listing, Page
from sekiso.model.task import Subject
from sekiso.store.database import tables
from sekiso.store.database.api import AuditNote
from sekiso.store.database.columns import clamped, name_key, storable
from sekiso.store.database.errors import AuditBrokenError
from sekiso.store.database.paging import Order, has_words, in_order
from sekiso.store.database.records import Session, plain_rows

#: What the first entry's hash follows.
GENESIS = "0" * 64
_VERIFIED_AT_ONCE = 1000
_columns = tables.audit.c
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
        return self.append_many([AuditNote(actor, action, subject, details)])[0]

    def append_many(self, notes: Sequence[AuditNote]) -> Sequence[AuditEntry]:
        """Add entries at once; otherwise as `append`."""
        first, previous = self._head()
        rows: list[dict[str, Any]] = []
        for number, note in enumerate(notes, first + 1):
            row = self._row(number, note)
            row["hash"] = previous = entry_hash(previous, row)
            rows.append(row)
        if rows:
            self._store(rows)
        return tuple(_entry(row) for row in rows)

    def _row(self, number: int, note: AuditNote) -> dict[str, Any]:
        return {
            "number": number,
            "time_us": round(self._session.clock() * 1_000_000),
            "actor": storable(note.actor),
            "action": storable(note.action),
            "subject_kind": note.subject.kind.value,
            "subject_id": storable(note.subject.id),
            "subject_name": storable(note.subject.name),
            "details": _exact(msgspec.to_builtins(dict(note.details or {}), str_keys=True)),
        }

    def _store(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            self._connection.execute(insert(tables.audit), rows)
        except IntegrityError as exc:
            raise AuditBrokenError(number=rows[0]["number"]) from exc
        texts = [{"number": row["number"], "text": entry_text(row)} for row in rows]
        self._connection.execute(insert(tables.audit_texts), texts)
        head = update(tables.audit_head).values(number=rows[-1]["number"], hash=rows[-1]["hash"])
        self._connection.execute(head)

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
        which = AuditFilter(actor=actor, action=action, subject_id=subject_id, before=before)
        numbers = _numbers(which, ())
        return self._entries(numbers.order_by(_columns.number.desc()).limit(clamped(limit)))

    def page(self, which: AuditFilter, listing: Listing) -> Page[AuditEntry]:
        """Return a page of the entries that match; each word of the text is in who, what or the name.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        offset, limit = clamped(listing.offset), min(clamped(listing.limit), NO_LIMIT)
        numbers = _numbers(which, listing.words)
        (number,) = numbers.selected_columns
        orders: dict[str, Order] = {AuditSort.NUMBER: Order((), descending=True)}
        order = in_order(self._connection, listing, orders, number)
        rows = self._entries(numbers.order_by(*order).limit(limit).offset(offset))
        if listing.descending is False:
            rows = rows[::-1]
        counted = select(func.count()).select_from(numbers.subquery())
        return Page(rows, self._connection.execute(counted).scalar() or 0, offset, limit)

    def portion(
        self, which: AuditFilter, text: str = "", *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEntry]:
        """Return the first entries that match and have a number above `after`, oldest first."""
        numbers = _numbers(which, Listing(text).words)
        (number,) = numbers.selected_columns
        following = numbers.where(number > clamped(after)).order_by(number)
        return self._entries(following.limit(clamped(limit)))[::-1]

    def verify(self) -> int | None:
        """Check the whole chain; return the number of the first entry that breaks it, None if none does.

        Entries missing from the end count as broken from the first that is missing.
        """
        number, previous = 0, GENESIS
        for row in self._rows():
            number += 1
            text = row.pop("text")
            if row["number"] != number or row["hash"] != entry_hash(previous, row) or text != entry_text(row):
                return number
            previous = row["hash"]
        last, hash_ = self._head()
        return None if (last, hash_) == (number, previous) else min(last, number) + 1

    def _head(self) -> tuple[int, str]:
        columns = tables.audit_head.c
        row = self._connection.execute(select(columns.number, columns.hash)).one()
        return row[0], row[1]

    def _entries(self, numbers: Select[int]) -> tuple[AuditEntry, ...]:
        """Return entries, newest first."""
        # The numbers are found in indexes: rows that are passed over are never read.
        query = select(tables.audit).where(_columns.number.in_(numbers)).order_by(_columns.number.desc())
        return tuple(_entry(row) for row in plain_rows(self._connection, query))

    def _rows(self) -> Iterator[dict[str, Any]]:
        columns = tables.audit.c
        last = 0
        while True:
            query = (
                select(tables.audit, tables.audit_texts.c.text)
                .outerjoin(tables.audit_texts, tables.audit_texts.c.number == columns.number)
                .where(columns.number > last)
                .order_by(columns.number)
            )
            rows = plain_rows(self._connection, query.limit(_VERIFIED_AT_ONCE))
            yield from rows
            if len(rows) < _VERIFIED_AT_ONCE:
                return
            last = rows[-1]["number"]


def entry_text(row: Mapping[str, Any]) -> str:
    """Return what an entry is found by, as names are compared: who did what to the object of which name."""
    return name_key(f"{row['actor']} {row['action']} {row['subject_name']}")


def _numbers(which: AuditFilter, words: Sequence[str]) -> Select[int]:
    """Select the numbers of the entries that match, as `number`."""
    conditions, texts = list(_conditions(which)), tables.audit_texts.c
    if not words:
        return select(_columns.number).where(*conditions)
    query = select(texts.number).where(*has_words(words, (texts.text,)))
    if conditions:
        query = query.join(tables.audit, texts.number == _columns.number).where(*conditions)
    return query


def _conditions(which: AuditFilter) -> Iterator[ColumnElement[bool]]:
    if which.before is not None:
        yield _columns.number < clamped(which.before)
    if which.actor is not None:
        yield _columns.actor == which.actor
    if which.action is not None:
        yield _columns.action.startswith(which.action, autoescape=True)
    if which.subject_kind is not None:
        yield _columns.subject_kind == which.subject_kind.value
    if which.subject_id is not None:
        yield _columns.subject_id == which.subject_id
    if which.from_s is not None:
        yield _columns.time_us >= _microseconds(which.from_s)
    if which.to_s is not None:
        yield _columns.time_us < _microseconds(which.to_s)


def _microseconds(time_s: float) -> int:
    """Return a time as it is stored; what no entry has is as good as the nearest that one could have."""
    return round(max(0.0, min(time_s, 1e12)) * 1_000_000)


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
