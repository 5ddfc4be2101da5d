"""Parameters that many routes have: of paths, and of lists that come a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query, Response

from sekiso.model.paging import NO_LIMIT, Listing, Page
from sekiso.web.bodies import LINE

Ref = Annotated[
    str, Path(min_length=1, max_length=200, pattern=LINE, description="Identifier or name of the object.")
]
Id = Annotated[str, Path(min_length=1, max_length=200, pattern=LINE, description="Identifier of the object.")]

T = TypeVar("T")

#: A filter of a list by a name or identifier.
Filter = Annotated[str | None, Query(max_length=200, pattern=LINE)]
Text = Annotated[
    str,
    Query(
        max_length=200,
        pattern=LINE,
        description="Words that each row has in its names; case and width do not count.",
    ),
]
Descending = Annotated[
    bool | None,
    Query(description="From the highest; left out: names from the first, others from the newest or most."),
]
Offset = Annotated[int, Query(ge=0, le=1 << 31, description="So many rows before the first.")]
Limit = Annotated[int | None, Query(ge=1, le=1000, description="At most so many rows; left out: all.")]

TOTAL = "X-Total-Count"
#: Of a route that lists a page at a time.
PAGED: Mapping[str, Any] = {
    "responses": {
        200: {
            "headers": {
                TOTAL: {
                    "description": "How many rows there are altogether, of those that match.",
                    "schema": {"type": "integer"},
                }
            }
        }
    }
}


def listing_of(
    text: str, sort: str | None, *, descending: bool | None, offset: int, limit: int | None
) -> Listing:
    """Return what is asked for by the parameters of a list."""
    return Listing(text, sort or "", descending, offset, NO_LIMIT if limit is None else limit)


def rows_of(response: Response, page: Page[T]) -> tuple[T, ...]:
    """Answer the rows of a page; how many there are altogether is in a header."""
    response.headers[TOTAL] = str(page.total)
    return page.rows
