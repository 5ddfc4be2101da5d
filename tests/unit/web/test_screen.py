"""The screen of a packaging machine over a WebSocket: who may see it, and when it ends (LY-2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from sekiso.agent.contract import ScreenParams
from sekiso.agent.link.errors import StreamLostError
from sekiso.hypervisors.errors import WrongStateError
from sekiso.model.library import Role
from sekiso.services.core import APPLIANCE
from sekiso.services.users import IDLE_S
from sekiso.web import screen
from sekiso.web.auth import COOKIE
from sekiso.web.settings import WebSettings

from ...contract.agent_port.sources import Source
from ...contract.agent_port.worker import until
from .world import INVENTORY, PASSWORD, ROOT, STORAGE, World, problem

MACHINE = f"{ROOT}/layer-versions/v-edit/machine"
URL = f"wss://appliance.example{MACHINE}/screen"
HERE = "https://appliance.example"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "_LOOK_S", 0.05)


@pytest.fixture
def world(world: World) -> World:
    under(world, "QEMU")
    return world


def under(world: World, hypervisor: str, host: str = "hv01.example", machine: str = "m-7") -> None:
    """Have the agent's host run a hypervisor."""
    with world.db.begin() as work:
        record = work.agents.get("a-1")
        inventory = replace(INVENTORY, hypervisor=hypervisor, host_name=host)
        work.agents.replace(replace(record, inventory=inventory))
        version = work.versions.get("v-edit")
        assert version.packaging is not None
        work.versions.replace(replace(version, packaging=replace(version.packaging, machine_id=machine)))


def connect(
    world: World, role: Role | None = Role.LAYER_MANAGER, settings: WebSettings | None = None, **headers: str
) -> Any:
    """Open the screen with an API token, as a program does."""
    client = world.client(role, settings)
    return client.websocket_connect(URL, headers=headers)


def login(world: World, role: Role = Role.LAYER_MANAGER) -> tuple[Any, str]:
    session = world.services.users.login(role.value, PASSWORD)
    client = world.client()
    client.cookies.set(COOKIE, session.secret)
    return client, session.secret


def refused(open_screen: Callable[[], Any]) -> None:
    """It is not even opened."""
    with pytest.raises(WebSocketDisconnect) as caught, open_screen():
        pass
    assert caught.value.code < screen.CLOSE_CODE


def ends(socket: Any) -> tuple[int, str]:
    """Read up to the end; return its code and reason."""
    with pytest.raises(WebSocketDisconnect) as caught:
        while True:
            socket.receive_bytes()
    return caught.value.code, caught.value.reason


def source_of(world: World) -> Source:
    """What the only screen leads to, as soon as it is open."""
    until(lambda: bool(world.agents.sources))
    return world.agents.sources[-1]


def closed(source: Source) -> bool:
    return source.closed.wait(5)


def test_bytes_go_both_ways(world: World) -> None:
    with connect(world) as socket:
        source = source_of(world)
        assert world.agents.calls[-1] == ("packaging.screen", ScreenParams(STORAGE, "v-edit"))
        source.give(b"RFB 003.008\n")
        assert socket.receive_bytes() == b"RFB 003.008\n"
        for part in (b"RFB 003.", b"008\n"):
            socket.send_bytes(part)
        until(lambda: bytes(source.received) == b"RFB 003.008\n")
    assert closed(source)
    with world.db.read() as work:
        entry = work.audit.list(limit=1)[0]
    assert (entry.actor, entry.action) == ("layer-manager", "packaging.screen")


@pytest.mark.parametrize(("offered", "chosen"), [(["binary"], "binary"), (["x"], None), ([], None)])
def test_the_subprotocol_that_novnc_may_ask_for(world: World, offered: list[str], chosen: str | None) -> None:
    client = world.client(Role.LAYER_MANAGER)
    with client.websocket_connect(URL, subprotocols=offered or None) as socket:
        assert socket.accepted_subprotocol == chosen


