"""The Windows client's bytes, sent as they are over TCP to the real server, and cut."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from sekiso.transfer.grants import Ticket
from sekiso.transfer.manifest import LeafHasher
from tests.integration.transfer.rig import Server
from tests.unit.transfer.wire_data import Message, uploads

BODY = os.urandom(4892)


def accepted(server: Server, path: Path) -> Ticket:
    hasher = LeafHasher()
    hasher.update(BODY)
    return server.accept(path, hasher.manifest())


def raw(message: Message, ticket: Ticket, session: str) -> bytes:
    data = message.raw({"bits-session-id": session, "host": "localhost"}, ticket.url_path(with_secret=True))
    return data + (BODY if "content-range" in message.fields else b"")


def exchange(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(4096)
        assert piece, answer
        answer += piece
    return answer


def session_of(answer: bytes) -> str:
    found = re.search(rb"(?i)bits-session-id: (\S+)", answer)
    assert found
    return found[1].decode()


def test_the_whole_transcript_on_one_connection(shared_server: Server, tmp_path: Path) -> None:
    ticket, session = accepted(shared_server, tmp_path / "up"), ""
    with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
        for request, theirs in uploads()[:4]:
            answer = exchange(sock, raw(request, ticket, session))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            fields = dict(line.split(": ", 1) for line in answer.decode().lower().split("\r\n")[1:-2])
            for name in ("bits-packet-type", "content-length", "bits-received-content-range", "pragma"):
                assert fields.get(name) == theirs.fields.get(name, "").lower() or name not in theirs.fields
            session = session or session_of(answer)
    assert (tmp_path / "up").read_bytes() == BODY


def test_fragments_cut_on_the_wire(shared_server: Server, tmp_path: Path) -> None:
    """At every byte of the header, and all over the body; the answer then says how much is durable."""
    create, fragment, _, close = (request for request, _ in uploads()[:4])
    ticket = accepted(shared_server, tmp_path / "up")
    with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
        session = session_of(exchange(sock, raw(create, ticket, "")))
    whole = raw(fragment, ticket, session)
    head_bytes = len(whole) - len(BODY)
    reached = 0
    for end in [*range(head_bytes), *range(head_bytes, len(whole), 97)]:
        with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
            sock.sendall(whole[:end])
        if end % 7 == 0 or end >= head_bytes:
            reached = offset_now(shared_server, ticket, session, reached)
            assert reached <= max(0, end - head_bytes)
    with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
        assert b"received-content-range: 4892" in exchange(sock, whole).lower()
        assert exchange(sock, raw(close, ticket, session)).startswith(b"HTTP/1.1 200")
    assert (tmp_path / "up").read_bytes() == BODY


def offset_now(server: Server, ticket: Ticket, session: str, at_least: int) -> int:
    """Ask by a fragment that leaves a gap; the request that was cut may still be at work (503)."""
    gap = (
        f"BITS_POST {ticket.url_path(with_secret=True)} HTTP/1.1\r\nHost: x\r\nBITS-Packet-Type: Fragment\r\n"
        f"BITS-Session-Id: {session}\r\nContent-Range: bytes 4891-4891/4892\r\nContent-Length: 1\r\n\r\n"
    ).encode() + BODY[-1:]
    answer = b""
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            answer = exchange(sock, gap)
        if not answer.startswith(b"HTTP/1.1 503"):
            break
    assert answer.startswith(b"HTTP/1.1 416"), answer
    found = re.search(rb"(?i)bits-received-content-range: (\d+)", answer)
    assert found
    offset = int(found[1])
    assert offset >= at_least, "an acknowledged byte stays acknowledged"
    return offset


def test_hostile_requests_do_no_harm(shared_server: Server, tmp_path: Path) -> None:
    ticket = accepted(shared_server, tmp_path / "up")
    path = ticket.url_path(with_secret=True)
    for data in (
        b"\x00" * 100 + b"\r\n\r\n",
        b"BITS_POST " + b"/" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        f"BITS_POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode(),
        f"BITS_POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".encode(),
        f"BITS_POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        b"GET /transfer/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET {path}/../x HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    ):
        with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
            sock.settimeout(5)
            sock.sendall(data)
            assert sock.recv(4096).startswith(b"HTTP/1.1 4")
    with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
        request = uploads()[2][0]
        assert exchange(sock, raw(request, ticket, "")).startswith(b"HTTP/1.1 200")
