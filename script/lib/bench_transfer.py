"""Measures transfers: downloads against nginx, uploads against cp of the same file (TR-1)."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sekiso.transfer.client import download_file, upload_file
from sekiso.transfer.grants import HEADER, Direction, Ticket
from sekiso.transfer.manifest import Manifest, hash_file
from sekiso.transfer.server import open_grants
from sekiso.transfer.wire import RemoteFile

from .bench_measure import Phases, Settings, Step, Table, command, fsync, in_child, measure, remove, say
from .bench_tree import Content

#: Speeds of 0.9 and 0.8 of the reference, as times.
DOWNLOAD_GOAL, UPLOAD_GOAL = 1.11, 1.25
_NGINX = """\
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
server {{ listen 127.0.0.1:{port}; root {work}; }} }}
"""


@dataclass(frozen=True)
class _Servers:
    """Both servers, and the file that they offer."""

    work: Path
    source: Path
    manifest: Manifest
    ours: int
    nginx: int

    def ticket(self, direction: Direction, path: Path) -> Ticket:
        grants = open_grants(self.work / "state")
        return grants.issue(
            principal="bench", direction=direction, path=path, valid_s=3600.0, manifest=self.manifest
        )

    def remote(self, ticket: Ticket) -> RemoteFile:
        return RemoteFile(f"http://127.0.0.1:{self.ours}{ticket.url_path()}", ticket.secret)


def measure_transfer(work: Path, content_bytes: int, settings: Settings) -> list[Table]:
    """Measure downloads and uploads of one file over loopback, each durable at its end."""
    source = work / "transfer.bin"
    say("making the file")

    def make(_: Phases) -> None:
        with source.open("wb") as stream:
            stream.writelines(Content().pieces(1, content_bytes))
        fsync(source)

    in_child(make)
    try:
        with _servers(work, source) as servers:
            down = measure("Download", "nginx", _downloads(servers), settings)
            up = measure("Upload", "cp", _uploads(servers), settings)
    finally:
        remove(source)
    checks = f"{content_bytes} bytes; every transfer ends with fsync; ours verifies BLAKE3 of every 8 MiB"
    down.checks.append(checks)
    up.checks.append(checks)
    return [down, up]


def _downloads(servers: _Servers) -> list[Step]:
    target = servers.work / "download.bin"

    def curl(url: str, *options: str) -> None:
        command("curl", "--silent", "--show-error", "--fail", "--output", target, *options, url)
        fsync(target)

    def from_nginx(_: Phases) -> None:
        curl(f"http://127.0.0.1:{servers.nginx}/{servers.source.name}")

    def from_ours(_: Phases) -> None:
        ticket = servers.ticket(Direction.DOWNLOAD, servers.source)
        curl(servers.remote(ticket).url, "--header", f"{HEADER}: {ticket.secret}")

    def by_ours(_: Phases) -> None:
        ticket = servers.ticket(Direction.DOWNLOAD, servers.source)
        download_file(servers.remote(ticket), target, servers.manifest)

    def clean() -> None:
        remove(target)

    return [
        Step("nginx", "curl from nginx (reference)", from_nginx, cleanup=clean),
        Step("server", "curl from our server", from_ours, cleanup=clean, goal=DOWNLOAD_GOAL),
        Step("client", "our client from our server, verified", by_ours, cleanup=clean, goal=DOWNLOAD_GOAL),
    ]


def _uploads(servers: _Servers) -> list[Step]:
    target, state = servers.work / "upload.bin", servers.work / "upload.state"

    def copy(_: Phases) -> None:
        command("cp", "--reflink=never", servers.source, target)
        fsync(target)

    def upload(_: Phases) -> None:
        ticket = servers.ticket(Direction.UPLOAD, target)
        upload_file(servers.remote(ticket), servers.source, state=state)

    def clean() -> None:
        remove(target)

    return [
        Step("cp", "cp and fsync (reference)", copy, cleanup=clean),
        Step(
            "upload",
            "our client to our server, durable and verified",
            upload,
            cleanup=clean,
            goal=UPLOAD_GOAL,
        ),
    ]


@contextlib.contextmanager
def _servers(work: Path, source: Path) -> Generator[_Servers]:
    ours, nginx = _free_port(), _free_port()
    config = work / "nginx.conf"
    config.write_text(_NGINX.format(work=work, port=nginx))
    # A work folder that only root may enter would keep nginx' own user out.
    work.chmod(0o755)
    argv = [sys.executable, "-m", "sekiso.transfer", "--state", str(work / "state"), "--port", str(ours)]
    with (
        _running(argv, ours),
        _running(["nginx", "-c", str(config), "-p", str(work), "-e", "stderr"], nginx),
    ):
        yield _Servers(work, source, hash_file(source), ours, nginx)


@contextlib.contextmanager
def _running(argv: list[str], port: int) -> Generator[None]:
    proc = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                break
            except OSError:
                if proc.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{argv[0]} does not listen at port {port}") from None
                time.sleep(0.05)
        yield
    finally:
        proc.terminate()
        proc.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
