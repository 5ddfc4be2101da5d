"""The real server as a process of its own, and certificates for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sekiso.transfer.client import RemoteFile
from sekiso.transfer.grants import Direction, Ticket
from sekiso.transfer.manifest import LEAF_BYTES, LeafHasher, Manifest, hash_file
from sekiso.transfer.server import open_grants
from sekiso.transfer.trust import AnyCertificate, Trust


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@dataclass
class Server:
    folder: Path
    certificate: Path | None = None
    key: Path | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> Server:
        arguments = ["--state", str(self.folder / "state"), "--port", str(self.port)]
        if self.certificate and self.key:
            arguments += ["--certificate", str(self.certificate), "--key", str(self.key)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sekiso.transfer", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                sock.settimeout(1.0)
                # The listening socket is there before the worker: only an answer shows that it runs.
                if sock.connect_ex(("127.0.0.1", self.port)) == 0 and self._answers(sock):
                    return self
            time.sleep(0.05)
        raise AssertionError(self.log)

    def _answers(self, sock: socket.socket) -> bool:
        if self.certificate:
            return "Started worker" in self.log.rpartition("Starting granian")[2]
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.recv(100).startswith(b"HTTP/1.1 403")
        except OSError:
            return False

    def kill(self) -> None:
        """As a power cut would: parent and worker at once, without warning."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            finally:
                self.kill_group()

    def kill_group(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def offer(self, path: Path, manifest: Manifest | None = None, valid_s: float = 600.0) -> Ticket:
        return open_grants(self.folder / "state").issue(
            principal="agent",
            direction=Direction.DOWNLOAD,
            path=path,
            valid_s=valid_s,
            manifest=manifest or hash_file(path),
            modified_s=1_700_000_000,
        )

    def accept(self, path: Path, manifest: Manifest, valid_s: float = 600.0) -> Ticket:
        return open_grants(self.folder / "state").issue(
            principal="agent", direction=Direction.UPLOAD, path=path, valid_s=valid_s, manifest=manifest
        )

    def url(self, ticket: Ticket) -> str:
        """For programs that can send no header."""
        return self.address + ticket.url_path(with_secret=True)

    def remote(self, ticket: Ticket, trust: Trust | None = None, port: int | None = None) -> RemoteFile:
        """For our own client: the secret goes into the header."""
        address = self.address if port is None else f"http://127.0.0.1:{port}"
        return RemoteFile(
            address + ticket.url_path(), ticket.secret, trust=trust or AnyCertificate(), timeout_s=20.0
        )


def sparse_file(path: Path, size: int, marks: dict[int, bytes]) -> Manifest:
    """Make a file with a few bytes in it, and its manifest without reading all of it."""
    with path.open("wb") as stream:
        stream.truncate(size)
        for offset, data in marks.items():
            stream.seek(offset)
            stream.write(data)
    hollow = LeafHasher()
    hollow.update(bytes(LEAF_BYTES))
    leaves: list[bytes] = hollow.leaves * (size // LEAF_BYTES)
    touched = {at // LEAF_BYTES for offset, d in marks.items() for at in (offset, offset + len(d) - 1)}
    if size % LEAF_BYTES:
        touched.add(size // LEAF_BYTES)
    with path.open("rb") as stream:
        for number in sorted(touched):
            stream.seek(number * LEAF_BYTES)
            hasher = LeafHasher()
            hasher.update(stream.read(LEAF_BYTES))
            leaves[number : number + 1] = hasher.manifest().leaves
    return Manifest(size, tuple(leaves))


class CuttingProxy:
    """Passes TCP on and cuts each connection after a number of bytes from the client or the server."""

    def __init__(self, port: int, cuts: Iterator[int]) -> None:
        self._target, self._cuts = port, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target))
            budget = [next(self._cuts, 1 << 60)]
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(source, sink, budget), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, budget: list[int]) -> None:
        try:
            while data := source.recv(min(1 << 16, max(1, budget[0]))):
                budget[0] -= len(data)
                sink.sendall(data)
                if budget[0] <= 0:
                    break
        except OSError:
            pass
        # Closed for good: a socket that is only shut down lets its peer send until the buffers are full.
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        # `accept` of another thread ends with a shutdown, not with a close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def make_certificate(
    folder: Path,
    stem: str,
    *,
    address: str = "127.0.0.1",
    issuer: Authority | None = None,
    is_authority: bool = False,
    valid_from_days: float = -1.0,
    valid_days: float = 30.0,
) -> tuple[Path, Path, Authority]:
    """Write a certificate and its key as PEM; signed by itself without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC) + timedelta(days=valid_from_days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(stem))
        .issuer_name(issuer.certificate.subject if issuer else _name(stem))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=valid_days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = issuer.key if issuer else key
    authority_key = issuer.key.public_key() if issuer else key.public_key()
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False
    )
    certificate = builder.sign(signer, SHA256())
    paths = folder / f"{stem}.pem", folder / f"{stem}.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return (*paths, Authority(certificate, key))
