"""The screen of a packaging machine, worked on in a real browser: pictures, keys, breaks (LY-2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sekiso.agent.contract import PackagingState, PackagingStates
from sekiso.agent.handlers.screens import SocketStream
from sekiso.model.library import Role
from tests.support.chromium import Reader, accessibility_faults, reading
from tests.support.rfb import RfbServer
from tests.unit.web.world import PASSWORD

from .conftest import Served

pytestmark = pytest.mark.slow

MACHINE = "/layers/versions/v-edit/machine"
SHIFT, CONTROL, ALT, DELETE, ENTER = 0xFFE1, 0xFFE3, 0xFFE9, 0xFFFF, 0xFF0D
_CORNER = """() => {
  const canvas = document.querySelector('[data-screen-view] canvas');
  if (!canvas || !canvas.width) return null;
  return [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data.slice(0, 3)];
}"""


class Machine:
    """A packaging machine with a screen; it is on until `state` says otherwise."""

    def __init__(self, served: Served, patch: pytest.MonkeyPatch) -> None:
        self.screen = RfbServer()
        self.state = "running"
        world = served.world
        with world.db.begin() as work:
            record = work.agents.get("a-1")
            assert record.inventory is not None
            work.agents.replace(replace(record, inventory=replace(record.inventory, hypervisor="QEMU")))
        usual = world.agents.call

        def call(agent_id: str, method: str, params: Any, **more: Any) -> Any:
            if method == "packaging.states":
                return PackagingStates(tuple(PackagingState(v, self.state) for v in params.version_ids))
            return usual(agent_id, method, params, **more)

        patch.setattr(world.agents, "call", call)
        patch.setattr(world.agents, "open_stream", lambda *_: SocketStream(self.screen.connect()))


@pytest.fixture
def machine(served: Served, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(served, monkeypatch)


@pytest.fixture
def reader(chromium: Browser, served: Served, machine: Machine) -> Iterator[Reader]:
    """A layer manager at the page of the machine, its screen connected."""
    with reading(chromium, served.base, "en") as found:
        found.log_in(Role.LAYER_MANAGER.value, PASSWORD)
        found.page.goto(found.base + MACHINE)
        connected(found.page)
        yield found
        assert found.take() == []


def connected(page: Page) -> None:
    expect(page.locator("[data-screen-state]")).to_have_text("Connected")


def until(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError


def test_the_picture_is_seen_and_keys_arrive(reader: Reader, machine: Machine) -> None:
    page, keys = reader.page, machine.screen
    page.wait_for_function(f"JSON.stringify(({_CORNER})()) === '{list(keys.colour)}'.replaceAll(' ', '')")
    page.locator("[data-screen-view] canvas").click()
    page.keyboard.type("ls")
    page.keyboard.press("Enter")
    until(page, lambda: keys.pressed() == [ord("l"), ord("s"), ENTER])
    page.get_by_role("button", name="Ctrl+Alt+Del").click()
    until(page, lambda: keys.pressed()[3:] == [CONTROL, ALT, DELETE])
    assert accessibility_faults(page) == []


def test_the_keyboard_comes_back(reader: Reader, machine: Machine) -> None:
    """By keyboard alone: into the screen, and out of it again (WCAG 2.1.2)."""
    page, keys = reader.page, machine.screen
    button = page.get_by_role("button", name="Keyboard to the machine")
    button.press("Enter")
    expect(page.locator("[data-screen-view] canvas")).to_be_focused()
    page.keyboard.press("Tab")
    until(page, lambda: keys.pressed() == [0xFF09])
    page.keyboard.press("Control+Alt+Shift")
    expect(button).to_be_focused()
    # The machine is left without a key that is held down.
    until(
        page, lambda: {key for key, down in keys.keys if down} == {key for key, down in keys.keys if not down}
    )
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Ctrl+Alt+Del")).to_be_focused()


@pytest.mark.parametrize(
    ("layout", "text", "shifted"), [("us", 'aZ "@\n', {"Z", '"', "@"}), ("jp", 'aZ "@\n', {"Z", '"'})]
)
def test_text_is_typed_as_keys(
    reader: Reader, machine: Machine, layout: str, text: str, shifted: set[str]
) -> None:
    page, keys = reader.page, machine.screen
    page.get_by_role("button", name="Type text").click()
    page.get_by_label("Text", exact=True).fill(f"{text}層")
    page.get_by_label("Keyboard layout of the machine").select_option(layout)
    page.get_by_role("button", name="Type", exact=True).click()
    wanted: list[int] = []
    for char in text:
        wanted += [SHIFT] * (char in shifted) + [ENTER if char == "\n" else ord(char)]
    until(page, lambda: keys.pressed() == wanted)
    expect(page.locator("[data-screen-hint]")).to_have_text("Left out, because no key types them: 層")


def test_it_connects_again_by_itself(reader: Reader, machine: Machine) -> None:
    page = reader.page
    machine.screen.break_off()
    until(page, lambda: len(machine.screen.connections) == 2)
    connected(page)
    page.locator("[data-screen-view] canvas").click()
    page.keyboard.press("x")
    until(page, lambda: machine.screen.pressed() == [ord("x")])


def test_the_page_goes_on_without_touching_the_screen(reader: Reader, machine: Machine) -> None:
    page = reader.page
    asked: list[str | None] = []
    page.on(
        "request", lambda r: asked.append(r.headers.get("x-sekiso-background")) if "/facts" in r.url else None
    )
    page.locator("[data-screen-view] canvas").click()
    page.evaluate("document.querySelector('[data-screen-view] canvas').mine = true")
    machine.state = "stopping"
    expect(page.locator("#machine-facts")).to_contain_text("The machine is shutting down.")
    assert page.evaluate("document.activeElement.mine") is True
    machine.state = "off"
    expect(page.locator("#machine-facts")).to_contain_text("its guest has not reported")
    machine.screen.break_off()
    expect(page.locator("[data-screen-state]")).to_have_text("The machine is off")
    count = len(machine.screen.connections)
    page.wait_for_timeout(1500)
    assert len(machine.screen.connections) == count
    machine.state = "running"
    connected(page)
    # Who only looks on is logged out some time.
    assert set(asked) == {"1"}


def test_a_question_outlives_the_refreshes(reader: Reader, served: Served) -> None:
    page = reader.page
    question = page.locator("#confirm[open]")
    page.get_by_role("button", name="Turn off").click()
    # Longer than the page takes to refresh what the question is about.
    page.wait_for_timeout(4000)
    question.get_by_role("button", name="Turn off").click()
    expect(page.locator("#notices")).to_contain_text("The packaging machine is turned off.")
    assert "packaging.turn-off" in [method for method, _ in served.world.agents.calls]


def test_a_phone_in_the_dark(chromium: Browser, served: Served, machine: Machine) -> None:
    with reading(chromium, served.base, "ja", width=390, theme="dark") as reader:
        reader.log_in(Role.LAYER_MANAGER.value, PASSWORD)
        reader.page.goto(reader.base + MACHINE)
        expect(reader.page.locator("[data-screen-state]")).to_have_text("接続済み")
        assert accessibility_faults(reader.page) == []
        assert reader.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert reader.take() == []
