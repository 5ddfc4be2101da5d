"""The HTTPS server of the REST API, as a client on the network sees it (OP-5)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from sekiso.agent.pki import ServerCertificate, load_server_certificate
from sekiso.web.server import ListenError, WebServer, serve

HOST = "127.0.0.1"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers what the server has told it about the connection."""
    body = f"{scope['scheme']} {scope['client'][0]}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return load_server_certificate(tmp_path_factory.mktemp("pki"), (HOST,))


@contextmanager
def running(app: Any, certificate: ServerCertificate, port: int = 0) -> Iterator[WebServer]:
    server = serve(app, HOST, port, certificate.certificate, certificate.key)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(certificate: ServerCertificate) -> Iterator[WebServer]:
    with running(echo, certificate) as started:
        yield started


def client_context(certificate: ServerCertificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.certificate))


def get(server: WebServer, certificate: ServerCertificate, **headers: str) -> httpx.Response:
    with httpx.Client(verify=client_context(certificate), trust_env=False) as client:
        return client.get(f"https://{HOST}:{server.port}/", headers=headers)


def handshake(server: WebServer, certificate: ServerCertificate, version: ssl.TLSVersion) -> str | None:
    """Connect with one version of TLS; return the version that was agreed on."""
    context = client_context(certificate)
    # Our own side would refuse the old versions before the server is even asked.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((HOST, server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secured,
    ):
        return secured.version()


def test_it_answers_over_https_with_the_appliances_certificate(
    server: WebServer, certificate: ServerCertificate
) -> None:
    assert server.port > 0
    assert get(server, certificate).text == f"https {HOST}"


def test_a_client_that_does_not_know_the_certificate_does_not_trust_it(server: WebServer) -> None:
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        client.get(f"https://{HOST}:{server.port}/")


def test_no_answer_names_the_software(server: WebServer, certificate: ServerCertificate) -> None:
    assert "server" not in get(server, certificate).headers


def test_what_a_client_claims_of_itself_counts_for_nothing(
    server: WebServer, certificate: ServerCertificate
) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}
    assert get(server, certificate, **claimed).text == f"https {HOST}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_present_versions_of_tls_are_spoken(
    server: WebServer, certificate: ServerCertificate, version: ssl.TLSVersion
) -> None:
    assert handshake(server, certificate, version) == version.name.replace("_", ".")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(
    server: WebServer, certificate: ServerCertificate, version: ssl.TLSVersion
) -> None:
    # By the server, which cuts the connection: our own side would speak them.
    with pytest.raises(ssl.SSLError, match=r"EOF|ALERT_PROTOCOL_VERSION"):
        handshake(server, certificate, version)


def test_plain_http_is_not_answered(server: WebServer) -> None:
    with socket.create_connection((HOST, server.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = plain.recv(1000)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"HTTP/")


def test_endless_headers_are_refused(server: WebServer, certificate: ServerCertificate) -> None:
    try:
        answer = get(server, certificate, **{"X-Long": "a" * (4 << 20)})
    except httpx.TransportError:
        return  # cut while it was still sending
    assert answer.status_code in (400, 431)


def test_a_port_that_is_taken_is_an_error_that_says_so(
    server: WebServer, certificate: ServerCertificate
) -> None:
    with pytest.raises(ListenError) as caught:
        serve(echo, HOST, server.port, certificate.certificate, certificate.key)
    assert caught.value.params["port"] == server.port
    assert "in use" in str(caught.value.params["reason"])


def test_it_ends_and_gives_its_port_back(certificate: ServerCertificate) -> None:
    before = set(threading.enumerate())
    with running(echo, certificate) as first:
        assert get(first, certificate).status_code == 200
        port = first.port
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=10).close()
    with running(echo, certificate, port) as second:
        assert get(second, certificate).status_code == 200


def test_stop_is_harmless_when_it_has_ended(certificate: ServerCertificate) -> None:
    with running(echo, certificate) as server:
        server.stop()
        server.stop()


def test_it_ends_although_a_client_only_keeps_its_connection(certificate: ServerCertificate) -> None:
    context = client_context(certificate)
    with running(echo, certificate) as server:
        plain = socket.create_connection((HOST, server.port), timeout=10)
        with context.wrap_socket(plain, server_hostname=HOST):
            start_s = time.monotonic()
            server.stop()
            assert time.monotonic() - start_s < 10


def test_it_ends_although_a_request_never_does(certificate: ServerCertificate) -> None:
    begun = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"row", "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    with (
        running(endless, certificate) as server,
        httpx.Client(verify=client_context(certificate), trust_env=False) as client,
        client.stream("GET", f"https://{HOST}:{server.port}/") as answer,
    ):
        assert answer.status_code == 200
        assert begun.wait(10)
        start_s = time.monotonic()
        server.stop()
        assert time.monotonic() - start_s < 10
