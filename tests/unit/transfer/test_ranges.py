"""Ranges and preconditions of downloads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.transfer.ranges import (
    Span,
    UnsatisfiableError,
    http_date,
    parse_ranges,
    precondition_status,
    range_applies,
)

TAG, TIME = '"b3-00"', 1_700_000_000


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("bytes=0-0", (Span(0, 1),)),
        ("bytes=5-", (Span(5, 95),)),
        ("bytes=-1", (Span(99, 1),)),
        ("bytes=-1000", (Span(0, 100),)),
        ("bytes=90-1000", (Span(90, 10),)),
        ("bytes=5-9, 0-1 ,5-9", (Span(5, 5), Span(0, 2), Span(5, 5))),
        ("Bytes=1-2,200-300", (Span(1, 2),)),
        ("lines=1-2", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=2-1", None),
        ("bytes=a-b", None),
        ("bytes=1-2,x", None),
        ("bytes", None),
        ("bytes=1-٣", None),
    ],
)
def test_range_header(value: str, wanted: tuple[Span, ...] | None) -> None:
    assert parse_ranges(value, 100) == wanted


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200,300-", "bytes=-0", "bytes=" + "0-1," * 65])
def test_nothing_that_can_be_sent(value: str) -> None:
    with pytest.raises(UnsatisfiableError):
        parse_ranges(value, 100)


@given(st.text(max_size=60), st.integers(0, 1 << 40))
def test_any_header_stays_inside_the_file(text: str, total: int) -> None:
    for value in (text, f"bytes={text}"):
        try:
            spans = parse_ranges(value, total) or ()
        except UnsatisfiableError:
            continue
        assert all(0 <= s.first < s.first + s.size_bytes <= total for s in spans)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"if-match": TAG}, 200),
        ({"if-match": f'"x", {TAG}'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": f"W/{TAG}"}, 412),
        ({"if-unmodified-since": http_date(TIME)}, 200),
        ({"if-unmodified-since": http_date(TIME - 1)}, 412),
        ({"if-unmodified-since": "yesterday"}, 200),
        ({"if-unmodified-since": "Mon, 01 Jan 99999999999 00:00:00 GMT"}, 200),
        ({"if-match": TAG, "if-unmodified-since": http_date(0)}, 200),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": f"W/{TAG}"}, 304),
        ({"if-none-match": '"x"', "if-modified-since": http_date(TIME)}, 200),
        ({"if-modified-since": http_date(TIME)}, 304),
        ({"if-modified-since": http_date(TIME - 1)}, 200),
    ],
)
def test_preconditions(fields: dict[str, str], status: int) -> None:
    assert precondition_status(fields, etag=TAG, modified_s=TIME) == status


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (TAG, True),
        ('"x"', False),
        (f"W/{TAG}", False),
        (http_date(TIME), True),
        (http_date(TIME + 1), False),
        ("?", False),
        (None, True),
    ],
)
def test_if_range(value: str | None, applies: bool) -> None:
    fields = {} if value is None else {"if-range": value}
    assert range_applies(fields, etag=TAG, modified_s=TIME) is applies
