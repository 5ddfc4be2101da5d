"""The screen of a real machine, from QEMU through agent, link and appliance to a WebSocket (LY-2)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.agent.contract import CreatePackagingParams, Hardware, PackagingParams, ScreenParams
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.agent.port import ByteStream
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.model.machine import DiskFormat, Generation

from ...contract.agent_port.worker import until
from ...support.rfb_peers import KEY, NoiseServer
from .test_screens import Live, client_of, ends, make

pytestmark = pytest.mark.boot

TASK = "7f0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a01"
VERSION = "1c0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a03"


class Agent:
    """The real handlers over QEMU, with one packaging machine whose disk is empty."""

    def __init__(self, folder: Path) -> None:
        self.driver = QemuDriver(folder / "machines")
        self._storage = str(folder / "storage")
        self._handlers = Handlers(HandlerSettings(lambda: self.driver, "127.0.0.1"))
        boot = folder / "storage" / "Packaging" / VERSION / "boot.vhd"
        boot.parent.mkdir(parents=True)
        command = ["qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", str(boot), "16M"]
        subprocess.run(command, check=True)
        params = CreatePackagingParams(
            *(self._storage, TASK, VERSION, "web 1", Hardware(Generation.ONE, 1, 64), str(boot)),
            disk_format=DiskFormat.VHD,
        )
        self._handlers.run("packaging.create", params, command_id="t:1:s")

    def open_stream(self, method: str, params: ScreenParams) -> ByteStream:
        # The world of these tests names its storage path and its versions in its own way.
        return self._handlers.open_stream(
            method, replace(params, storage_path=self._storage, version_id=VERSION)
        )

    def turn_off(self) -> None:
        self._handlers.run(
            "packaging.turn-off", PackagingParams(self._storage, VERSION), command_id="t:1:off"
        )


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent-host")
    yield made
    for machine in made.driver.list_machines():
        made.driver.turn_off(machine.id)


@pytest.fixture
def live(tmp_path: Path, agent: Agent) -> Iterator[Live]:
    made = make(tmp_path / "appliance", NoiseServer(), agent)
    yield made
    made.close()


def test_the_firmwares_screen(live: Live, agent: Agent) -> None:
    with live.screen(subprotocols=["binary"]) as socket:
        client = client_of(socket)
        shown = client.shake_hands()
        assert shown.width >= 640 and shown.height >= 400
        until(lambda: any(client.picture(shown.width, shown.height)), "something on the screen")
        socket.send(KEY)
        agent.turn_off()
        assert ends(socket)[0] == 4409
    with live.screen() as socket:
        code, reason = ends(socket)
        assert code == 4409
        assert "web 1" in reason
