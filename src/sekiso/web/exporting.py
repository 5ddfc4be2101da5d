"""The audit history as files for spreadsheets and programs (OP-4)."""

from __future__ import annotations

import csv
import enum
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO

import msgspec

from sekiso.model.library import AuditEntry
from sekiso.web.streaming import NDJSON

#: What spreadsheet programs take for a formula at the beginning of a cell, full width too; some skip a tab
#: or a carriage return before it. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_COLUMNS = (
    *("number", "time", "actor", "action", "subject_kind", "subject_id", "subject_name", "details", "hash"),
)
_ROWS_AT_ONCE = 500


class ExportFormat(enum.StrEnum):
    """Form of a file: CSV for spreadsheets, JSON lines for programs."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is made.

    Attributes:
        media_type: its media type.
        encode: makes its parts from entries.
    """

    media_type: str
    encode: Callable[[Iterable[AuditEntry]], Iterator[bytes]]


def safe_cell(value: str) -> str:
    """Return a text that no spreadsheet program takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def csv_parts(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """Return entries as CSV (RFC 4180) in UTF-8; the mark at its beginning is what Excel knows UTF-8 by."""
    text = StringIO(newline="")
    writer = csv.writer(text)
    text.write(_BYTE_ORDER_MARK)
    writer.writerow(_COLUMNS)
    for number, entry in enumerate(entries, 1):
        writer.writerow(_cells(entry))
        if number % _ROWS_AT_ONCE == 0:
            yield _taken(text)
    yield _taken(text)


def json_parts(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    """Return entries as JSON lines, each as the API shows it."""
    encoder = msgspec.json.Encoder()
    lines: list[bytes] = []
    for entry in entries:
        lines.append(encoder.encode(entry) + b"\n")
        if len(lines) == _ROWS_AT_ONCE:
            yield b"".join(lines)
            lines.clear()
    yield b"".join(lines)


FORMATS: Mapping[ExportFormat, Form] = {
    ExportFormat.CSV: Form("text/csv; charset=utf-8", csv_parts),
    ExportFormat.JSONL: Form(NDJSON, json_parts),
}


def export_name(what: str, form: ExportFormat) -> str:
    """Return the name of a file, with today's date."""
    return f"sekiso-{what}-{datetime.now(UTC):%Y-%m-%d}.{form}"


def _cells(entry: AuditEntry) -> list[str]:
    time = datetime.fromtimestamp(entry.time_s, UTC).isoformat(timespec="milliseconds")
    details = json.dumps(entry.details, ensure_ascii=False) if entry.details else ""
    names = (entry.actor, entry.action, entry.subject_kind, entry.subject_id, entry.subject_name)
    return [str(entry.number), time, *map(safe_cell, names), safe_cell(details), entry.hash]


def _taken(text: StringIO) -> bytes:
    """Return what was written, and begin anew."""
    found = text.getvalue().encode("utf-8", "replace")
    text.seek(0)
    text.truncate()
    return found
