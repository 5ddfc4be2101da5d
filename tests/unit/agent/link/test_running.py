"""Commands at the agent: once, in turn, given up when the process ends (AG-5)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sekiso.agent.errors import JournalError
from sekiso.agent.link.messages import MAX_BYTES, Command, Outcome, Progress, encode
from sekiso.agent.link.running import Running
from sekiso.agent.memory import MemoryJournal
from sekiso.errors import NoSpaceError

from ....contract.agent_port.worker import LONG, QUICK, Worker, until

PARAMS = {"storage_path": "/place", "path": "answer"}


@dataclass
class Host:
    worker: Any = field(default_factory=Worker)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    ended: list[Outcome] = field(default_factory=list[Outcome])
    told: list[Progress] = field(default_factory=list[Progress])

    def __post_init__(self) -> None:
        self.running = self.again()

    def again(self) -> Running:
        """A process with the journal of the one before."""
        self.running = Running(self.worker, self.journal, told=self.told.append, ended=self.ended.append)
        return self.running

    def give(self, what: str, name: str = "c", method: str = LONG, *, durable: bool = True) -> None:
        params = {"storage_path": what} if method == QUICK else PARAMS | {"path": what}
        self.running.take(Command(name, method, params, durable))

    def outcome(self) -> Outcome:
        until(lambda: self.ended, "an outcome")
        return self.ended.pop(0)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    if isinstance(made.worker, Worker):
        made.worker.released.set()
    made.running.stop()
    assert made.running.join(10)


def test_outcome_is_kept_until_it_is_acknowledged(host: Host) -> None:
    host.give("answer")
    outcome = host.outcome()
    assert outcome.result == {"path": "answer", "manifest": {"run": 1}}
    assert host.running.outcomes() == (outcome,)
    host.give("answer")
    assert host.outcome() == outcome
    host.running.acknowledged("c")
    assert host.running.known() == ()


def test_command_under_way_is_not_begun_twice(host: Host) -> None:
    for _ in range(3):
        host.give("wait")
    host.worker.released.set()
    host.outcome()
    assert host.worker.runs == {"c": 1}


def test_commands_that_are_not_durable_leave_nothing(host: Host) -> None:
    host.give("answer", method=QUICK, durable=False)
    assert host.outcome().result == {"account": "root", "free_bytes": 1}
    assert host.running.known() == ()


def test_what_the_end_of_the_process_cut_off_is_begun_again(host: Host) -> None:
    host.give("wait")
    until(lambda: host.worker.active, "the work")
    host.running.stop()
    assert host.running.join(5)
    assert host.ended == []
    host.again()
    assert (host.running.known(), host.running.outcomes()) == (("c",), ())
    host.worker.released.set()
    host.give("wait")
    assert host.outcome().result is not None
    assert host.worker.runs == {"c": 2}


def test_what_was_cut_off_can_be_canceled_without_being_begun(host: Host) -> None:
    host.journal.begin("c", LONG)
    host.running.cancel("c")
    outcome = host.outcome()
    assert outcome.error is not None
    assert outcome.error["code"] == "canceled"
    assert host.worker.runs == {}


def test_cancel_of_what_is_not_known_does_nothing(host: Host) -> None:
    host.running.cancel("nothing")
    assert host.ended == []


def test_cancel_of_what_has_ended_does_nothing(host: Host) -> None:
    host.give("answer")
    outcome = host.outcome()
    host.running.cancel("c")
    assert host.running.outcomes() == (outcome,)


def test_nothing_is_begun_when_the_process_ends(host: Host) -> None:
    host.running.stop()
    host.give("answer")
    host.give("answer", "q", QUICK)
    assert host.running.known() == ()


def test_failure_while_the_process_ends_is_no_outcome(host: Host) -> None:
    """It may have failed because its helpers were ended, too."""
    begun, fail = threading.Event(), threading.Event()

    class Failing:
        def run(self, method: str, params: Any, *, command_id: str, progress: Any) -> Any:
            begun.set()
            fail.wait(10)
            raise ValueError("killed")

    host.worker = Failing()
    host.again()
    host.give("x")
    assert begun.wait(10)
    host.running.stop()
    fail.set()
    assert host.running.join(10)
    assert (host.ended, host.running.known()) == ([], ("c",))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("no.such-method", {}),
        (LONG, {}),
        (LONG, {"storage_path": 1, "path": 2}),
        (QUICK, {"storage_path": None}),
        (QUICK, {"storage_path": {"a": []}}),
    ],
)
def test_command_that_makes_no_sense_is_answered(host: Host, method: str, params: dict[str, Any]) -> None:
    host.running.take(Command("c", method, params))
    error = host.outcome().error
    assert error is not None
    assert error["code"] == "agent.method-unknown"


def test_result_that_no_message_holds_is_an_error(host: Host) -> None:
    class Talker:
        def run(self, method: str, params: Any, *, command_id: str, progress: Any) -> Any:
            return {"path": "x" * MAX_BYTES}

    host.worker = Talker()
    host.again()
    host.give("x")
    error = host.outcome().error
    assert error is not None
    assert "too long" in error["text"]


def test_progress_names_its_step(host: Host) -> None:
    host.give("count")
    host.outcome()
    assert host.told[0] == Progress("c", "Count", 0, 5)
    assert [p.done for p in host.told] == sorted(p.done for p in host.told)


@dataclass
class Failing:
    """Fails as it is told."""

    error: Exception

    def run(self, method: str, params: Any, *, command_id: str, progress: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/guest/\udcff\ud800", r"/guest/\udcff\ud800"),
        ("x" * MAX_BYTES, "xxx"),
        (1 << 70, str(1 << 70)),
        (object, "class 'object'"),
    ],
)
def test_error_that_no_message_holds_is_told_all_the_same(host: Host, path: object, said: str) -> None:
    """Names of files in guests are whatever somebody made them."""
    host.worker = Failing(NoSpaceError(path=path, needed_bytes=2, free_bytes=1))
    host.again()
    host.give("x")
    outcome = host.outcome()
    assert len(encode(outcome)) <= MAX_BYTES
    assert outcome.error is not None
    assert said in outcome.error["text"]


def test_unexpected_error_that_no_message_holds(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # The runner of the tests sends what was logged to another process, which does not take such text either.
    monkeypatch.setattr(logging.getLogger("sekiso.agent.link.running"), "disabled", True)
    host.worker = Failing(ValueError("\udcff"))
    host.again()
    host.give("x")
    outcome = host.outcome()
    assert "ValueError" in encode(outcome)


@dataclass
class FullJournal(MemoryJournal):
    """A journal whose disk is full."""

    full: bool = True

    def __post_init__(self) -> None:
        super().__init__()

    def _check(self) -> None:
        if self.full:
            raise JournalError(database="journal.db", reason="database or disk is full")

    def begin(self, command_id: str, method: str) -> None:
        self._check()
        super().begin(command_id, method)

    def end(self, command_id: str, outcome: dict[str, Any]) -> None:
        self._check()
        super().end(command_id, outcome)

    def forget(self, command_id: str) -> None:
        self._check()
        super().forget(command_id)


def test_what_cannot_be_remembered_is_not_begun(host: Host) -> None:
    host.journal = FullJournal()
    host.again()
    host.give("answer")
    error = host.outcome().error
    assert error is not None
    assert error["code"] == "agent.journal"
    assert not host.worker.runs
    host.give("answer", method=QUICK, durable=False)
    assert host.outcome().error is None


def test_outcome_that_cannot_be_remembered_is_told(host: Host) -> None:
    """If it is lost on its way, the command is carried out again: nothing is done twice by that."""
    host.journal = journal = FullJournal(full=False)
    host.again()
    host.give("wait")
    until(lambda: host.worker.active, "the beginning")
    journal.full = True
    host.worker.released.set()
    assert host.outcome().result == {"path": "wait", "manifest": {"run": 1}}
    host.running.acknowledged("c")
    journal.full = False
    # It comes to light at the next connection that the appliance has it.
    assert host.running.known() == ("c",)


def test_cancel_that_cannot_be_remembered_is_told(host: Host) -> None:
    host.journal = journal = FullJournal(full=False)
    journal.begin("c", LONG)
    host.again()
    journal.full = True
    host.running.cancel("c")
    error = host.outcome().error
    assert error is not None
    assert error["code"] == "canceled"