def test_a_session_of_our_own_page(world: World) -> None:
    client, _ = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world).give(b"x")
        assert socket.receive_bytes() == b"x"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "https://evil.example",
        "http://appliance.example",
        "https://appliance.example:8443",
        "https://appliance.example.evil.example",
        "https://appliance.example@evil.example",
        "https://[broken",
        "https://appliance.example:x",
    ],
)
def test_pages_of_other_sites_are_refused(world: World, origin: str | None) -> None:
    """Cross-site WebSocket hijacking: a browser sends the cookie wherever the page is from."""
    client, _ = login(world)
    headers = {} if origin is None else {"Origin": origin}
    refused(lambda: client.websocket_connect(URL, headers=headers))
    assert world.agents.sources == []


def test_a_token_does_not_help_pages_of_other_sites(world: World) -> None:
    refused(lambda: connect(world, Origin="https://evil.example"))


def test_a_host_that_the_appliance_is_not_is_refused(world: World) -> None:
    refused(lambda: connect(world, settings=WebSettings(hosts=("other.example",))))
    with connect(world, settings=WebSettings(hosts=("appliance.example",))):
        pass


def test_nobody(world: World) -> None:
    headers = {"Origin": HERE, "Accept-Language": "en"}
    with world.client().websocket_connect(URL, headers=headers) as socket:
        assert ends(socket) == (4401, "You are not logged in.")
    assert world.agents.sources == []


@pytest.mark.parametrize("role", [Role.PUBLISHER, Role.READ_ONLY])
def test_others_than_layer_managers(world: World, role: Role) -> None:
    with connect(world, role) as socket:
        assert ends(socket)[0] == 4403
    assert world.agents.sources == []


def test_what_cannot_be_shown_says_why(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR)
    for version in ("nothing", "v-os", "%ff%00"):
        with client.websocket_connect(URL.replace("v-edit", version)) as socket:
            assert ends(socket)[0] == 4404
    world.agents.failures["packaging.screen"] = WrongStateError(
        machine="nginx 1.1", state="off", operation="show its screen", needed="running"
    )
    with client.websocket_connect(URL) as socket:
        assert ends(socket) == (4409, "The machine nginx 1.1 is off.")
    with client.websocket_connect(URL, headers={"Accept-Language": "ja"}) as socket:
        code, reason = ends(socket)
        assert code == 4409
        assert not reason.isascii()
        assert len(reason.encode()) <= 123
    world.agents.failures["packaging.screen"] = RuntimeError("broken")
    with client.websocket_connect(URL) as socket:
        assert ends(socket) == (4500, "Something went wrong inside Sekiso.")
    world.agents.connected.clear()
    with client.websocket_connect(URL) as socket:
        assert ends(socket)[0] == 4503
    under(world, "Hyper-V")
    with client.websocket_connect(URL) as socket:
        assert ends(socket) == (4422, "The screen of this machine cannot be shown here.")


def test_a_long_reason_is_cut_between_characters(world: World) -> None:
    world.agents.failures["packaging.screen"] = WrongStateError(
        machine="機械" * 100, state="off", operation="x", needed="y"
    )
    with connect(world) as socket:
        code, reason = ends(socket)
    assert code == 4409
    assert len(reason.encode()) in (121, 122, 123)
    assert reason.startswith("The machine 機械")


def test_the_machine_is_turned_off(world: World) -> None:
    with connect(world) as socket:
        source_of(world).give(b"")
        assert ends(socket) == (4409, "The screen has ended: the machine was turned off.")


def test_the_agent_is_lost(world: World) -> None:
    with connect(world) as socket:
        source_of(world).give(StreamLostError(agent="hv01"))
        assert ends(socket) == (4503, "The connection to the agent hv01 was lost.")


def test_text_is_not_understood(world: World) -> None:
    with connect(world) as socket:
        socket.send_text("hello")
        assert ends(socket)[0] == 4400
    assert closed(source_of(world))


def test_a_logout_ends_it(world: World) -> None:
    client, secret = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world)
        world.services.users.logout(secret)
        assert ends(socket) == (4401, "You are not logged in.")
    assert closed(source_of(world))


