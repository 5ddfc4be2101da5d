"""Downloads from the real server, judged by clients that nobody here wrote."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from sekiso.transfer.grants import Ticket
from tests.integration.transfer.rig import Server, sparse_file

SIZE = (5 << 20) + 123


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "disk image.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def ticket(shared_server: Server, source: Path) -> Ticket:
    return shared_server.offer(source)


def run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == status, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout.decode("latin-1")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_curl(shared_server: Server, ticket: Ticket, source: Path, tmp_path: Path) -> None:
    out, url = tmp_path / "out", shared_server.url(ticket)
    run("curl", "-sSf", "-o", out, url)
    assert digest(out) == digest(source)
    out.write_bytes(source.read_bytes()[:1_000_001])
    run("curl", "-sSf", "-C", "-", "-o", out, url)
    assert digest(out) == digest(source), "resumed"
    header = f"X-Sekiso-Grant: {ticket.secret}"
    run("curl", "-sSf", "-H", header, "-o", out, shared_server.address + ticket.url_path())
    assert digest(out) == digest(source)
    run("curl", "-sSf", "-o", out, shared_server.address + ticket.url_path(), status=22)


def test_curl_sees_the_headers(shared_server: Server, ticket: Ticket) -> None:
    head = run("curl", "-sSfI", "--compressed", shared_server.url(ticket)).lower()
    assert f"content-length: {SIZE}\r\n" in head
    assert re.search(r'etag: "b3-[0-9a-f]{64}"\r\n', head)
    assert "last-modified: tue, 14 nov 2023 22:13:20 gmt\r\n" in head
    assert "transfer-encoding" not in head and "content-encoding" not in head
    several = run("curl", "-sSf", "-i", "-r", "0-9,100-109", shared_server.url(ticket))
    head, _, body = several.partition("\r\n\r\n")
    assert "206" in head and "multipart/byteranges" in head
    assert f"content-length: {len(body)}\r\n" in head.lower() + "\r\n"


def test_aria2_with_several_connections(
    shared_server: Server, ticket: Ticket, source: Path, tmp_path: Path
) -> None:
    run("aria2c", "-q", "-x4", "-s4", "-k1M", "-d", tmp_path, "-o", "out", shared_server.url(ticket))
    assert digest(tmp_path / "out") == digest(source)


def test_wget_goes_on(shared_server: Server, ticket: Ticket, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(source.read_bytes()[:12345])
    run("wget", "-q", "-c", "-O", out, shared_server.url(ticket))
    assert digest(out) == digest(source)


def test_qemu_reads_a_disk_over_http(shared_server: Server, tmp_path: Path) -> None:
    disk, out = tmp_path / "disk.qcow2", tmp_path / "out.raw"
    raw = tmp_path / "in.raw"
    raw.write_bytes(os.urandom(1 << 20) + bytes(3 << 20) + os.urandom(1 << 20))
    run("qemu-img", "convert", "-O", "qcow2", raw, disk)
    url = shared_server.url(shared_server.offer(disk))
    assert "virtual size: 5 MiB" in run("qemu-img", "info", url)
    # One coroutine: with several, qemu-img 7.2 hangs now and then, with any server.
    run("qemu-img", "convert", "-m", "1", "-O", "raw", url, out)
    assert digest(out) == digest(raw)


@pytest.mark.parametrize("edge", [1 << 31, 1 << 32])
def test_past_the_edges_of_32_bits(shared_server: Server, tmp_path: Path, edge: int) -> None:
    disk = tmp_path / "large.bin"
    mark = os.urandom(64)
    manifest = sparse_file(disk, edge + (5 << 20) + 7, {edge - 32: mark})
    url = shared_server.url(shared_server.offer(disk, manifest))
    assert f"content-length: {edge + (5 << 20) + 7}\r\n" in run("curl", "-sSfI", url).lower()
    got = run("curl", "-sSf", "-r", f"{edge - 32}-{edge + 31}", url)
    assert got.encode("latin-1") == mark
    out = tmp_path / "tail"
    run("curl", "-sSf", "-r", "-100", "-o", out, url)
    assert out.read_bytes() == bytes(100)


def test_a_slow_reader_costs_no_memory(shared_server: Server, tmp_path: Path) -> None:
    """The server waits for the client instead of reading the file into memory."""
    disk = tmp_path / "large.bin"
    manifest = sparse_file(disk, 1 << 30, {0: b"x"})
    ticket = shared_server.offer(disk, manifest)
    with socket.create_connection(("127.0.0.1", shared_server.port)) as sock:
        path = ticket.url_path(with_secret=True)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(8).startswith(b"HTTP/1.1")
        time.sleep(1.0)
        assert worker_memory_bytes(shared_server) < 200 << 20
    time.sleep(0.3)
    assert open_files(shared_server, disk) == 0, "the client has left: nothing more is read"


def workers(server: Server) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def worker_memory_bytes(server: Server) -> int:
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in workers(server)]
    return max(int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) << 10 for text in texts)


def open_files(server: Server, path: Path) -> int:
    links = [link for pid in workers(server) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(os.path.realpath(link) == str(path) for link in links)


def test_nothing_secret_is_logged(shared_server: Server, ticket: Ticket) -> None:
    run("curl", "-s", "-o", "/dev/null", shared_server.url(ticket))
    run("curl", "-s", "-o", "/dev/null", shared_server.url(ticket) + "x")
    assert ticket.secret not in shared_server.log
