"""What the guests of packaging machines have said since they were last started."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from sekiso.guests.report import GuestReport, ReportReader, RunOnceResult
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.hypervisors.facts import GuestPort

#: Machines that are listened to at once; beyond, the one not asked for longest is read anew when asked for.
_LARGEST = 256


@dataclass(frozen=True, slots=True)
class Heard:
    """What a guest said since its machine was started.

    Attributes:
        report: the report of its latest boot.
        run_once: the latest word on each run-once script, of boots before the latest too: a script that fails
            and restarts the guest has failed all the same.
    """

    report: GuestReport
    run_once: tuple[RunOnceResult, ...]


@dataclass(slots=True)
class _Listener:
    since: int
    offset: int
    reader: ReportReader = field(default_factory=ReportReader)


class GuestWatch:
    """Reads the report port of machines; each call takes in what is new. Thread-safe.

    Nothing is lost when the process restarts: all is read again from the offset of the machine's start.
    """

    def __init__(self, driver: HypervisorDriver) -> None:
        self._driver = driver
        self._listeners: dict[str, _Listener] = {}
        self._lock = threading.Lock()

    def heard(self, machine_id: str, since: int) -> Heard:
        """Return what a guest said.

        Args:
            machine_id: the machine.
            since: offset of the report port when the machine was started.

        Raises:
            MachineNotFoundError: there is no such machine.
        """
        with self._lock:
            listener = self._listeners.pop(machine_id, None)
            if listener is None or listener.since != since:
                listener = _Listener(since, since)
            self._read(machine_id, listener)
            self._listeners[machine_id] = listener
            while len(self._listeners) > _LARGEST:
                del self._listeners[next(iter(self._listeners))]
            reader = listener.reader
        reports = (*reader.earlier, reader.report)
        return Heard(reader.report, latest_results([r.run_once for r in reports]))

    def forget(self, machine_id: str) -> None:
        """Stop listening to a machine."""
        with self._lock:
            self._listeners.pop(machine_id, None)

    def end_offset(self, machine_id: str, since: int = 0) -> int:
        """Return the offset after everything that the guest has said.

        Args:
            machine_id: the machine.
            since: an offset known already.

        Raises:
            MachineNotFoundError: there is no such machine.
        """
        while True:
            news = self._driver.guest_messages(machine_id, GuestPort.REPORT, since=since)
            if not news.text:
                return news.next_offset
            since = news.next_offset

    def _read(self, machine_id: str, listener: _Listener) -> None:
        while True:
            news = self._driver.guest_messages(machine_id, GuestPort.REPORT, since=listener.offset)
            listener.offset = news.next_offset
            if not news.text:
                return
            listener.reader.feed(news.text.encode())


def latest_results(boots: Sequence[Sequence[RunOnceResult]]) -> tuple[RunOnceResult, ...]:
    """Return the latest word on each script, by its name, in the order in which they were first heard of."""
    found: dict[str, RunOnceResult] = {}
    for results in boots:
        for result in results:
            found[result.name] = result
    return tuple(found.values())
