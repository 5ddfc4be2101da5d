from __future__ import annotations

import pytest

from sekiso.hypervisors.errors import GuestSilentError, StateTimeoutError
from sekiso.hypervisors.facts import MachineSpec, MachineState
from sekiso.hypervisors.memory import GuestEvent, MemoryDriver, MemoryHost
from sekiso.hypervisors.waiting import (
    exists,
    find_machine,
    shut_down,
    stop,
    wait_for_message,
    wait_for_state,
)
from sekiso.model.machine import Generation


def running(host: MemoryHost) -> tuple[MemoryDriver, str]:
    driver = MemoryDriver(host)
    machine = driver.create_machine(MachineSpec("maki", Generation.ONE))
    driver.start(machine.id)
    return driver, machine.id


def test_the_button_is_pressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    presses: list[GuestEvent] = []

    def second_time(host: MemoryHost, machine_id: str, event: GuestEvent) -> None:
        if event is GuestEvent.BUTTON:
            presses.append(event)
            if len(presses) == 2:
                host.guest_powers_off(machine_id)

    monkeypatch.setattr("sekiso.hypervisors.waiting._PRESS_AGAIN_S", 0.05)
    driver, machine_id = running(MemoryHost(guest=second_time))
    assert shut_down(driver, machine_id, timeout_s=5, poll_s=0.01).state is MachineState.OFF
    assert len(presses) == 2
    assert shut_down(driver, machine_id, timeout_s=0).state is MachineState.OFF


def test_a_guest_that_goes_off_between_look_and_press() -> None:
    host = MemoryHost()
    driver, machine_id = running(host)

    class Late(MemoryDriver):
        def request_shut_down(self, machine_id: str) -> None:
            host.guest_powers_off(machine_id)
            super().request_shut_down(machine_id)

    assert shut_down(Late(host), machine_id, timeout_s=1).state is MachineState.OFF
    assert driver.get_machine(machine_id).state is MachineState.OFF


def test_stop_says_whether_the_guest_obeyed() -> None:
    driver, machine_id = running(MemoryHost())
    assert stop(driver, machine_id, timeout_s=1)
    driver, machine_id = running(MemoryHost(guest=lambda *_: None))
    assert not stop(driver, machine_id, timeout_s=0)


def test_timeouts_say_what_is_instead() -> None:
    driver, machine_id = running(MemoryHost())
    with pytest.raises(StateTimeoutError, match="still running"):
        wait_for_state(driver, machine_id, MachineState.PAUSED, timeout_s=0)
    driver.memory_host.guest_says(machine_id, "panic: no init\n")
    with pytest.raises(GuestSilentError, match="panic: no init"):
        wait_for_message(driver, machine_id, "READY", timeout_s=0)


def test_a_message_in_pieces_is_found() -> None:
    driver, machine_id = running(MemoryHost())
    original = driver.guest_messages
    pieces = iter(["RE", "AD", "Y now"])

    def dribble(*args: object, **more: object) -> object:
        driver.memory_host.guest_says(machine_id, next(pieces))
        return original(*args, **more)  # pyright: ignore[reportArgumentType]

    driver.guest_messages = dribble  # pyright: ignore[reportAttributeAccessIssue]
    heard = wait_for_message(driver, machine_id, "READY", timeout_s=5, poll_s=0)
    assert heard.match[0] == "READY"
    assert heard.next_offset == 9


def test_last_words_before_the_power_goes_are_heard() -> None:
    def guest(host: MemoryHost, machine_id: str, event: GuestEvent) -> None:
        host.guest_says(machine_id, "READY")
        host.guest_powers_off(machine_id)

    driver, machine_id = running(MemoryHost(guest=guest))
    assert wait_for_message(driver, machine_id, "READY", timeout_s=0)


def test_finding() -> None:
    driver, machine_id = running(MemoryHost())
    found = find_machine(driver, "maki")
    assert found is not None
    assert found.id == machine_id
    assert exists(driver, machine_id)
    assert not exists(driver, "nobody")
