"""Retry, time limits and "was the state reached?", once for all drivers."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.errors import (
    GuestSilentError,
    MachineNotFoundError,
    StateTimeoutError,
    WrongStateError,
)
from sekiso.hypervisors.facts import GuestPort, MachineFacts, MachineState
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

#: A guest that is still starting drops the power button's first press, so it is pressed again.
_PRESS_AGAIN_S = 10.0
_LAST_WORDS_CHARS = 400
#: A guest may write without end; what lies further back than this is not searched again.
_KEPT_CHARS = 4 << 20


def find_machine(driver: HypervisorDriver, name: str) -> MachineFacts | None:
    """Return the machine of this name, or None."""
    return next((m for m in driver.list_machines() if m.name == name), None)


def wait_for_state(
    driver: HypervisorDriver,
    machine_id: str,
    state: MachineState,
    *,
    timeout_s: float,
    progress: Progress = NO_PROGRESS,
    poll_s: float = 0.25,
) -> MachineFacts:
    """Wait until a machine is in a state.

    Args:
        driver: the hypervisor.
        machine_id: the machine.
        state: what is waited for.
        timeout_s: give up after this many seconds.
        progress: asked whether the work was canceled.
        poll_s: time between two looks.

    Raises:
        MachineNotFoundError: there is no such machine.
        StateTimeoutError: the state was not reached in time.
        CanceledError: the work was canceled.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        facts = driver.get_machine(machine_id)
        if facts.state is state:
            return facts
        if time.monotonic() >= deadline:
            raise StateTimeoutError(
                machine=facts.name, state=facts.state.value, wanted=state.value, timeout_s=timeout_s
            )
        check_canceled(progress)
        time.sleep(poll_s)


def shut_down(
    driver: HypervisorDriver,
    machine_id: str,
    *,
    timeout_s: float,
    progress: Progress = NO_PROGRESS,
    poll_s: float = 0.25,
) -> MachineFacts:
    """Shut a machine down through its guest and wait until it is off; harmless when it is off already.

    Raises:
        MachineNotFoundError: there is no such machine.
        WrongStateError: it is paused or saved, so its guest cannot act.
        StateTimeoutError: the guest did not shut down in time; the machine still runs.
        CanceledError: the work was canceled.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        facts = driver.get_machine(machine_id)
        if facts.state is MachineState.OFF:
            return facts
        _press(driver, machine_id)
        left_s = deadline - time.monotonic()
        try:
            return wait_for_state(
                driver,
                machine_id,
                MachineState.OFF,
                timeout_s=max(0.0, min(_PRESS_AGAIN_S, left_s)),
                progress=progress,
                poll_s=poll_s,
            )
        except StateTimeoutError as error:
            if left_s <= _PRESS_AGAIN_S:
                raise StateTimeoutError(**{**error.params, "timeout_s": timeout_s}) from error


def _press(driver: HypervisorDriver, machine_id: str) -> None:
    try:
        driver.request_shut_down(machine_id)
    except WrongStateError:
        # Between the look and the press the machine may have gone off, or be on its way.
        if driver.get_machine(machine_id).state not in (MachineState.OFF, MachineState.STOPPING):
            raise


def stop(
    driver: HypervisorDriver, machine_id: str, *, timeout_s: float, progress: Progress = NO_PROGRESS
) -> bool:
    """Bring a machine to the state off: through its guest if that obeys in time, else by cutting the power.

    Returns:
        Whether the guest shut down by itself; if not, its file systems may be dirty.

    Raises:
        MachineNotFoundError: there is no such machine.
        CanceledError: the work was canceled.
    """
    try:
        shut_down(driver, machine_id, timeout_s=timeout_s, progress=progress)
    except (StateTimeoutError, WrongStateError):
        driver.turn_off(machine_id)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Heard:
    """What was waited for.

    Attributes:
        match: the match in the guest's text.
        text: all text since the offset at which the waiting began.
        next_offset: where to read on.
    """

    match: re.Match[str]
    text: str
    next_offset: int


def wait_for_message(
    driver: HypervisorDriver,
    machine_id: str,
    pattern: str,
    *,
    port: GuestPort = GuestPort.REPORT,
    since: int = 0,
    timeout_s: float,
    progress: Progress = NO_PROGRESS,
    poll_s: float = 0.2,
) -> Heard:
    """Wait until the guest has written something to a serial port.

    Args:
        driver: the hypervisor.
        machine_id: the machine.
        pattern: regular expression, searched in all text since `since` (lines may come in pieces).
        port: the port listened to.
        since: offset to start at.
        timeout_s: give up after this many seconds.
        progress: asked whether the work was canceled.
        poll_s: time between two looks.

    Raises:
        MachineNotFoundError: there is no such machine.
        GuestSilentError: it did not come in time, or the machine went off without it.
        CanceledError: the work was canceled.
    """
    deadline, text, offset = time.monotonic() + timeout_s, "", since
    while True:
        # The state is taken before the text: what a machine wrote before it went off is then always seen.
        facts = driver.get_machine(machine_id)
        news = driver.guest_messages(machine_id, port, since=offset)
        text, offset = text + news.text, news.next_offset
        match = re.search(pattern, text)
        if match:
            return Heard(match, text, offset)
        text = text[-_KEPT_CHARS:]
        late = time.monotonic() >= deadline
        if late or not news.text:
            _check_alive(facts, pattern, text, timeout_s, late=late)
        check_canceled(progress)
        time.sleep(poll_s)


def _check_alive(facts: MachineFacts, wanted: str, text: str, timeout_s: float, *, late: bool) -> None:
    last = text.strip()[-_LAST_WORDS_CHARS:] or "none"
    if facts.state is MachineState.OFF:
        reason = "The machine went off without it."
    elif late:
        reason = f"It did not come within {timeout_s:g} seconds."
    else:
        return
    raise GuestSilentError(machine=facts.name, wanted=wanted, reason=reason, last=last)


def exists(driver: HypervisorDriver, machine_id: str) -> bool:
    """Whether there is a machine of this identifier."""
    try:
        driver.get_machine(machine_id)
    except MachineNotFoundError:
        return False
    return True
