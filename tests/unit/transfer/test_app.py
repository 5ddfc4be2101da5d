"""The application without a network: what it answers, and that a cut at any byte loses nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sekiso.transfer.grants import Direction, Grants, MemoryGrantStore, Ticket
from sekiso.transfer.manifest import LEAF_BYTES, LeafHasher, Manifest
from sekiso.transfer.packets import (
    Ack,
    CancelSession,
    CloseSession,
    ContentRange,
    CreateSession,
    Fragment,
    Hresult,
    Ping,
    Request,
    format_request,
    parse_ack,
)
from sekiso.transfer.server import TransferApp
from sekiso.transfer.sessions import DiskSessionStore, MemorySessionStore, Sessions
from tests.unit.transfer.asgi_client import Answer, ask
from tests.unit.transfer.wire_data import uploads

T = TypeVar("T")
TRANSCRIPT_BYTES = os.urandom(4892)


def manifest_of(data: bytes) -> Manifest:
    hasher = LeafHasher()
    hasher.update(data)
    return hasher.manifest()


@dataclass
class Rig:
    app: TransferApp
    grants: Grants
    sessions: Sessions
    folder: Path

    def upload_ticket(self, data: bytes, name: str = "up.bin", *, is_agreed: bool = True) -> Ticket:
        return self.grants.issue(
            principal="agent-1",
            direction=Direction.UPLOAD,
            path=self.folder / name,
            valid_s=60.0,
            manifest=manifest_of(data) if is_agreed else None,
        )

    def download_ticket(self, data: bytes, name: str = "down.bin") -> Ticket:
        path = self.folder / name
        path.write_bytes(data)
        return self.grants.issue(
            principal="agent-1",
            direction=Direction.DOWNLOAD,
            path=path,
            valid_s=60.0,
            manifest=manifest_of(data),
            modified_s=1_700_000_000,
        )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    grants = Grants(MemoryGrantStore())
    sessions = Sessions(DiskSessionStore(tmp_path / "sessions"))
    app = TransferApp(grants, sessions, threads=2)
    yield Rig(app, grants, sessions, tmp_path)
    app.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def post(
    rig: Rig, ticket: Ticket, request: Request, body: bytes = b"", *, is_cut: bool = False, **extra: Any
) -> tuple[Ack, Answer]:
    headers = [(n.encode(), v.encode()) for n, v in format_request(request)]
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
    path = ticket.url_path(with_secret=True)
    answer = await ask(rig.app, "BITS_POST", path, headers, pieces, is_cut=is_cut, **extra)
    raw = [(n.encode(), v.encode()) for n, v in answer.fields.items()]
    return parse_ack(answer.status, raw), answer


def fragment(session: str, data: bytes, first: int, last: int | None = None) -> tuple[Fragment, bytes]:
    end = len(data) if last is None else last + 1
    return Fragment(session, ContentRange(first, end - 1, len(data))), data[first:end]


async def create(rig: Rig, ticket: Ticket) -> str:
    ack, _ = await post(rig, ticket, CreateSession("x"))
    assert ack.status == 200
    return ack.session_id


def test_the_transcripts_replayed(rig: Rig) -> None:
    """What Windows sent to IIS gets from us what IIS answered."""

    async def replay() -> None:
        ticket, session = rig.upload_ticket(TRANSCRIPT_BYTES), ""
        for request, theirs in uploads()[:4]:
            changed = [
                (n, session.encode() if n.lower() == b"bits-session-id" else v) for n, v in request.headers
            ]
            body = TRANSCRIPT_BYTES if "Content-Range" in dict(format_request(_parse(changed))) else b""
            ours = await ask(rig.app, "BITS_POST", ticket.url_path(with_secret=True), changed, [body])
            session = session or ours.fields["bits-session-id"]
            assert ours.status == 200
            for name in ("pragma", "bits-packet-type", "bits-protocol", "content-length", "accept-encoding"):
                assert ours.fields.get(name) == theirs.fields.get(name), (request.title, name)
            assert ours.fields.get("bits-received-content-range") == theirs.fields.get(
                "bits-received-content-range"
            )

    run(replay())
    assert (rig.folder / "up.bin").read_bytes() == TRANSCRIPT_BYTES


def _parse(headers: list[tuple[bytes, bytes]]) -> Request:
    from sekiso.transfer.packets import parse_request

    return parse_request(headers)


class Inline(Executor):
    """Runs at once what is given to it: thousands of requests, without the cost of threads."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 (it goes to the one who asked)
            future.set_exception(exc)
        return future


