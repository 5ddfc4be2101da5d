"""Long lists, a page at a time: what is asked for, and what comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sekiso.model.names import comparable_name

T = TypeVar("T")

PAGE_ROWS = 50
#: As a limit: every row.
NO_LIMIT = 2**31 - 1
_MAX_WORDS = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """Which rows of a list are asked for, and in which order. Each list says what it can be sorted by.

    Attributes:
        text: words that each row has, anywhere in its names; case and width do not count.
        sort: what to sort by; empty = the list's own order.
        descending: from the highest; None = as people expect it: names from the first, all others from the
            newest, largest or most.
        offset: so many rows before the first.
        limit: at most so many rows.
    """

    text: str = ""
    sort: str = ""
    descending: bool | None = None
    offset: int = 0
    limit: int = PAGE_ROWS

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text as they are compared; beyond some, the rest is one."""
        return tuple(comparable_name(self.text).split(" ", _MAX_WORDS - 1)) if self.text.strip() else ()


#: Every row, in the list's own order.
EVERYTHING = Listing(limit=NO_LIMIT)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list.

    Attributes:
        rows: the rows.
        total: how many there are altogether, of those that match.
        offset: so many are before the first.
        limit: at most so many were asked for.
    """

    rows: tuple[T, ...]
    total: int
    offset: int
    limit: int

    @property
    def first(self) -> int:
        """Number of the first row, from 1; 0 if the page is empty."""
        return self.offset + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """Number of the last row, from 1; 0 if the page is empty."""
        return self.offset + len(self.rows) if self.rows else 0

    @property
    def has_more(self) -> bool:
        """Whether rows follow."""
        return self.offset + len(self.rows) < self.total and bool(self.rows)
