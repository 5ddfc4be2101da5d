"""What guests can reach through each kind of switch."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sekiso.errors import RuleError
from sekiso.hypervisors.errors import NameTakenError
from sekiso.hypervisors.facts import DiskAttachment, DiskController, MachineSpec, NetworkAdapter, SwitchKind
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.hypervisors.waiting import wait_for_message
from sekiso.model.machine import DiskFormat, Generation
from tests.support.micro_guest import micro

pytestmark = pytest.mark.boot

BRIDGE = "sekiso-test"
#: eth0 Isolated, eth1 Default Switch, eth2 Private. The middle answer shows that the question is a good one.
ASK = """
ask() {{ printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $1 {port} 2>/dev/null | tr '\\r\\n' '  '; }}
try() {{
  ip link set $1 up; ip addr add 10.0.2.15/24 dev $1
  say "$2=[$(ask 10.0.2.2)]"
  ip link set $1 down
}}
try eth0 ISOLATED
try eth1 DEFAULT
ip link set eth2 up; ip addr add 192.168.7.1/24 dev eth2
ping -c 30 -W 1 192.168.7.2 > /dev/null 2>&1 &
n=0
while ! ping -c 1 -W 1 192.168.7.2 > /dev/null 2>&1; do n=$((n+1)); [ $n -gt 60 ] && break; done
say "PRIVATE=[$(ping -c 1 -W 2 192.168.7.2 | grep -o '1 packets received')]"
"""
#: eth0 is on a bridge of the host.
ASK_BRIDGE = """
ip link set eth0 up; ip addr add 192.168.213.2/24 dev eth0
n=0; while [ $n -lt 20 ] && ! ping -c 1 -W 1 192.168.213.1 > /dev/null 2>&1; do n=$((n+1)); done
say "BRIDGE=[$(printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 4 192.168.213.1 {port} | tr '\r\n' '  ')]"
"""
ANSWER = "ip link set eth0 up; ip addr add 192.168.7.2/24 dev eth0; sleep 300"


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"host says hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hello_server(address: str) -> Iterator[int]:
    with HTTPServer((address, 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def machine(name: str, disk: Path, *switches: str) -> MachineSpec:
    return MachineSpec(
        name,
        Generation.ONE,
        cpus=1,
        memory_bytes=192 << 20,
        adapters=tuple(NetworkAdapter(s) for s in switches),
        disks=(DiskAttachment(disk, DiskFormat.RAW, DiskController.IDE, boot_order=0),),
    )


@pytest.fixture
def bridge() -> Iterator[str]:
    commands = (
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "addr", "add", "192.168.213.1/24", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    )
    try:
        for command in commands:
            subprocess.run(command, check=True)
        yield BRIDGE
    finally:
        subprocess.run(["ip", "link", "del", BRIDGE], check=False)


@pytest.mark.root
def test_a_bridge_of_the_host_is_a_switch(tmp_path: Path, bridge: str) -> None:
    driver = QemuDriver(tmp_path / "storage")
    assert {s.name: s.kind for s in driver.list_switches()}[bridge] is SwitchKind.INTERNAL
    with hello_server("192.168.213.1") as port:
        ask = micro(tmp_path / "ask.raw", Generation.ONE, commands=ASK_BRIDGE.format(port=port))
        asking = driver.create_machine(machine("asking", ask, bridge))
        driver.start(asking.id)
        try:
            heard = wait_for_message(driver, asking.id, r"BRIDGE=\[(.*)\]", timeout_s=120)
        finally:
            driver.turn_off(asking.id)
    assert "host says hello" in heard.match[1]
    assert not list(Path(f"/sys/class/net/{bridge}/brif").iterdir())


def test_further_switches_are_remembered(tmp_path: Path) -> None:
    driver = QemuDriver(tmp_path / "storage")
    added = driver.add_switch("Kitchen", SwitchKind.PRIVATE)
    assert added in QemuDriver(tmp_path / "storage").list_switches()
    with pytest.raises(NameTakenError):
        driver.add_switch("Kitchen", SwitchKind.ISOLATED)
    with pytest.raises(RuleError):
        driver.add_switch("World", SwitchKind.EXTERNAL)


@pytest.fixture
def host_port() -> Iterator[int]:
    with hello_server("127.0.0.1") as port:
        yield port


def test_only_the_default_switch_reaches_the_host(tmp_path: Path, host_port: int) -> None:
    driver = QemuDriver(tmp_path / "storage")
    ask = micro(tmp_path / "ask.raw", Generation.ONE, commands=ASK.format(port=host_port))
    answer = micro(tmp_path / "answer.raw", Generation.ONE, commands=ANSWER)
    asking = driver.create_machine(machine("asking", ask, "Isolated", "Default Switch", "Private"))
    answering = driver.create_machine(machine("answering", answer, "Private"))
    try:
        driver.start(answering.id)
        driver.start(asking.id)
        text = wait_for_message(driver, asking.id, r"PRIVATE=\[.*\]", timeout_s=180).text
    finally:
        for made in (asking, answering):
            driver.turn_off(made.id)
    assert "ISOLATED=[]" in text
    assert "host says hello" in text.partition("DEFAULT=")[2]
    assert "PRIVATE=[1 packets received]" in text
