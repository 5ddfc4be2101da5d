"""The report of a guest, read from whatever comes over the serial port."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sekiso.guests.report import GateReason, GuestReport, ReportReader, parse_report

BOOT = (
    b'SEKISO {"event":"boot","version":1,"boot_id":"b1","os":"Debian","kernel":"6.1","host":"h",'
    b'"firmware":"uefi","secure_boot":true,"lockdown":"integrity","uptime_s":5.45}'
)
LINES = (
    BOOT,
    b'SEKISO {"event":"packages","count":110,"sha256":"72ab"}',
    b'SEKISO {"event":"services","state":"degraded","failed":["a.service","b.service"],"uptime_s":5.65}',
    b'SEKISO {"event":"gate","ok":false,"reasons":[{"code":"reboot-required","detail":"linux"}]}',
    b'SEKISO {"event":"hook","name":"10-app","status":0,"output":"one\\ntwo"}',
    b'SEKISO {"event":"run-once-started","name":"disk run.sh"}',
    b'SEKISO {"event":"run-once","name":"disk run.sh","status":3,"started_s":1.5,"ended_s":4,"output":"x"}',
    b'SEKISO {"event":"ready","uptime_s":6.37}',
    b'SEKISO {"event":"finalize","ok":true,"forced":false,"freed_kib":2616}',
    b'SEKISO {"event":"poweroff","uptime_s":19.21}',
)
WHOLE = b"\n" + b"\n\n".join(LINES) + b"\n"


def test_every_event_is_taken_in() -> None:
    report = parse_report(WHOLE)
    assert report.booted
    assert (report.firmware, report.secure_boot, report.lockdown) == ("uefi", True, "integrity")
    assert (report.package_count, report.packages_sha256) == (110, "72ab")
    assert report.failed_services == ("a.service", "b.service")
    assert report.gate is not None
    assert report.gate.reasons == (GateReason("reboot-required", "linux"),)
    assert report.hooks[0].output == "one\ntwo"
    assert [(r.status, r.duration_s) for r in report.run_once] == [(3, 2.5)]
    assert report.finalize is not None
    assert report.finalize.freed_kib == 2616
    assert report.ready
    assert report.powering_off


@given(st.lists(st.integers(1, 200), max_size=40))
@settings(max_examples=30, deadline=None)
def test_where_the_bytes_are_cut_does_not_matter(sizes: list[int]) -> None:
    reader = ReportReader()
    rest = WHOLE
    for size in sizes:
        reader.feed(rest[:size])
        rest = rest[size:]
    reader.feed(rest)
    assert reader.report == parse_report(WHOLE)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_garbage_before_and_after_a_line_does_no_harm(noise: bytes) -> None:
    noise = noise.replace(b"SEKISO", b"")
    assert parse_report(noise + WHOLE + noise).host == "h"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda kids: st.lists(kids, max_size=3) | st.dictionaries(st.text(max_size=5), kids, max_size=3),
    max_leaves=6,
)
KEYS = ("boot_id", "count", "failed", "reasons", "uptime_s", "status", "started_s", "ended_s", "ok", "name")


@given(
    st.sampled_from(["boot", "packages", "services", "gate", "hook", "run-once", "finalize", "ready", "new"]),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_values_of_any_type_are_survived(event: str, values: dict[str, object]) -> None:
    line = b"SEKISO " + json.dumps({**values, "event": event}).encode() + b"\n"
    assert isinstance(parse_report(line), GuestReport)


def test_a_cut_off_line_is_ignored_and_the_next_one_read() -> None:
    report = parse_report(b'SEKISO {"event":"boot","boot_i\n\nSEKISO {"event":"ready"}\r\n')
    assert not report.booted
    assert report.ready


def test_console_text_in_front_of_a_line_is_cut_off() -> None:
    assert parse_report(b'[  1.0] noise SEKISO {"event":"ready"}\n').ready


def test_a_second_start_begins_a_new_report() -> None:
    reader = ReportReader()
    reader.feed(WHOLE)
    reader.feed(LINES[0].replace(b'"b1"', b'"b2"') + b"\n")
    assert reader.report.boot_id == "b2"
    assert not reader.report.ready
    assert [r.boot_id for r in reader.earlier] == ["b1"]


def test_a_line_without_end_takes_no_memory() -> None:
    reader = ReportReader()
    for _ in range(10):
        reader.feed(b"x" * 100_000)
    reader.feed(b"\n" + LINES[7] + b"\n")
    assert reader.report.ready


def test_huge_numbers_are_dropped() -> None:
    text = b'SEKISO {"event":"run-once","name":"x","status":1%s,"started_s":1%s,"ended_s":2}\n'
    report = parse_report(text % (b"0" * 400, b"0" * 400))
    assert report.run_once[0].status is None
    assert report.run_once[0].duration_s is None