def test_the_transcripts_body_cut_at_every_byte(tmp_path: Path) -> None:
    """After each cut the durable prefix is exactly what came, and the upload goes on from there."""
    # A memory store, where durable means synced: the disk's fdatasync would only make this slow.
    store, grants = MemorySessionStore(), Grants(MemoryGrantStore())
    sessions = Sessions(store)
    rig = Rig(TransferApp(grants, sessions, pool=Inline()), grants, sessions, tmp_path)
    data = TRANSCRIPT_BYTES

    async def cut_everywhere() -> None:
        for end in range(len(data) + 1):
            ticket = rig.upload_ticket(data, f"cut-{end}")
            session = await create(rig, ticket)
            request, body = fragment(session, data, 0)
            ack, _ = await post(rig, ticket, request, body[:end], is_cut=True)
            assert ack.next_offset == end
            assert ack.status == (200 if end == len(data) else 416)
            store.lose_power()
            sessions.close()
            ack, _ = await post(rig, ticket, request, body)
            assert (ack.status, ack.next_offset) == (200, len(data))
            ack, _ = await post(rig, ticket, CloseSession(session))
            assert ack.status == 200
            assert store.published.pop(str(ticket.grant.path)) == data
            sessions.discard(session)

    run(cut_everywhere())


def test_offsets_follow_the_rules(rig: Rig) -> None:
    data = os.urandom(1000)

    async def steps() -> None:
        ticket = rig.upload_ticket(data)
        session = await create(rig, ticket)
        for first, last, status, next_offset in [
            (0, 99, 200, 100),
            (200, 299, 416, 100),
            (0, 99, 416, 100),
            (0, 49, 416, 100),
            (50, 199, 200, 200),
            (200, 999, 200, 1000),
            (200, 999, 200, 1000),
            (0, 99, 416, 1000),
        ]:
            ack, answer = await post(rig, ticket, *fragment(session, data, first, last))
            assert (ack.status, ack.next_offset, ack.session_id) == (status, next_offset, session)
            assert not [name for name in answer.fields if name.startswith("bits-error")]
        for _ in range(3):
            ack, _ = await post(rig, ticket, CloseSession(session))
            assert (ack.status, ack.session_id) == (200, session)
        ack, _ = await post(rig, ticket, *fragment(session, data, 200, 999))
        assert (ack.status, ack.next_offset) == (200, 1000), "the last acknowledgement was lost"

    run(steps())
    assert (rig.folder / "up.bin").read_bytes() == data
    assert not list(rig.folder.glob(".*")), "nothing half is left"


def test_a_total_that_changes_is_an_invalid_argument(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"", is_agreed=False)
        session = await create(rig, ticket)
        ack, _ = await post(rig, ticket, Fragment(session, ContentRange(0, 9, 100)), bytes(10))
        assert ack.next_offset == 10
        ack, _ = await post(rig, ticket, Fragment(session, ContentRange(10, 19, 101)), bytes(10))
        assert (ack.status, ack.error, ack.error_context) == (400, Hresult.INVALID_ARGUMENT, 5)
        other = rig.upload_ticket(bytes(50), "other")
        session = await create(rig, other)
        ack, _ = await post(rig, other, Fragment(session, ContentRange(0, 9, 51)), bytes(10))
        assert (ack.status, ack.error) == (400, Hresult.INVALID_ARGUMENT)

    run(steps())


def test_sessions_belong_to_url_and_principal(rig: Rig) -> None:
    async def steps() -> None:
        mine, theirs = rig.upload_ticket(b"x" * 10, "a"), rig.upload_ticket(b"x" * 10, "b")
        session = await create(rig, mine)
        for request in (
            fragment(session, b"x" * 10, 0),
            (CloseSession(session), b""),
            (CancelSession(session), b""),
        ):
            ack, answer = await post(rig, theirs, *request)
            assert (ack.status, ack.error, ack.error_context) == (500, Hresult.SESSION_NOT_FOUND, 5)
            assert answer.fields["bits-error"] == answer.fields["bits-error-code"] == "0x8020001F"
        ack, _ = await post(rig, mine, *fragment(session, b"x" * 10, 0))
        assert ack.next_offset == 10

    run(steps())


