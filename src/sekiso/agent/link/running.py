"""The commands that an agent is carrying out: each in a thread, with its progress and its cancellation."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from sekiso.agent.contract import METHODS
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.journal import Entry
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.messages import MAX_BYTES, Command, Outcome, Progress, encode
from sekiso.agent.link.plain_data import error_data, params_of, plain
from sekiso.crash_points import crash_point
from sekiso.errors import CanceledError, SekisoError
from sekiso.model.progress import check_canceled

log = logging.getLogger(__name__)
#: Long commands of one storage path that run at once; the others wait their turn.
_LONG_PER_PLACE = 2
_QUICK_THREADS = 8
_TURN_S = 0.2
_CUT_CHARS = 2000


class StoppingError(Exception):
    """This process ends: the command is given up here and carried out again after the next start."""


class CommandJournal(Protocol):
    """Remembers commands; see `agent.journal.Journal`."""

    def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command."""
        ...

    def begin(self, command_id: str, method: str) -> None:
        """Remember that a command has begun; harmless when repeated."""
        ...

    def end(self, command_id: str, outcome: dict[str, Any]) -> None:
        """Remember how a command ended."""
        ...

    def forget(self, command_id: str) -> None:
        """Forget a command."""
        ...

    def all(self) -> tuple[Entry, ...]:
        """Return every command that is remembered."""
        ...


class _Report:
    """The progress of one command; see `model.progress.Progress`."""

    def __init__(self, command_id: str, tell: Callable[[Progress], None], stopping: threading.Event) -> None:
        self._id, self._tell, self._stopping = command_id, tell, stopping
        self._canceled = threading.Event()
        self._step, self._total = "", None

    def step(self, name: str, *, total: int | None = None) -> None:
        self._step, self._total = name, total
        self._say(0)

    def advance(self, done: int) -> None:
        self._say(done)

    def canceled(self) -> bool:
        self._check()
        return self._canceled.is_set()

    def cancel(self) -> None:
        self._canceled.set()

    def _say(self, done: int) -> None:
        self._check()
        self._tell(Progress(self._id, self._step, done, self._total))

    def _check(self) -> None:
        if self._stopping.is_set():
            raise StoppingError


