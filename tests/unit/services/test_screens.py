"""Screens of packaging machines: who opens them, what the audit history says of it (LY-2, OP-4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sekiso.agent.handlers.errors import ScreenAbsentError
from sekiso.agent.link.errors import AgentOfflineError
from sekiso.errors import NotFoundError
from sekiso.hypervisors.errors import WrongStateError
from sekiso.model.layer import LayerKind
from sekiso.services.core import NotAllowedError
from sekiso.services.screens import MachineScreen, ScreenFileAbsentError, ScreenKind, file_name

from ...support.appliance import MANAGER, PUBLISHER
from ...support.library import Library, open_library


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        under(found, "QEMU")
        yield found


@pytest.fixture
def version_id(library: Library) -> str:
    os = library.layer("Debian", LayerKind.OS, version="12")
    _, version = library.created(os, name="app", auto_finalize=False)
    return version.id


def under(library: Library, hypervisor: str | None) -> None:
    """Have the agent report this hypervisor; None = nothing at all."""
    with library.core.db.begin() as work:
        record = work.agents.get(library.agent_id)
        inventory = None if hypervisor is None else replace(library.host.inventory, hypervisor=hypervisor)
        work.agents.replace(replace(record, inventory=inventory))


def test_a_screen_is_opened_and_recorded(library: Library, version_id: str) -> None:
    stream = library.layers.open_screen(MANAGER, version_id)
    stream.write(b"hello")
    assert stream.read() == b"hello"
    stream.close()
    assert library.host.screens[-1].closed.wait(5)
    entry = library.appliance.entries()[-1]
    assert (entry.actor, entry.action) == (MANAGER.name, "packaging.screen")
    assert entry.subject_name == "app 1"


def test_what_is_refused_is_not_recorded(library: Library, version_id: str) -> None:
    before = library.appliance.actions()
    with pytest.raises(NotAllowedError):
        library.layers.open_screen(PUBLISHER, version_id)
    with pytest.raises(NotFoundError):
        library.layers.open_screen(MANAGER, "nothing")
    library.host.packaging[version_id].state = "off"
    with pytest.raises(WrongStateError):
        library.layers.open_screen(MANAGER, version_id)
    library.appliance.agents_port.offline.add(library.agent_id)
    with pytest.raises(AgentOfflineError):
        library.layers.open_screen(MANAGER, version_id)
    assert library.appliance.actions() == before
    assert library.host.screens == []


def test_without_an_entry_nobody_looks_on(
    library: Library, version_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("sekiso.services.packaging.version_subject", fail)
    with pytest.raises(OSError, match="disk full"):
        library.layers.open_screen(MANAGER, version_id)
    assert library.host.screens[-1].closed.wait(5)


def test_the_kind_depends_on_the_hypervisor(library: Library, version_id: str) -> None:
    layers = library.layers
    assert layers.screen(version_id) == MachineScreen(ScreenKind.RFB)
    with pytest.raises(ScreenFileAbsentError):
        layers.screen_file(version_id)
    under(library, "Hyper-V")
    assert layers.screen_kind(version_id) is ScreenKind.VMCONNECT
    with pytest.raises(ScreenAbsentError):
        layers.open_screen(MANAGER, version_id)
    name, content = layers.screen_file(version_id)
    assert name == f"app 1 {version_id[:8]}.rdp"
    assert b"full address:s:hv01\r\nserver port:i:2179\r\n" in content
    under(library, None)
    for ask in (layers.screen_kind, layers.screen_file):
        with pytest.raises(NotFoundError, match="inventory"):
            ask(version_id)


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        ("web 1", "web 1.rdp"),
        ("ウェブ 1", "ウェブ 1.rdp"),
        ('a/b\\c:"d"\r\n', "a_b_c__d___.rdp"),
        (" .. ", "screen.rdp"),
        ("x" * 300, "x" * 100 + ".rdp"),
    ],
)
def test_the_name_of_the_file(machine: str, wanted: str) -> None:
    assert file_name(machine) == wanted
