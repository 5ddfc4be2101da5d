"""Hub and service over TLS, as in the contract suite; and what answers registrations."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from sekiso.agent.link.hub import Hub
from sekiso.agent.pki import ServerCertificate, load_authority, load_server_certificate
from sekiso.agent.registration import PATH, Registrar, RegistrationRequest
from sekiso.errors import SekisoError
from sekiso.store.database.database import Database

from ...contract.agent_port.conftest import brisk, db, link, migrated

__all__ = ["Appliance", "appliance", "brisk", "db", "link", "migrated"]


class Appliance:
    """An appliance's registration over HTTPS, and its hub."""

    def __init__(self, db: Database, hub: Hub, registrar: Registrar, certificate: ServerCertificate) -> None:
        self.db, self.hub, self.registrar, self.certificate = db, hub, registrar, certificate
        self.bodies: list[bytes] = []
        self.heard: list[str] = []
        self.answer: Callable[[str, bytes], tuple[int, Any]] = self.register
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.heard.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(body)
                status, answer = outer.answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda request, client_address: None  # a client that hangs up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def register(self, path: str, body: bytes) -> tuple[int, Any]:
        assert path == PATH
        try:
            answer = self.registrar.accept(msgspec.json.decode(body, type=RegistrationRequest))
            return 200, msgspec.to_builtins(answer)
        except SekisoError as error:
            return 422, {"code": error.code, "title": error.brief, "detail": error.render()}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


@pytest.fixture
def appliance(db: Database, tmp_path: Any) -> Iterator[Appliance]:
    pki = tmp_path / "pki"
    authority, certificate = load_authority(pki), load_server_certificate(pki, ["127.0.0.1"])
    hub = Hub(db, authority, certificate)
    hub.start()
    registrar = Registrar(db, authority, link_port=lambda: hub.port, disconnect=hub.disconnect)
    made = Appliance(db, hub, registrar, certificate)
    yield made
    made.close()
    hub.stop()
