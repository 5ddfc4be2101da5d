"""Another certificate while the server runs: at the same port, without a restart (OP-4)."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sekiso.web.server import WebServer, serve

from ...support.certificates import Made, make
from .test_server import HOST, echo

RSA = make(key=rsa.generate_private_key(65537, 2048))
EC = make()


def write(folder: Path, made: Made) -> tuple[Path, Path]:
    certificate, key = folder / f"{made.sha256}.pem", folder / f"{made.sha256}.key"
    certificate.write_text(made.pem)
    key.write_text(made.key_pem())
    return certificate, key


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    running = serve(echo, HOST, 0, *write(tmp_path, RSA))
    yield running
    running.stop()


def shown(port: int, version: ssl.TLSVersion, ciphers: str = "DEFAULT", name: str | None = None) -> str:
    """Shake hands; return the fingerprint of what the server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with (
        socket.create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "appliance.example"])
def test_new_connections_get_the_new_one(
    server: WebServer, tmp_path: Path, version: ssl.TLSVersion, name: str | None
) -> None:
    port = server.port
    assert shown(port, version, name=name) == RSA.sha256
    server.use(*write(tmp_path, EC))
    assert server.port == port
    assert shown(port, version, name=name) == EC.sha256
    server.use(*write(tmp_path, RSA))
    assert shown(port, version, name=name) == RSA.sha256


def test_the_former_one_is_not_shown_to_clients_that_would_like_it_better(
    server: WebServer, tmp_path: Path
) -> None:
    """A context that is given a second certificate of another kind has both."""
    server.use(*write(tmp_path, EC))
    with pytest.raises(ssl.SSLError):
        shown(server.port, ssl.TLSVersion.TLSv1_2, "aRSA")
    assert shown(server.port, ssl.TLSVersion.TLSv1_2, "aECDSA") == EC.sha256


def test_connections_that_there_are_go_on(server: WebServer, tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=RSA.pem)
    with httpx.Client(verify=context, trust_env=False) as client:
        url = f"https://{HOST}:{server.port}/"
        assert client.get(url).status_code == 200
        server.use(*write(tmp_path, EC))
        assert client.get(url).status_code == 200
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(url)
    with httpx.Client(verify=ssl.create_default_context(cadata=EC.pem), trust_env=False) as client:
        assert client.get(url).status_code == 200


def test_one_that_cannot_be_used_changes_nothing(server: WebServer, tmp_path: Path) -> None:
    certificate, _ = write(tmp_path, EC)
    _, key = write(tmp_path, make())
    with pytest.raises(ssl.SSLError):
        server.use(certificate, key)
    with pytest.raises(OSError):
        server.use(tmp_path / "absent", key)
    assert shown(server.port, ssl.TLSVersion.TLSv1_3) == RSA.sha256
