"""Storing frozen dataclasses in tables: what every table of records does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Select, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sekiso.errors import AlreadyExistsError, InUseError, NotFoundError, SekisoError
from sekiso.store.database import constraints
from sekiso.store.database.columns import name_key

R = TypeVar("R")

#: So many identifiers are passed in one query.
_IDS_PER_QUERY = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """What the tables of one transaction share.

    Attributes:
        connection: the connection, in a transaction.
        clock: Unix seconds.
    """

    connection: Connection
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class ListField:
    """A field that is a list, kept in a table of its own.

    Attributes:
        name: the field.
        table: its table; it has a column `position`.
        owner: the table's column with the record's identifier.
        columns: makes the other columns from an item as plain data.
        item: makes an item as plain data from a row.
    """

    name: str
    table: Table[Any]
    owner: Column[str]
    columns: Callable[[Any], dict[str, Any]]
    item: Callable[[dict[str, Any]], Any]


def version_list(name: str, table: Table[Any]) -> ListField:
    """Return a field that lists identifiers of layer versions."""
    return ListField(
        name, table, table.c["owner_id"], lambda item: {"version_id": item}, lambda row: row["version_id"]
    )


class RecordRows(Generic[R]):
    """One table of records that have an identifier; see `api.Rows`."""

    table: ClassVar[Table[Any]]
    record_type: ClassVar[type[Any]]
    list_fields: ClassVar[tuple[ListField, ...]] = ()

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection

    def add(self, record: R) -> None:
        """Store a new record.

        Raises:
            AlreadyExistsError: its identifier or its name is taken.
            NotFoundError: it refers to something that does not exist.
        """
        values, lists = self._split(record)
        self._write(values, lambda: self._insert(values, lists))

    def add_many(self, records: Iterable[R]) -> None:
        """Store new records at once, which is far quicker than one by one.

        Raises:
            SekisoError: as for `add`, of the first that is refused; none is stored.
        """
        parts = [self._split(record) for record in records]
        try:
            with constraints.savepoint(self._connection):
                self._insert_many(parts)
        except IntegrityError:
            # One by one, the one that is refused says why.
            with constraints.savepoint(self._connection):
                for values, lists in parts:
                    self._write(values, partial(self._insert, values, lists))

    def get(self, record_id: str) -> R:
        """Return a record by its identifier.

        Raises:
            NotFoundError: there is none.
        """
        found = self.find(record_id)
        if found is None:
            raise self._not_found(record_id)
        return found

    def find(self, record_id: str) -> R | None:
        """Return a record by its identifier; None if there is none."""
        found = self._select(self.table.c.id == record_id)
        return found[0] if found else None

    def replace(self, record: R) -> None:
        """Store a changed record in place of the one with its identifier.

        Raises:
            NotFoundError: there is none, or it refers to something that does not exist.
            AlreadyExistsError: its name is taken.
        """
        values, lists = self._split(record)
        self._write(values, lambda: self._update(values, lists))

    def remove(self, record_id: str) -> None:
        """Remove a record; harmless if there is none.

        Raises:
            InUseError: others refer to it.
        """
        try:
            with constraints.savepoint(self._connection):
                self._connection.execute(delete(self.table).where(self.table.c.id == record_id))
        except IntegrityError as exc:
            raise InUseError(
                what=constraints.what(self.table),
                name=self._label(record_id),
                users=", ".join(self._user_names(record_id)),
            ) from exc

    def all(self) -> Sequence[R]:
        """Return every record, sorted by name if it has one, else by creation."""
        return self._select()

    # --- for the tables -------------------------------------------------------------------------------

    def _values(self, record: R) -> dict[str, Any]:
        """Return the record as plain data, with columns that only the table has."""
        return msgspec.to_builtins(record)

    def _order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Sort rows where the query did not; code points, whatever the database's collation is."""
        return sorted(rows, key=lambda row: (row["created_s"], row["id"]))

    def _label(self, record_id: str) -> str:
        """Return what a person calls a record."""
        row = self._connection.execute(select(self.table).where(self.table.c.id == record_id)).mappings()
        found = row.first()
        return record_id if found is None else str(found.get("name") or record_id)

    def _user_names(self, record_id: str) -> Iterable[str]:
        """Return what refers to a record and so keeps it from being removed."""
        return constraints.referring_names(self._connection, self.table, record_id)

    def _select(
        self,
        *where: ColumnElement[bool],
        order_by: Sequence[ColumnElement[Any]] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[R, ...]:
        query = select(self.table).where(*where).order_by(*order_by)
        if limit is not None:
            query = query.limit(limit).offset(offset)
        rows = plain_rows(self._connection, query)
        if not order_by and len(rows) > 1:
            rows = self._order(rows)
        for field in self.list_fields:
            self._fill(field, rows)
        return tuple(msgspec.convert(row, self.record_type) for row in rows)

    def _set(self, *where: ColumnElement[bool], **values: Any) -> int:
        """Change rows; return how many."""
        return self._connection.execute(update(self.table).where(*where).values(**values)).rowcount

    def _delete(self, *where: ColumnElement[bool]) -> int:
        """Delete rows; return how many."""
        return self._connection.execute(delete(self.table).where(*where)).rowcount

    def _not_found(self, reference: str) -> NotFoundError:
        return constraints.not_found(self.table, reference)

    # --- inside ---------------------------------------------------------------------------------------

    def _split(self, record: R) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        values = self._values(record)
        return values, {field.name: list(values.pop(field.name)) for field in self.list_fields}

    def _write(self, values: dict[str, Any], write: Callable[[], None]) -> None:
        try:
            with constraints.savepoint(self._connection):
                write()
        except IntegrityError as exc:
            explained = self._explained(constraints.taken(exc), values)
            if explained is None:
                raise
            raise explained from exc

    def _explained(self, taken: str | None, values: dict[str, Any]) -> SekisoError | None:
        if taken is None:
            return constraints.missing_reference(self._connection, self.table, values)
        by_name = "name_key" in taken and "name" in values
        return AlreadyExistsError(
            what=constraints.what(self.table),
            name=values["name"] if by_name else values["id"],
            remedy="Choose another name." if by_name else "Use another identifier.",
        )

    def _insert(self, values: dict[str, Any], lists: dict[str, list[Any]]) -> None:
        self._connection.execute(insert(self.table).values(**values))
        for field in self.list_fields:
            self._insert_list(field, values["id"], lists[field.name])

    def _insert_many(self, parts: Sequence[tuple[dict[str, Any], dict[str, list[Any]]]]) -> None:
        if parts:
            self._connection.execute(insert(self.table), [values for values, _ in parts])
        for field in self.list_fields:
            rows = [row for values, lists in parts for row in _rows(field, values["id"], lists[field.name])]
            self._insert_rows(field, rows)

    def _update(self, values: dict[str, Any], lists: dict[str, list[Any]]) -> None:
        if not self._set(self.table.c.id == values["id"], **values):
            raise self._not_found(values["id"])
        for field in self.list_fields:
            self._connection.execute(delete(field.table).where(field.owner == values["id"]))
            self._insert_list(field, values["id"], lists[field.name])

    def _insert_list(self, field: ListField, record_id: str, items: Sequence[Any]) -> None:
        self._insert_rows(field, _rows(field, record_id, items))

    def _insert_rows(self, field: ListField, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            constraints.require_versions(self._connection, rows)
            self._connection.execute(insert(field.table), rows)

    def _fill(self, field: ListField, rows: list[dict[str, Any]]) -> None:
        by_id = {row["id"]: row for row in rows}
        for row in rows:
            row[field.name] = []
        ids = list(by_id)
        for start in range(0, len(ids), _IDS_PER_QUERY):
            query = (
                select(field.table)
                .where(field.owner.in_(ids[start : start + _IDS_PER_QUERY]))
                .order_by(field.owner, field.table.c["position"])
            )
            for item in plain_rows(self._connection, query):
                by_id[item[field.owner.name]][field.name].append(field.item(item))


def _rows(field: ListField, record_id: str, items: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {field.owner.name: record_id, "position": position, **field.columns(item)}
        for position, item in enumerate(items)
    ]


class NamedRecordRows(RecordRows[R]):
    """Records whose names are unique; see `api.NamedRows`."""

    def by_reference(self, reference: str) -> R:
        """Return the record with this identifier, or else with this name.

        Raises:
            NotFoundError: there is neither.
        """
        found = self.find(reference) or self._by_name(reference)
        if found is None:
            raise self._not_found(reference)
        return found

    def _by_name(self, name: str) -> R | None:
        found = self._select(self.table.c.name_key == name_key(name))
        return found[0] if found else None

    def _values(self, record: R) -> dict[str, Any]:
        return with_key(super()._values(record))

    def _order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["name_key"], row["id"]))


def plain_rows(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the rows of a query as plain data; keys are `str`, no subclass, as msgspec wants them."""
    result = connection.execute(query)
    names = [str(name) for name in result.keys()]  # noqa: SIM118 (a result is no dictionary)
    return [dict(zip(names, row, strict=True)) for row in result]


def with_key(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record's values with the key that its name is compared by."""
    return {**values, "name_key": name_key(values["name"])}
