"""The audit history: filter, pages, export, and whether its chain is whole (OP-4)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from sekiso.console.access import Who, pages
from sekiso.console.pages.system import audit_files
from sekiso.console.pages.system.audit_details import details_of
from sekiso.console.reader import reader_of
from sekiso.console.rendering import show
from sekiso.console.subjects import place_of
from sekiso.model.library import AuditEntry, Role
from sekiso.model.listing import AuditFilter
from sekiso.model.paging import Listing
from sekiso.model.task import Subject, SubjectKind
from sekiso.web.auth import Use
from sekiso.web.bodies import LINE
from sekiso.wording import deed_of, deeds, word_of

_PATH = "/system/audit"
#: A history of at most so many entries is checked whenever it is shown: that takes no time.
_CHECKED_AT_ONCE = 2000

_pages = pages(_PATH, role=Role.ADMINISTRATOR)
_Field = Annotated[str, Query(max_length=200, pattern=LINE)]
_Offset = Annotated[int, Query(ge=0, le=1 << 31)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the fields of the filter hold, as they were sent.

    Attributes:
        text: words to find.
        actor: who did it.
        action: stable name of what was done.
        kind: kind of the object.
        since: first day, as `2026-02-03`.
        until: last day, likewise.
    """

    text: str = ""
    actor: str = ""
    action: str = ""
    kind: str = ""
    since: str = ""
    until: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for."""
        return self != Wanted()

    def query(self) -> dict[str, str]:
        """Return the query of an address that asks for the same."""
        return {
            "text": self.text,
            "actor": self.actor,
            "action": self.action,
            "kind": self.kind,
            "from": self.since,
            "to": self.until,
        }

    def filter(self, zone: tzinfo) -> AuditFilter:
        """Return which entries are wanted; days are the reader's. What cannot be is left out."""
        first, last = _day(self.since), _day(self.until)
        return AuditFilter(
            actor=self.actor or None,
            action=self.action or None,
            subject_kind=SubjectKind(self.kind) if self.kind in list(SubjectKind) else None,
            from_s=None if first is None else _midnight_s(first, zone),
            to_s=None if last is None else _midnight_s(last + timedelta(days=1), zone),
        )


def _wanted(
    text: _Field = "",
    actor: _Field = "",
    action: _Field = "",
    kind: _Field = "",
    since: Annotated[str, Query(alias="from", max_length=20)] = "",
    until: Annotated[str, Query(alias="to", max_length=20)] = "",
) -> Wanted:
    return Wanted(text.strip(), actor.strip(), action, kind, since, until)


_Wanted = Annotated[Wanted, Depends(_wanted)]


@_pages.get("")
def audit(request: Request, use: Use, who: Who, wanted: _Wanted, offset: _Offset = 0) -> Response:
    """List entries of the audit history, the newest first."""
    context = _listed(request, use, who, wanted, offset)
    language = reader_of(request).language
    context |= {
        "actions": sorted(((code, deed_of(code, language)) for code in deeds()), key=lambda pair: pair[1]),
        "kinds": [(kind.value, word_of(kind.value, language)) for kind in SubjectKind],
        "check_now": context["page"].total <= _CHECKED_AT_ONCE and not wanted.is_narrow,
    }
    return show(request, "system/audit.html", context)


@_pages.get("/rows")
def audit_rows(request: Request, use: Use, who: Who, wanted: _Wanted) -> Response:
    """List entries, as a part of the page."""
    return show(request, "system/audit_rows.html", _listed(request, use, who, wanted, 0))


@_pages.get("/chain")
def check_chain(request: Request, use: Use, who: Who) -> Response:
    """Say whether the history is whole."""
    return show(request, "system/audit_chain.html", {"verdict": use.audit.verify(who), "at_s": time.time()})


@_pages.get("/export")
def export(
    request: Request, use: Use, who: Who, wanted: _Wanted, format: Literal["csv", "jsonl"] = "csv"
) -> StreamingResponse:
    """Send the entries that match as a file, oldest first."""
    reader = reader_of(request)
    entries = use.audit.export(who, wanted.filter(reader.zone), wanted.text)
    content: Iterator[str] = audit_files.WRITERS[format](entries, reader)
    name = f"sekiso-audit-{datetime.now(reader.zone):%Y%m%d-%H%M%S}.{format}"
    return StreamingResponse(
        content,
        media_type=audit_files.MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _listed(request: Request, use: Use, who: Who, wanted: Wanted, offset: int) -> dict[str, Any]:
    reader = reader_of(request)
    page = use.audit.page(who, wanted.filter(reader.zone), Listing(text=wanted.text, offset=offset))
    return {
        "page": page,
        "wanted": wanted,
        "details_of": partial(details_of, language=reader.language),
        "place_of": _place,
    }


def _place(entry: AuditEntry) -> str:
    """Return the address of the page of what an entry is about; empty if it was deleted or has none."""
    is_gone = entry.action.endswith((".delete", ".remove", ".discard"))
    kind = SubjectKind(entry.subject_kind) if entry.subject_kind in list(SubjectKind) else None
    return "" if is_gone or kind is None else place_of(Subject(kind, entry.subject_id, entry.subject_name))


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    # One day more or less must be a date, too.
    return found if 1970 <= found.year < 9000 else None


def _midnight_s(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


router = APIRouter()
router.include_router(_pages)