def test_another_role_ends_it(world: World) -> None:
    client, _ = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world)
        world.services.users.change(APPLIANCE, "layer-manager", role=Role.PUBLISHER)
        assert ends(socket)[0] == 4403


def used_s(world: World, *, set_to_s: float | None = None) -> float | None:
    """When the session was last used."""
    user_id = world.services.users.get("layer-manager").id
    with world.db.begin() as work:
        (found,) = work.credentials.of_user(user_id)
        if set_to_s is not None:
            work.credentials.replace(replace(found, last_used_s=set_to_s))
    return found.last_used_s


@pytest.mark.parametrize("message", [b"\x04\x01" + bytes(6), b"\x05" + bytes(5), b"\xff" + bytes(11)])
def test_keys_and_mouse_are_use_of_the_session(world: World, message: bytes) -> None:
    client, _ = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world)
        old_s = time.time() - 600
        used_s(world, set_to_s=old_s)
        socket.send_bytes(message)
        until(lambda: (used_s(world) or 0) > old_s + 300)


def test_a_screen_that_is_left_open_is_no_use_of_the_session(world: World) -> None:
    """A page asks for the next picture (3) all the time."""
    client, _ = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world)
        old_s = round(time.time() - 600)
        used_s(world, set_to_s=old_s)
        for _ in range(6):
            socket.send_bytes(b"\x03" + bytes(9))
            time.sleep(0.05)
        assert used_s(world) == old_s


def test_the_timeout_of_the_session_ends_it(world: World) -> None:
    client, _ = login(world)
    with client.websocket_connect(URL, headers={"Origin": HERE}) as socket:
        source_of(world)
        used_s(world, set_to_s=time.time() - IDLE_S - 1)
        assert ends(socket)[0] == 4401


def test_so_many_at_once(world: World) -> None:
    client = world.client(Role.LAYER_MANAGER, WebSettings(screens=2))
    with client.websocket_connect(URL), client.websocket_connect(URL) as second:
        until(lambda: len(world.agents.sources) == 2)
        with client.websocket_connect(URL) as third:
            assert ends(third)[0] == 4503
        second.close()
        assert closed(world.agents.sources[1])

        def again() -> bool:
            with client.websocket_connect(URL):
                time.sleep(0.05)
            return len(world.agents.sources) == 3

        until(again)


def test_how_it_is_shown(world: World) -> None:
    client = world.client(Role.READ_ONLY)
    assert client.get(f"{MACHINE}/screen").json() == {"kind": "rfb"}
    problem(client.get(f"{MACHINE}/screen.rdp"), 422, "screen.no-file")
    under(world, "Hyper-V")
    assert client.get(f"{MACHINE}/screen").json() == {"kind": "vmconnect"}
    problem(client.get(f"{ROOT}/layer-versions/v-os/machine/screen"), 404, "not-found")


def test_the_file_for_a_hyper_v_server(world: World) -> None:
    machine = "5B5F3A8B-7D2A-4E0B-9C6A-0E5D1B2C3D4E"
    under(world, "Hyper-V", machine=machine)
    answer = world.client(Role.READ_ONLY).get(f"{MACHINE}/screen.rdp")
    assert answer.headers["content-type"] == "application/x-rdp"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''nginx%201.1.rdp"
    assert answer.content.decode("ascii") == (
        "full address:s:hv01.example\r\nserver port:i:2179\r\n"
        f"pcb:s:{machine};EnhancedMode=0\r\nnegotiate security layer:i:0\r\n"
    )


def test_what_an_agent_reports_is_no_setting_of_the_file(world: World) -> None:
    under(world, "Hyper-V", "hv\r\nalternate shell:s:evil", "m-7\r\nfull address:s:evil")
    lines = world.client(Role.READ_ONLY).get(f"{MACHINE}/screen.rdp").text.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "full address",
        "server port",
        "pcb",
        "negotiate security layer",
    ]
