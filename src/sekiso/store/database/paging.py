"""Rows of long lists: narrowed, sorted and cut by the database, the same way by SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from sqlalchemy import ColumnElement, Connection, collate, false, func, or_, select
from sqlalchemy.types import TypeEngine

from sekiso.errors import RuleError
from sekiso.model.paging import NO_LIMIT, Listing, Page
from sekiso.store.database.columns import PlainText, clamped
from sekiso.store.database.records import RecordRows

R = TypeVar("R")
T = TypeVar("T")

#: So many identifiers are passed in one query.
IDS_PER_QUERY = 1000


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort a list.

    Attributes:
        by: what to sort by; the direction is that of all of them, and of the identifier that comes last.
        then: what decides between equal rows before the identifier does, always upwards.
        descending: whether people expect it from the highest.
    """

    by: tuple[ColumnElement[Any], ...]
    then: tuple[ColumnElement[Any], ...] = ()
    descending: bool = False


def has_words(words: Sequence[str], columns: Sequence[ColumnElement[str]]) -> list[ColumnElement[bool]]:
    """Return conditions: each word is in one of the columns, which hold texts as they are compared."""
    return [or_(false(), *(column.contains(word, autoescape=True) for column in columns)) for word in words]


def in_order(
    connection: Connection, listing: Listing, orders: Mapping[str, Order], last: ColumnElement[Any]
) -> list[ColumnElement[Any]]:
    """Return what to sort by.

    Args:
        connection: the connection; PostgreSQL has to be told to sort by code points.
        listing: what is asked for.
        orders: what the list can be sorted by; the first is its own order.
        last: makes the order one that is always the same.

    Raises:
        RuleError: it cannot be sorted by that.
    """
    order = orders.get(listing.sort or next(iter(orders)))
    if order is None:
        raise RuleError(
            field="sort",
            reason="This list cannot be sorted by that.",
            remedy=f"Choose one of these: {', '.join(orders)}.",
        )
    is_descending = order.descending if listing.descending is None else listing.descending

    def directed(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if is_descending else column.asc()

    def sortable(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return by_code_points(connection, column)

    return [
        *(directed(sortable(column)) for column in order.by),
        *(sortable(column) for column in order.then),
        directed(sortable(last)),
    ]


def by_code_points(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column as it is sorted: text by code points, whatever the database's collation is."""
    kind: TypeEngine[Any] = column.type
    if connection.dialect.name == "postgresql" and isinstance(kind, PlainText):
        return collate(column, "C")
    return column


def portions(items: Sequence[T], size: int = IDS_PER_QUERY) -> Iterator[Sequence[T]]:
    """Cut a list into portions that one query takes."""
    return (items[start : start + size] for start in range(0, len(items), size))


class PagedRows(RecordRows[R]):
    """Records that are listed a page at a time.

    Attributes:
        orders: what they can be sorted by; the first is their own order.
        searched: columns with names as they are compared.
    """

    orders: ClassVar[Mapping[str, Order]]
    searched: ClassVar[tuple[ColumnElement[str], ...]]

    def names(self, record_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the names of those records that there are, by identifier."""
        found: dict[str, str] = {}
        for some in portions(list(dict.fromkeys(record_ids))):
            query = select(self.table.c.id, self.table.c["name"]).where(self.table.c.id.in_(some))
            found.update((row[0], row[1]) for row in self._connection.execute(query))
        return found

    def _page(self, conditions: Sequence[ColumnElement[bool]], listing: Listing) -> Page[R]:
        """Return a page of the records that match, with the words of the listing in what is searched."""
        where = [*conditions, *has_words(listing.words, self.searched)]
        offset, limit = clamped(listing.offset), min(clamped(listing.limit), NO_LIMIT)
        rows = self._select(
            *where,
            order_by=in_order(self._connection, listing, self.orders, self.table.c.id),
            limit=limit,
            offset=offset,
        )
        is_end = 0 < len(rows) < limit or (not rows and not offset and limit > 0)
        total = offset + len(rows) if is_end else self._count(where)
        return Page(rows, total, offset, limit)

    def _count(self, where: Sequence[ColumnElement[bool]]) -> int:
        query = select(func.count()).select_from(self.table).where(*where)
        return self._connection.execute(query).scalar() or 0
