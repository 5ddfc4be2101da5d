"""`packaging.screen`: the screen of a packaging machine of one's own that is on (LY-2)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sekiso.agent.contract import CreatePackagingParams, PackagingParams, ScreenParams
from sekiso.agent.handlers.errors import MethodUnknownError, ScreenAbsentError
from sekiso.agent.handlers.screens import SocketStream
from sekiso.agent.link.errors import StreamEndedError
from sekiso.errors import NotFoundError
from sekiso.hypervisors.errors import WrongStateError
from sekiso.hypervisors.facts import MachineState
from sekiso.hypervisors.memory import MemoryDriver, MemoryHost
from sekiso.hypervisors.rules import check_state
from sekiso.model.machine import DiskFormat

from ....contract.agent_port.worker import Caller
from .bench import HARDWARE, OTHER_TASK, TASK, VERSION, Bench


class ScreenDriver(MemoryDriver):
    """A driver whose machines' screens end in this test."""

    def __init__(self, host: MemoryHost) -> None:
        super().__init__(host)
        self.far: list[socket.socket] = []

    def open_screen(self, machine_id: str) -> socket.socket:
        check_state(self.get_machine(machine_id), "show its screen", MachineState.RUNNING)
        near, far = socket.socketpair()
        self.far.append(far)
        return near


@pytest.fixture
def driver(bench: Bench) -> Iterator[ScreenDriver]:
    bench.driver = driver = ScreenDriver(bench.memory)
    bench.restarted()
    yield driver
    for far in driver.far:
        far.close()


@pytest.fixture
def pair() -> Iterator[tuple[SocketStream, socket.socket]]:
    near, far = socket.socketpair()
    stream = SocketStream(near)
    yield stream, far
    stream.close()
    far.close()


def create(bench: Bench) -> None:
    boot = bench.storage / "Packaging" / VERSION / "boot.vhd"
    boot.parent.mkdir(parents=True, exist_ok=True)
    boot.write_bytes(b"boot disk")
    params = CreatePackagingParams(bench.path, TASK, VERSION, "web 1", HARDWARE, str(boot), DiskFormat.VHD)
    bench.run("packaging.create", params)


def screen(bench: Bench, version_id: str = VERSION) -> Any:
    return bench.handlers.open_stream("packaging.screen", ScreenParams(bench.path, version_id))


def test_the_screen_of_a_machine_that_runs(bench: Bench, driver: ScreenDriver) -> None:
    create(bench)
    stream = screen(bench)
    driver.far[-1].sendall(b"RFB 003.008\n")
    assert stream.read() == b"RFB 003.008\n"
    stream.write(b"RFB 003.008\n")
    assert driver.far[-1].recv(100) == b"RFB 003.008\n"
    stream.close()
    assert driver.far[-1].recv(1) == b""


def test_a_machine_that_is_off(bench: Bench, driver: ScreenDriver) -> None:
    create(bench)
    bench.run("packaging.turn-off", PackagingParams(bench.path, VERSION))
    with pytest.raises(WrongStateError):
        screen(bench)
    assert driver.far == []


@pytest.mark.parametrize("version_id", [OTHER_TASK, "../x", ""])
def test_no_other_machine(bench: Bench, driver: ScreenDriver, version_id: str) -> None:
    create(bench)
    with pytest.raises(Exception) as caught:
        screen(bench, version_id)
    assert getattr(caught.value, "code", "")
    assert driver.far == []


def test_no_packaging_machine(bench: Bench, driver: ScreenDriver) -> None:
    with pytest.raises(NotFoundError, match="packaging machine"):
        screen(bench)


def test_a_hypervisor_without_such_screens(bench: Bench) -> None:
    create(bench)
    with pytest.raises(ScreenAbsentError):
        screen(bench)


def test_a_stream_that_is_not_known(bench: Bench) -> None:
    for method, params in (("packaging.sound", ScreenParams(bench.path, VERSION)), ("packaging.screen", 1)):
        with pytest.raises(MethodUnknownError):
            bench.handlers.open_stream(method, params)


# --- streams over sockets -------------------------------------------------------------------------------


def test_a_peer_that_ends_or_breaks_off(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(b"last")
    stream.write(b"never read")
    far.close()  # a reset: there is something unread
    assert stream.read() == b"last"
    assert stream.read() == b""
    with pytest.raises(StreamEndedError):
        for _ in range(10):
            stream.write(b"late")


def test_closing_wakes_who_waits(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, _ = pair
    reader, writer = Caller(stream.read), Caller(lambda: stream.write(bytes(64 << 20)))
    threading.Event().wait(0.1)
    stream.close()
    stream.close()
    assert reader.result() == b""
    with pytest.raises(StreamEndedError):
        writer.result()


def test_a_limit_of_time_of_the_driver_does_not_count(pair: tuple[SocketStream, socket.socket]) -> None:
    near, far = socket.socketpair()
    near.settimeout(0.01)
    stream = SocketStream(near)
    reader = Caller(stream.read)
    threading.Event().wait(0.1)
    far.sendall(b"x")
    assert reader.result() == b"x"
    stream.close()
    far.close()
