"""How the lists of these pages are asked for: search, order and place, in the address of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from sekiso.model.paging import Listing


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list is asked for.

    Attributes:
        text: words to search for.
        sort: what to sort by; empty = the list's own order.
        order: `asc` or `desc`; empty = as people expect it.
        offset: so many rows before the first.
    """

    text: str = ""
    sort: str = ""
    order: str = ""
    offset: int = 0

    @property
    def listing(self) -> Listing:
        """The same for a service."""
        descending = None if not self.order else self.order == "desc"
        return Listing(self.text, self.sort, descending, self.offset)

    @property
    def query(self) -> Mapping[str, Any]:
        """What addresses of other pages of the list carry."""
        return {"text": self.text, "sort": self.sort, "order": self.order}


def _asked(
    text: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=20)] = "",
    order: Literal["", "asc", "desc"] = "",
    offset: Annotated[int, Query(ge=0, le=1 << 30)] = 0,
) -> Asked:
    return Asked(text, sort, order, offset)


#: What the address of a list says, as a parameter of a route.
Listed = Annotated[Asked, Depends(_asked)]
