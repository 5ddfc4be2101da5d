"""The packets of the upload protocol: as Windows and IIS write them, and as an attacker would."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.transfer.packets import (
    LARGEST_SIZE_BYTES,
    PROTOCOL,
    Ack,
    CancelSession,
    CloseSession,
    ContentRange,
    CreateSession,
    Fragment,
    Hresult,
    PacketError,
    Ping,
    Request,
    format_ack,
    format_request,
    new_session_id,
    parse_ack,
    parse_content_range,
    parse_request,
)
from tests.unit.transfer.wire_data import messages, uploads

ID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"


def raw(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(a.encode("latin-1"), b.encode("latin-1")) for a, b in fields]


def test_the_transcripts_hold_what_they_should() -> None:
    kinds = [request.fields["bits-packet-type"] for request, _ in uploads()]
    first = ["Create-Session", "Fragment", "Ping", "Close-Session"]
    assert kinds == [*first, "Create-Session", "Ping", "Fragment", "Close-Session"]
    assert len(messages()) == 20


def test_requests_of_windows_are_understood() -> None:
    found = [parse_request(request.headers) for request, _ in uploads()]
    second = "{C85B4E0A-9EB9-4114-BFA4-8A43B4710091}"
    span = ContentRange(0, 4891, 4892)
    assert found == [
        CreateSession("rfc2119.txt"),
        Fragment(ID, span, "rfc2119.txt"),
        Ping(),
        CloseSession(ID),
        CreateSession("rfc2119.txt"),
        Ping(),
        Fragment(second, span, "rfc2119.txt"),
        CloseSession(second),
    ]


def test_requests_are_written_as_windows_writes_them() -> None:
    ours = (
        "bits-packet-type",
        "bits-supported-protocols",
        "bits-session-id",
        "content-range",
        "content-length",
    )
    for request, _ in uploads():
        written = {n.lower(): v for n, v in format_request(parse_request(request.headers))}
        for name in ours:
            assert written.get(name) == request.fields.get(name), (request.title, name)
        names = [n.lower() for n, _ in format_request(parse_request(request.headers))]
        theirs = [n.decode().lower() for n, _ in request.headers]
        assert names == [n for n in theirs if n in names], "in the same order"


def test_answers_of_iis_are_understood() -> None:
    acks = [parse_ack(200, answer.headers) for _, answer in uploads()]
    assert acks[0] == Ack(session_id=ID, protocol=PROTOCOL)
    assert acks[1] == Ack(next_offset=4892)
    assert acks[2] == acks[3] == Ack()
    assert acks[4].host_id == "FRANKCAO8"


def test_answers_are_written_as_iis_writes_them() -> None:
    for _, answer in uploads():
        written = {n.lower(): v for n, v in format_ack(parse_ack(200, answer.headers))}
        for name in (
            "pragma",
            "bits-packet-type",
            "bits-protocol",
            "bits-received-content-range",
            "content-length",
        ):
            assert written.get(name) == answer.fields.get(name), (answer.title, name)
        assert not [name for name in written if name.startswith("bits-error")]


def test_headers_cut_at_every_byte_are_refused_or_whole() -> None:
    for request, _ in uploads():
        whole = request.raw()
        head_bytes = whole.index(b"\r\n") + 2
        wanted = parse_request(request.headers)
        for end in range(head_bytes, len(whole)):
            lines = whole[head_bytes:end].split(b"\r\n")
            pairs = [(n, v.strip()) for n, _, v in (line.partition(b":") for line in lines) if n]
            try:
                found = parse_request(pairs)
            except PacketError as exc:
                assert exc.status == 400
            else:
                # Only what comes after the last field that counts, or inside a file's name, may be missing.
                assert type(found) is type(wanted)


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
ids = st.builds(lambda n: f"{{{n}}}".upper(), st.uuids())


@st.composite
def spans(draw: st.DrawFn) -> ContentRange:
    total = draw(st.integers(1, LARGEST_SIZE_BYTES))
    last = draw(st.integers(0, total - 1))
    return ContentRange(draw(st.integers(0, last)), last, total)


requests = st.one_of(
    st.just(Ping()),
    st.builds(CreateSession, names),
    st.builds(Fragment, ids, spans(), names),
    st.builds(CloseSession, ids),
    st.builds(CancelSession, ids),
)


@given(requests)
def test_requests_come_back(request: Request) -> None:
    assert parse_request(raw(format_request(request))) == request


@given(
    st.builds(
        Ack,
        status=st.sampled_from([200, 400, 416, 500]),
        session_id=ids | st.just(""),
        protocol=st.sampled_from(["", PROTOCOL]),
        next_offset=st.none() | st.integers(0, LARGEST_SIZE_BYTES),
        error=st.just(0),
    )
    | st.builds(
        Ack, status=st.just(500), error=st.sampled_from(list(map(int, Hresult))), error_context=st.just(5)
    )
)
def test_answers_come_back(ack: Ack) -> None:
    assert parse_ack(ack.status, raw(format_ack(ack))) == ack


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=60)), max_size=8))
def test_any_headers_give_a_packet_or_an_error(headers: list[tuple[bytes, bytes]]) -> None:
    for parse in (parse_request, lambda h: parse_ack(200, h)):
        try:
            parse(headers)
        except PacketError as exc:
            assert str(exc)


@given(st.data())
def test_a_damaged_packet_gives_a_packet_or_an_error(data: st.DataObject) -> None:
    fields = raw(format_request(data.draw(requests)))
    index = data.draw(st.integers(0, len(fields) - 1))
    fields[index] = (fields[index][0], data.draw(st.binary(max_size=50)))
    try:
        parse_request(fields)
    except PacketError as exc:
        assert exc.status == 400


FRAGMENT = format_request(Fragment(ID, ContentRange(0, 9, 100)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Range", "bytes 0-9/*"),
        ("Content-Range", "bytes */100"),
        ("Content-Range", "bytes 0-9/9"),
        ("Content-Range", "bytes 9-0/100"),
        ("Content-Range", "bytes 0-8/100"),
        ("Content-Range", "bytes -9/100"),
        ("Content-Range", "bytes ٠-٩/100"),
        ("Content-Range", "lines 0-9/100"),
        ("Content-Range", f"bytes 0-9/{1 << 63}"),
        ("Content-Range", "bytes 0-9/" + "9" * 5000),
        ("Content-Range", ""),
        ("Content-Length", "+10"),
        ("Content-Length", "1_0"),
        ("Content-Length", ""),
        ("BITS-Session-Id", ""),
        ("BITS-Session-Id", ID.strip("{}")),
        ("BITS-Session-Id", "../../etc/passwd"),
        ("BITS-Packet-Type", "Ack"),
        ("BITS-Packet-Type", ""),
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_a_wrong_field_is_an_invalid_argument(name: str, value: str) -> None:
    fields = [(n.encode(), v.encode()) for n, v in FRAGMENT if n != name]
    with pytest.raises(PacketError) as caught:
        parse_request([*fields, (name.encode(), value.encode())])
    assert (caught.value.status, caught.value.hresult) == (400, Hresult.INVALID_ARGUMENT)


@pytest.mark.parametrize("name", [n for n, _ in FRAGMENT])
def test_a_field_that_is_missing_or_there_twice(name: str) -> None:
    without = raw([(n, v) for n, v in FRAGMENT if n != name])
    twice = raw([*FRAGMENT, *((n, v) for n, v in FRAGMENT if n == name)])
    for fields in (without, twice):
        with pytest.raises(PacketError):
            parse_request(fields)


def test_only_a_fragment_has_a_body() -> None:
    fields = [(n, "5" if n == "Content-Length" else v) for n, v in format_request(Ping())]
    with pytest.raises(PacketError):
        parse_request(raw(fields))


def test_the_client_has_to_know_the_protocol() -> None:
    for value in ("", "{00000000-0000-0000-0000-000000000000}"):
        fields = [
            (n, value if n == "BITS-Supported-Protocols" else v) for n, v in format_request(CreateSession())
        ]
        with pytest.raises(PacketError):
            parse_request(raw(fields))
    many = f"{{00000000-0000-0000-0000-000000000000}}, {PROTOCOL.upper()}"
    fields = [(n, many if n == "BITS-Supported-Protocols" else v) for n, v in format_request(CreateSession())]
    assert parse_request(raw(fields)) == CreateSession()


def test_types_are_read_in_any_case() -> None:
    fields = [(n.upper(), v.upper() if "Type" in n else v) for n, v in FRAGMENT]
    assert isinstance(parse_request(raw(fields)), Fragment)
    assert parse_content_range("Bytes 0-9/100") == ContentRange(0, 9, 100)


def test_errors_carry_both_names_and_a_context() -> None:
    fields = dict(format_ack(Ack(status=500, error=Hresult.SESSION_NOT_FOUND, error_context=5)))
    assert fields["BITS-Error"] == fields["BITS-Error-Code"] == "0x8020001F"
    assert fields["BITS-Error-Context"] == "0x5"
    for text in ("0x8020001F", "x8020001F", "8020001f"):
        for name in ("BITS-Error", "BITS-Error-Code"):
            assert parse_ack(500, raw([("BITS-Packet-Type", "ACK"), (name, text)])).error == 0x8020001F


def test_session_ids_are_fresh_guids() -> None:
    made = {new_session_id() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"\{[0-9A-F-]{36}\}", text) for text in made)