def test_a_canceled_session_is_gone(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"x" * 10)
        session = await create(rig, ticket)
        await post(rig, ticket, *fragment(session, b"x" * 10, 0, 4))
        ack, _ = await post(rig, ticket, CancelSession(session))
        assert ack.status == 200
        for request in (CancelSession(session), CloseSession(session)):
            ack, _ = await post(rig, ticket, request)
            assert ack.error == Hresult.SESSION_NOT_FOUND
        assert await create(rig, ticket) != session

    run(steps())
    assert len(list(rig.folder.glob(".sekiso-*.part"))) == 1, "that of the new session"
    assert not (rig.folder / "up.bin").exists()


def test_a_client_that_forgot_everything_goes_on(rig: Rig) -> None:
    data = os.urandom(1000)

    async def steps() -> None:
        ticket = rig.upload_ticket(data)
        session = await create(rig, ticket)
        await post(rig, ticket, *fragment(session, data, 0, 599))
        assert await create(rig, ticket) == session
        ack, _ = await post(rig, ticket, *fragment(session, data, 0, 99))
        assert (ack.status, ack.next_offset) == (416, 600)

    run(steps())


def test_without_an_agreed_content_a_new_session_begins_anew(rig: Rig) -> None:
    data = os.urandom(100)

    async def steps() -> None:
        ticket = rig.upload_ticket(data, is_agreed=False)
        first = await create(rig, ticket)
        await post(rig, ticket, *fragment(first, data, 0, 49))
        second = await create(rig, ticket)
        assert second != first
        ack, _ = await post(rig, ticket, *fragment(first, data, 50))
        assert ack.error == Hresult.SESSION_NOT_FOUND
        await post(rig, ticket, *fragment(second, data, 0))
        ack, answer = await post(rig, ticket, CloseSession(second))
        assert (ack.status, ack.error) == (503, Hresult.BUSY), "not before the content is agreed"
        assert "retry-after" in answer.fields
        rig.grants.agree(ticket.grant.id, manifest_of(data))
        ack, _ = await post(rig, ticket, CloseSession(second))
        assert ack.status == 200

    run(steps())
    assert (rig.folder / "up.bin").read_bytes() == data


def test_an_incomplete_upload_cannot_be_closed(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"x" * 10)
        session = await create(rig, ticket)
        ack, _ = await post(rig, ticket, CloseSession(session))
        assert ack.status == 400
        await post(rig, ticket, *fragment(session, b"x" * 10, 0, 8))
        ack, _ = await post(rig, ticket, CloseSession(session))
        assert ack.status == 400

    run(steps())
    assert not (rig.folder / "up.bin").exists()


def test_an_empty_file(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"")
        ack, _ = await post(rig, ticket, CloseSession(await create(rig, ticket)))
        assert ack.status == 200

    run(steps())
    assert (rig.folder / "up.bin").read_bytes() == b""


def test_a_bad_leaf_is_asked_for_again_and_not_for_ever(rig: Rig) -> None:
    data = bytes(LEAF_BYTES) + b"tail" * 100
    bad = data[:LEAF_BYTES] + b"TAIL" * 100

    async def steps() -> None:
        ticket = rig.upload_ticket(data)
        session = await create(rig, ticket)
        for _ in range(2):
            ack, _ = await post(rig, ticket, *fragment(session, bad, 0))
            assert (ack.status, ack.next_offset) == (416, LEAF_BYTES), "only the bad leaf"
        ack, _ = await post(rig, ticket, *fragment(session, bad, LEAF_BYTES))
        assert (ack.status, ack.error) == (409, Hresult.DATA_ERROR)
        ack, _ = await post(rig, ticket, CloseSession(session))
        assert ack.error == Hresult.SESSION_NOT_FOUND
        session = await create(rig, ticket)
        ack, _ = await post(rig, ticket, *fragment(session, data, 0))
        assert ack.next_offset == len(data)

    run(steps())
    assert not (rig.folder / "up.bin").exists()


def test_a_content_agreed_late_and_wrong(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"", is_agreed=False)
        session = await create(rig, ticket)
        await post(rig, ticket, *fragment(session, b"evil", 0))
        rig.grants.agree(ticket.grant.id, manifest_of(b"good"))
        ack, _ = await post(rig, ticket, CloseSession(session))
        assert (ack.status, ack.error) == (409, Hresult.DATA_ERROR)

    run(steps())
    assert not list(rig.folder.glob("*.bin")) and not list(rig.folder.glob(".sekiso*"))


