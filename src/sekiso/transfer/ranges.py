"""Range requests and preconditions of HTTP: pure rules.

Source: RFC 9110 sections 13 and 14. [MC-BUP] 3.5.5 adds: ranges are answered in the order asked for, never
merged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

#: More ranges than that in one request are refused (RFC 9110 14.2 allows it); BITS asks for a few.
MOST_RANGES = 64
_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a file.

    Attributes:
        first: offset of the first byte.
        size_bytes: how many.
    """

    first: int
    size_bytes: int

    def content_range(self, total_bytes: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.first}-{self.first + self.size_bytes - 1}/{total_bytes}"


class UnsatisfiableError(Exception):
    """No range asked for is in the file, or there are too many."""


def parse_ranges(value: str, total_bytes: int) -> tuple[Span, ...] | None:
    """Read a Range header.

    Args:
        value: the header.
        total_bytes: size of the file.

    Returns:
        The ranges in the order asked for, or None for a header to be ignored (another unit, malformed).

    Raises:
        UnsatisfiableError: nothing of it is in the file.
    """
    unit, _, rest = value.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    specs = [text.strip() for text in rest.split(",") if text.strip()]
    if len(specs) > MOST_RANGES:
        raise UnsatisfiableError
    found: list[Span] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-" or (match[1] and match[2] and int(match[2]) < int(match[1])):
            return None
        span = _span(match[1], match[2], total_bytes)
        if span is not None:
            found.append(span)
    if specs and not found:
        raise UnsatisfiableError
    return tuple(found) or None


def _span(first_text: str, last_text: str, total_bytes: int) -> Span | None:
    if not first_text:
        size = min(int(last_text), total_bytes)
        return Span(total_bytes - size, size) if size else None
    first = int(first_text)
    last = min(int(last_text), total_bytes - 1) if last_text else total_bytes - 1
    return Span(first, last - first + 1) if first < total_bytes else None


def http_date(seconds: int) -> str:
    """Return a time as HTTP writes it."""
    return formatdate(seconds, usegmt=True)


def precondition_status(fields: Mapping[str, str], *, etag: str, modified_s: int) -> int:
    """Return 412 or 304 if a precondition of a GET or HEAD says so, else 200.

    Source: RFC 9110 13.2.2, the order of evaluation.
    """
    if "if-match" in fields:
        if not _names_tag(fields["if-match"], etag, weak=False):
            return 412
    elif (limit_s := _date(fields.get("if-unmodified-since"))) is not None and modified_s > limit_s:
        return 412
    if "if-none-match" in fields:
        return 304 if _names_tag(fields["if-none-match"], etag, weak=True) else 200
    since_s = _date(fields.get("if-modified-since"))
    return 304 if since_s is not None and modified_s <= since_s else 200


def range_applies(fields: Mapping[str, str], *, etag: str, modified_s: int) -> bool:
    """Whether If-Range lets the Range header count.

    Source: RFC 9110 13.1.5: strong comparison of tags, dates only when equal.
    """
    value = fields.get("if-range")
    if value is None:
        return True
    return value == etag if value.startswith(('"', "W/")) else _date(value) == modified_s


def _names_tag(value: str, etag: str, *, weak: bool) -> bool:
    if value.strip() == "*":
        return True
    tags = [text.strip() for text in value.split(",")]
    return etag in [tag.removeprefix("W/") if weak else tag for tag in tags]


def _date(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
