"""A packaging machine's screen, from the agent through the appliance to a WebSocket (LY-2, AG-4).

Everything is real but the machine: its screen is a small RFB server.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sekiso.agent.contract import ScreenParams
from sekiso.agent.handlers.screens import SocketStream
from sekiso.agent.pki import load_server_certificate
from sekiso.agent.port import ByteStream
from sekiso.model.library import Role
from sekiso.services.core import Core
from sekiso.services.packaging import LayerService
from sekiso.store.layers import LayerStore
from sekiso.web import screen
from sekiso.web.app import create_app
from sekiso.web.auth import COOKIE
from sekiso.web.server import WebServer, serve

from ...contract.agent_port.rigs import LinkRig
from ...contract.agent_port.worker import QUICK, quick, until
from ...support.rfb_peers import HEIGHT, KEY, PICTURE_BYTES, UPDATE, WIDTH, NoiseServer, RfbClient, Shown
from ...unit.web.world import PASSWORD, ROOT, World, fill, make_world

HOST = "127.0.0.1"
SCREEN = f"{ROOT}/layer-versions/v-edit/machine/screen"


class Screens:
    """Opens the screen of the small server."""

    def __init__(self, rfb: NoiseServer) -> None:
        self._rfb = rfb

    def open_stream(self, method: str, params: ScreenParams) -> SocketStream:
        assert (method, params.version_id) == ("packaging.screen", "v-edit")
        return SocketStream(self._rfb.connect())


class Opener(Protocol):
    """What streams lead to at the agent."""

    def open_stream(self, method: str, params: ScreenParams) -> ByteStream: ...


@dataclass
class Live:
    """An appliance and an agent, each with its own sockets."""

    world: World
    rig: LinkRig
    rfb: NoiseServer
    server: WebServer
    context: ssl.SSLContext

    @property
    def place(self) -> str:
        return f"{HOST}:{self.server.port}"

    @contextmanager
    def screen(self, role: Role = Role.LAYER_MANAGER, **options: Any) -> Iterator[ClientConnection]:
        """Open the screen with an API token."""
        headers = {"Authorization": f"Bearer {self.world.token(role)}"}
        with self.socket(headers, **options) as found:
            yield found

    @contextmanager
    def socket(self, headers: dict[str, str], **options: Any) -> Iterator[ClientConnection]:
        with connect(
            f"wss://{self.place}{SCREEN}",
            ssl=self.context,
            additional_headers=headers,
            max_size=None,
            proxy=None,
            **options,
        ) as found:
            yield found

    def close(self) -> None:
        self.server.stop()
        self.rig.close()
        self.world.close()
        self.rfb.close()

    def refused(self, path: str, headers: dict[str, str]) -> int:
        """Ask for a WebSocket that is not given; return the HTTP status.

        Not by the library's client: where it is refused, its thread may wait for ever in a TLS record.
        """
        asked = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        with httpx.Client(verify=self.context, trust_env=False, timeout=30) as client:
            return client.get(f"https://{self.place}{path}", headers={**asked, **headers}).status_code

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.world.token(Role.READ_ONLY)}"}
        with httpx.Client(verify=self.context, trust_env=False) as client:
            return client.get(f"https://{self.place}{ROOT}{path}", headers=headers)


def make(folder: Path, rfb: NoiseServer, opener: Opener) -> Live:
    folder.mkdir(exist_ok=True)
    world = make_world(folder)
    fill(world)
    rig = LinkRig(folder / "rig", world.db)
    rig.worker.sources = opener  # type: ignore[assignment]
    with world.db.begin() as work:
        version = work.versions.get("v-edit")
        assert version.packaging is not None
        work.versions.replace(replace(version, packaging=replace(version.packaging, agent_id=rig.agent_id)))
    core = Core(world.db, rig.hub, world.engine, world.state)
    services = replace(world.services, layers=LayerService(core, LayerStore(world.state / "layers")))
    until(lambda: _reported(world, rig.agent_id), "the report of the host")
    certificate = load_server_certificate(folder / "web-pki", (HOST,))
    server = serve(create_app(services), HOST, 0, certificate.certificate, certificate.key)
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    return Live(world, rig, rfb, server, context)


def _reported(world: World, agent_id: str) -> bool:
    with world.db.read() as work:
        return work.agents.get(agent_id).inventory is not None


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(screen, "_LOOK_S", 0.1)
    rfb = NoiseServer()
    made = make(tmp_path, rfb, Screens(rfb))
    try:
        yield made
    finally:
        made.close()


def client_of(socket: ClientConnection) -> RfbClient:
    return RfbClient(lambda: _bytes(socket.recv(timeout=20)), socket.send)


def _bytes(data: str | bytes) -> bytes:
    assert isinstance(data, bytes)
    return data


def ends(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            socket.recv(timeout=20)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_pictures_come_and_keys_arrive(live: Live) -> None:
    with live.screen(subprotocols=["binary"]) as socket:
        assert socket.subprotocol == "binary"
        assert "Sec-WebSocket-Extensions" not in socket.response.headers  # type: ignore[union-attr]
        client = client_of(socket)
        assert client.shake_hands() == Shown(WIDTH, HEIGHT, "noise")
        for _ in range(3):
            assert client.picture() == live.rfb.picture
        socket.send(KEY)
        until(lambda: live.rfb.keys == [0x61], "the key")


def test_a_browser_that_is_slow_holds_up_nobody(live: Live) -> None:
    with live.screen(max_queue=1) as slow, live.screen() as other:
        client = client_of(slow)
        client.shake_hands()
        for _ in range(5):
            slow.send(UPDATE)
        time.sleep(0.5)
        # 40 MB are on their way; agent and appliance do what else they are asked.
        call = live.rig.hub.call(live.rig.agent_id, QUICK, quick(), timeout_s=5)
        assert call.account == "root"
        assert live.get("/layers").status_code == 200
        another = client_of(other)
        another.shake_hands()
        assert another.picture() == live.rfb.picture
        # Nothing of it is lost.
        came = 0
        while came < 5 * (16 + PICTURE_BYTES):
            came += len(_bytes(slow.recv(timeout=20)))
        assert came == 5 * (16 + PICTURE_BYTES)


def test_two_see_the_same_machine(live: Live) -> None:
    with live.screen() as one, live.screen(Role.ADMINISTRATOR) as other:
        for socket in (one, other):
            client = client_of(socket)
            client.shake_hands()
            assert client.picture() == live.rfb.picture


def test_the_machine_is_turned_off(live: Live) -> None:
    with live.screen() as socket:
        client_of(socket).shake_hands()
        live.rfb.cut()
        assert ends(socket) == (4409, "The screen has ended: the machine was turned off.")


def test_the_agent_is_lost(live: Live) -> None:
    with live.screen() as socket:
        client_of(socket).shake_hands()
        live.rig.go_away()
        code, reason = ends(socket)
        assert (code, reason) == (4503, "The connection to the agent host was lost.")


def test_the_agent_is_revoked(live: Live) -> None:
    with live.screen() as socket:
        client_of(socket).shake_hands()
        live.rig.revoke()
        assert ends(socket)[0] == 4404


def test_a_logout_ends_it(live: Live) -> None:
    session = live.world.services.users.login("layer-manager", PASSWORD)
    headers = {"Cookie": f"{COOKIE}={session.secret}", "Origin": f"https://{live.place}"}
    with live.socket(headers) as socket:
        client_of(socket).shake_hands()
        live.world.services.users.logout(session.secret)
        assert ends(socket) == (4401, "You are not logged in.")


def test_a_page_of_another_site_is_refused(live: Live) -> None:
    session = live.world.services.users.login("layer-manager", PASSWORD)
    for origin in ("https://evil.example", f"http://{live.place}", f"https://{HOST}:1"):
        headers = {"Cookie": f"{COOKIE}={session.secret}", "Origin": origin}
        assert live.refused(SCREEN, headers) == 403


def test_an_address_without_a_screen_is_no_websocket(live: Live) -> None:
    assert live.refused(f"{ROOT}/health", {}) in (403, 404)


def test_a_message_that_is_too_large(live: Live) -> None:
    with live.screen() as socket:
        client_of(socket).shake_hands()
        with pytest.raises(ConnectionClosed) as caught:
            # Only the head of a frame of 2 MiB: with its content on the way, the answer could be lost.
            socket.socket.sendall(b"\x82\xff" + (2 << 20).to_bytes(8, "big") + bytes(4))
            socket.recv(timeout=20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
    until(lambda: live.get("/health").status_code == 200)


def test_the_appliance_ends_although_screens_are_open(live: Live) -> None:
    with live.screen() as socket:
        client_of(socket).shake_hands()
        socket.send(UPDATE)
        stopping = threading.Thread(target=live.server.stop)
        stopping.start()
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(timeout=20)
        stopping.join(10)
        assert not stopping.is_alive()


def test_nothing_is_left_of_screens_that_were_closed(live: Live) -> None:
    before = threading.active_count()
    for _ in range(5):
        with live.screen() as socket:
            client_of(socket).shake_hands()
    # Threads of pools stay; those of streams and those that wait for the machine do not.
    until(lambda: not [t for t in threading.enumerate() if t.name in ("stream", "packaging.screen")])
    assert threading.active_count() < before + 20