def test_a_name_that_is_taken(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"new")
        session = await create(rig, ticket)
        await post(rig, ticket, *fragment(session, b"new", 0))
        (rig.folder / "up.bin").write_bytes(b"old")
        ack, _ = await post(rig, ticket, CloseSession(session))
        assert (ack.status, ack.error) == (403, Hresult.ACCESS_DENIED)
        other = rig.upload_ticket(b"new")
        ack, _ = await post(rig, other, CreateSession())
        assert (ack.status, ack.error) == (403, Hresult.ACCESS_DENIED)

    run(steps())
    assert (rig.folder / "up.bin").read_bytes() == b"old"


def test_a_session_at_work_is_busy(rig: Rig) -> None:
    data = os.urandom(5000)

    async def steps() -> None:
        ticket = rig.upload_ticket(data)
        session = await create(rig, ticket)
        seen: list[Ack] = []

        async def meanwhile(number: int) -> None:
            if number == 2:
                seen.append((await post(rig, ticket, *fragment(session, data, 0)))[0])

        ack, _ = await post(rig, ticket, *fragment(session, data, 0), before_piece=meanwhile)
        assert ack.next_offset == len(data)
        assert (seen[0].status, seen[0].error) == (503, Hresult.BUSY)

    run(steps())


def test_too_large_a_fragment_makes_the_client_send_smaller_ones(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"", is_agreed=False)
        session = await create(rig, ticket)
        size = (16 << 20) + 1
        ack, _ = await post(rig, ticket, Fragment(session, ContentRange(0, size - 1, size)))
        assert (ack.status, ack.error) == (413, Hresult.TOO_LARGE)

    run(steps())


def test_a_full_disk(rig: Rig) -> None:
    async def steps() -> None:
        ticket = rig.upload_ticket(b"", is_agreed=False)
        session = await create(rig, ticket)
        ack, _ = await post(rig, ticket, Fragment(session, ContentRange(0, 9, 1 << 60)), bytes(10))
        assert (ack.status, ack.error) == (500, Hresult.DISK_FULL)

    run(steps())


def test_nothing_without_the_right_grant(rig: Rig) -> None:
    data = b"secret"

    async def steps() -> None:
        up, down = rig.upload_ticket(data), rig.download_ticket(data)
        ping = [(n.encode(), v.encode()) for n, v in format_request(Ping())]
        secret_up = (b"X-Sekiso-Grant", up.secret.encode())
        secret_down = (b"x-sekiso-grant", down.secret.encode())
        cases = [
            ("BITS_POST", up.url_path(), [*ping, secret_up], 200),
            ("BITS_POST", up.url_path(with_secret=True), ping, 200),
            ("BITS_POST", up.url_path(), ping, 403),
            ("BITS_POST", up.url_path(), [*ping, secret_down], 403),
            ("BITS_POST", down.url_path(), [*ping, secret_down], 403),
            ("BITS_POST", up.url_path() + "x", [*ping, secret_up], 403),
            ("GET", down.url_path(), [secret_down], 200),
            ("GET", down.url_path(with_secret=True), [], 200),
            ("GET", down.url_path(), [], 403),
            ("GET", up.url_path(), [secret_up], 403),
            ("GET", "/transfer", [secret_down], 403),
            ("GET", "/", [], 403),
            ("POST", down.url_path(), [secret_down], 405),
            ("DELETE", down.url_path(), [secret_down], 405),
        ]
        for method, path, headers, status in cases:
            answer = await ask(rig.app, method, path, headers)
            assert answer.status == status, (method, path)
            assert answer.body == (data if (method, status) == ("GET", 200) else b"")
        rig.grants.revoke(down.grant.id)
        assert (await ask(rig.app, "GET", down.url_path(with_secret=True))).status == 403

    run(steps())


def test_a_grant_is_good_for_its_own_agent_only(rig: Rig) -> None:
    app = TransferApp(rig.grants, rig.sessions, identify=lambda fields: fields.get("x-agent"))
    ticket = rig.download_ticket(b"data")
    for name, status in ((b"agent-1", 200), (b"agent-2", 403)):
        answer = run(ask(app, "GET", ticket.url_path(with_secret=True), [(b"X-Agent", name)]))
        assert answer.status == status
    assert run(ask(app, "GET", ticket.url_path(with_secret=True))).status == 403
    app.close()


def test_a_server_with_too_much_to_do(rig: Rig) -> None:
    app = TransferApp(rig.grants, rig.sessions, most_requests=0)
    ticket = rig.upload_ticket(b"")
    for method in ("GET", "BITS_POST"):
        answer = run(ask(app, method, ticket.url_path(with_secret=True)))
        assert answer.status == 503 and "retry-after" in answer.fields
    app.close()


