"""The audit history as files: CSV for tables, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from sekiso.console.pages.system.audit_details import details_of
from sekiso.console.reader import Reader
from sekiso.i18n import translate
from sekiso.model.library import AuditEntry
from sekiso.wording import deed_of, word_of

#: So that a spreadsheet reads it as UTF-8.
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
#: A spreadsheet would take such a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(entries: Iterable[AuditEntry], reader: Reader) -> Iterator[str]:
    """Yield entries as CSV with headings in the reader's language (RFC 4180)."""
    headings = ("Number", "Time", "Who", "Did", "Action", "To", "Name", "Identifier", "Details", "Hash")
    yield _MARK + _line([translate(heading, reader.language) for heading in headings])
    for entry in entries:
        yield _line(_row(entry, reader))


def json_lines_of(entries: Iterable[AuditEntry], reader: Reader) -> Iterator[str]:
    """Yield entries as JSON, one a line, with the names and values that the REST API has."""
    for entry in entries:
        yield json.dumps(asdict(entry), ensure_ascii=False) + "\n"


def _row(entry: AuditEntry, reader: Reader) -> Sequence[object]:
    details = details_of(entry, reader.language)
    return (
        entry.number,
        datetime.fromtimestamp(entry.time_s, UTC).astimezone(reader.zone).isoformat(timespec="seconds"),
        entry.actor,
        deed_of(entry.action, reader.language),
        entry.action,
        word_of(entry.subject_kind, reader.language),
        entry.subject_name,
        entry.subject_id,
        "; ".join(f"{detail.label}: {detail.value}" for detail in details),
        entry.hash,
    )


def _line(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_harmless(value) for value in values])
    return out.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


WRITERS: Mapping[str, Callable[[Iterable[AuditEntry], Reader], Iterator[str]]] = {
    "csv": csv_of,
    "jsonl": json_lines_of,
}
MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl; charset=utf-8",
}