class Running:
    """Carries out commands once each, whatever happens to the connection. Thread-safe."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        journal: CommandJournal,
        *,
        told: Callable[[Progress], None],
        ended: Callable[[Outcome], None],
    ) -> None:
        """Prepare.

        Args:
            dispatcher: carries out commands.
            journal: remembers them.
            told: gets progress; called from threads.
            ended: gets outcomes; called from threads.
        """
        self._dispatcher, self._journal = dispatcher, journal
        self._told, self._ended = told, ended
        self._changed = threading.Condition()
        self._reports: dict[str, _Report] = {}
        self._places: dict[str, threading.Semaphore] = {}
        self._quick = ThreadPoolExecutor(_QUICK_THREADS, thread_name_prefix="quick")
        self._stopping = threading.Event()

    def known(self) -> tuple[str, ...]:
        """Return the commands that the appliance may want to know of."""
        return tuple(entry.command_id for entry in self._journal.all())

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return the outcomes that the appliance has not acknowledged."""
        return tuple(_outcome_of(entry) for entry in self._journal.all() if entry.outcome is not None)

    def take(self, command: Command) -> None:
        """Carry a command out, unless it is under way; one that has ended is answered again."""
        try:
            with self._changed:
                if command.id in self._reports or self._stopping.is_set():
                    return
                entry = self._journal.find(command.id) if command.durable else None
                if entry is None or entry.outcome is None:
                    self._begin(command)
                    return
            self._ended(_outcome_of(entry))
        except SekisoError as error:  # it cannot be remembered, so it is not begun
            log.warning("command %s (%s) is refused: %s", command.id, command.method, error)
            self._ended(_failed(command.id, error))

    def cancel(self, command_id: str) -> None:
        """Give a command up; one that a restart has cut off is not begun again."""
        with self._changed:
            report = self._reports.get(command_id)
            if report is not None:
                report.cancel()
                return
            entry = self._journal.find(command_id)
            if entry is None or entry.outcome is not None:
                return
            outcome = _failed(command_id, CanceledError())
            self._record(outcome)
        self._ended(outcome)

    def acknowledged(self, command_id: str) -> None:
        """Forget a command whose outcome the appliance has."""
        try:
            self._journal.forget(command_id)
        except SekisoError as error:  # the appliance acknowledges it again after the next connect
            log.warning("command %s cannot be forgotten: %s", command_id, error)

    def stop(self) -> None:
        """Let every command stop at its next sign of progress; they are carried out again later."""
        self._stopping.set()
        self._quick.shutdown(wait=False)

    def join(self, timeout_s: float) -> bool:
        """Wait until no command runs any more; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._reports, timeout_s)

    def _begin(self, command: Command) -> None:
        if command.durable:
            self._journal.begin(command.id, command.method)
        report = _Report(command.id, self._told, self._stopping)
        work = threading.Thread(
            target=self._run, args=(command, report), name=command.method[:60], daemon=True
        )
        self._reports[command.id] = report
        if not _is_quick(command.method):
            work.start()
            return
        try:
            self._quick.submit(self._run, command, report)
        except RuntimeError:  # stopped just now
            del self._reports[command.id]

    def _run(self, command: Command, report: _Report) -> None:
        outcome: Outcome | None = None
        try:
            outcome = self._settled(command, report)
        finally:
            with self._changed:
                self._reports.pop(command.id, None)
                self._changed.notify_all()
        if outcome is not None:
            self._ended(outcome)

    def _settled(self, command: Command, report: _Report) -> Outcome | None:
        """Carry a command out and record how it ended; None if it was given up because the process ends."""
        try:
            outcome = self._outcome(command, report)
        except StoppingError:
            return None
        if self._stopping.is_set() and outcome.error is not None:
            # What fails while the process ends may have failed because it ends.
            return None
        if command.durable:
            crash_point("agent", command.method, "after")
            self._record(outcome)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        try:
            self._journal.end(outcome.id, {"result": outcome.result, "error": outcome.error})
        except SekisoError as error:
            # It is told all the same; should it be lost on its way, the command is carried out again.
            log.warning("the end of command %s cannot be remembered: %s", outcome.id, error)

    def _outcome(self, command: Command, report: _Report) -> Outcome:
        try:
            return _sendable(Outcome(command.id, result=self._result(command, report)), command.method)
        except SekisoError as error:
            log.info("command %s (%s) failed: %s", command.id, command.method, error)
            return _failed(command.id, error)
        except StoppingError:
            raise
        except Exception as error:  # whatever a handler does, the appliance gets an answer
            log.exception("command %s (%s) failed", command.id, command.method)
            return _failed(command.id, SekisoError(reason=f"{type(error).__name__}: {error}"))

    def _result(self, command: Command, report: _Report) -> dict[str, Any]:
        crash_point("agent", command.method, "before")
        try:
            params = params_of(command.method, command.params)
        except (KeyError, msgspec.MsgspecError) as error:
            raise MethodUnknownError(method=command.method) from error
        with self._turn(command.method, params, report):
            result = self._dispatcher.run(command.method, params, command_id=command.id, progress=report)
        return plain(result)

    @contextlib.contextmanager
    def _turn(self, method: str, params: Any, report: _Report) -> Generator[None]:
        """Wait for the command's turn at its storage path; quick ones need none."""
        if _is_quick(method):
            yield
            return
        path = str(getattr(params, "storage_path", ""))
        with self._changed:
            place = self._places.setdefault(path, threading.Semaphore(_LONG_PER_PLACE))
        while not place.acquire(timeout=_TURN_S):
            check_canceled(report)
        try:
            yield
        finally:
            place.release()


def _is_quick(method: str) -> bool:
    return method in METHODS and METHODS[method].quick


def _outcome_of(entry: Entry) -> Outcome:
    outcome = entry.outcome or {}
    return Outcome(entry.command_id, outcome.get("result"), outcome.get("error"))


def _failed(command_id: str, error: SekisoError) -> Outcome:
    """Return an error as an outcome; of one that no message holds, the beginning of its text."""
    outcome = Outcome(command_id, error=error_data(error))
    if len(encode(outcome)) > MAX_BYTES:
        outcome = Outcome(command_id, error=error_data(SekisoError(reason=error.render()[:_CUT_CHARS])))
    return outcome


def _sendable(outcome: Outcome, method: str) -> Outcome:
    """Return an outcome that fits into a message.

    Raises:
        SekisoError: it does not.
    """
    if len(encode(outcome)) > MAX_BYTES:
        raise SekisoError(reason=f"The result of {method} is too long.")
    return outcome