def test_downloads(rig: Rig) -> None:
    data = os.urandom((1 << 20) + 5)
    ticket = rig.download_ticket(data)
    path, total = ticket.url_path(with_secret=True), len(data)
    tag = ticket.grant.manifest.etag.encode() if ticket.grant.manifest else b""
    common = {
        "etag": tag.decode(),
        "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "accept-ranges": "bytes",
    }

    async def get(method: str = "GET", **headers: bytes) -> Answer:
        raw = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
        answer = await ask(rig.app, method, path, raw)
        assert {name: answer.fields.get(name) for name in common} == common, "the same on every answer"
        assert "transfer-encoding" not in answer.fields and "content-encoding" not in answer.fields
        return answer

    async def steps() -> None:
        whole = await get(accept_encoding=b"gzip")
        assert (whole.status, whole.body, whole.pieces) == (200, data, 3)
        head = await get("HEAD")
        assert (head.status, head.body, head.fields["content-length"]) == (200, b"", str(total))
        head = await get("HEAD", range=b"bytes=0-9")
        assert (head.status, head.body, head.fields["content-length"]) == (206, b"", "10")
        part = await get(range=b"bytes=1048570-")
        assert (part.status, part.body) == (206, data[1048570:])
        assert part.fields["content-range"] == f"bytes 1048570-{total - 1}/{total}"
        for wrong in (b'"other"', b"Tue, 14 Nov 2023 22:13:21 GMT"):
            assert (await get(range=b"bytes=0-9", if_range=wrong)).status == 200
        for right in (tag, b"Tue, 14 Nov 2023 22:13:20 GMT"):
            assert (await get(range=b"bytes=0-9", if_range=right)).status == 206
        assert (await get(if_unmodified_since=b"Tue, 14 Nov 2023 22:13:19 GMT")).status == 412
        assert (await get(if_unmodified_since=b"Tue, 14 Nov 2023 22:13:20 GMT")).status == 200
        assert (await get(if_none_match=tag)).status == 304
        beyond = await get(range=f"bytes={total}-".encode())
        assert (beyond.status, beyond.fields["content-range"]) == (416, f"bytes */{total}")

    run(steps())


def test_several_ranges_come_in_the_order_asked_for(rig: Rig) -> None:
    from email.parser import BytesParser

    data = os.urandom(2000)
    ticket = rig.download_ticket(data)
    answer = run(
        ask(rig.app, "GET", ticket.url_path(with_secret=True), [(b"range", b"bytes=1000-1009,0-0,5-1500")])
    )
    assert answer.status == 206
    head = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode()
    boundary = answer.fields["content-type"].partition("boundary=")[2].encode()
    assert BytesParser().parsebytes(head + answer.body).is_multipart()
    parts = answer.body.split(b"\r\n--" + boundary)
    bodies = [part.partition(b"\r\n\r\n") for part in parts[1:-1]]
    assert [body for _, _, body in bodies] == [data[1000:1010], data[:1], data[5:1501]]
    assert b"Content-Range: bytes 5-1500/2000" in bodies[2][0]
    assert parts[-1] == b"--\r\n"


def test_a_file_that_is_not_the_version_promised_is_not_sent(rig: Rig) -> None:
    ticket = rig.download_ticket(b"version 1")
    for change in (lambda p: p.write_bytes(b"version 10"), lambda p: p.unlink(), lambda p: p.mkdir()):
        change(ticket.grant.path)
        answer = run(ask(rig.app, "GET", ticket.url_path(with_secret=True)))
        assert (answer.status, answer.body) == (404, b"")


def test_what_lost_its_grant_is_swept_away(rig: Rig) -> None:
    async def steps() -> None:
        kept, lost = rig.upload_ticket(b"x" * 10, "kept"), rig.upload_ticket(b"x" * 10, "lost")
        for ticket in (kept, lost):
            session = await create(rig, ticket)
            await post(rig, ticket, *fragment(session, b"x" * 10, 0, 4))
        rig.grants.revoke(lost.grant.id)
        assert len(list(rig.folder.glob(".sekiso-*.part"))) == 2
        rig.app.sweep()
        assert len(list(rig.folder.glob(".sekiso-*.part"))) == 1
        assert await create(rig, kept)

    run(steps())
