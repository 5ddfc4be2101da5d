"""The commands that an agent is carrying out: each in a thread, with its progress and its cancellation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from sekiso.agent.contract import METHODS
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.journal import Journal
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.messages import Command, Outcome, Progress
from sekiso.agent.link.plain_data import error_data, params_of, plain
from sekiso.crash_points import crash_point
from sekiso.errors import SekisoError

log = logging.getLogger(__name__)
#: Long commands of one storage path that run at once; the others wait their turn.
_LONG_PER_PLACE = 2
_QUICK_THREADS = 8


class StoppingError(Exception):
    """This process ends: the command is given up here and carried out again after the next start."""


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
    """Carries out commands once each, whatever happens to the connection."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        journal: Journal,
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
        self._lock = threading.Lock()
        self._reports: dict[str, _Report] = {}
        self._places: dict[str, threading.Semaphore] = {}
        self._quick = ThreadPoolExecutor(_QUICK_THREADS, thread_name_prefix="quick")
        self._stopping = threading.Event()

    def known(self) -> tuple[str, ...]:
        """Return the commands that the appliance may want to know of."""
        return tuple(entry.command_id for entry in self._journal.all())

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return the outcomes that the appliance has not acknowledged."""
        return tuple(
            Outcome(e.command_id, e.outcome.get("result"), e.outcome.get("error"))
            for e in self._journal.all()
            if e.outcome is not None
        )

    def take(self, command: Command) -> None:
        """Carry a command out, unless it is under way; one that has ended is answered again."""
        if command.durable:
            entry = self._journal.find(command.id)
            if entry is not None and entry.outcome is not None:
                self._ended(Outcome(command.id, entry.outcome.get("result"), entry.outcome.get("error")))
                return
        with self._lock:
            if command.id in self._reports or self._stopping.is_set():
                return
            report = _Report(command.id, self._told, self._stopping)
            self._reports[command.id] = report
        if command.durable:
            self._journal.begin(command.id, command.method)
        if command.method in METHODS and METHODS[command.method].quick:
            self._quick.submit(self._run, command, report)
        else:
            threading.Thread(
                target=self._run, args=(command, report), name=command.method, daemon=True
            ).start()

    def cancel(self, command_id: str) -> None:
        """Give a command up; what was interrupted by a restart is forgotten."""
        with self._lock:
            report = self._reports.get(command_id)
        if report is not None:
            report.cancel()
            return
        entry = self._journal.find(command_id)
        if entry is not None and entry.outcome is None:
            self._journal.forget(command_id)

    def acknowledged(self, command_id: str) -> None:
        """Forget a command whose outcome the appliance has."""
        self._journal.forget(command_id)

    def stop(self) -> None:
        """Let every command stop at its next sign of progress; they are carried out again later."""
        self._stopping.set()
        self._quick.shutdown(wait=False, cancel_futures=True)

    def _run(self, command: Command, report: _Report) -> None:
        try:
            outcome = self._outcome(command, report)
        except StoppingError:
            return
        if self._stopping.is_set() and outcome.error is not None:
            # What fails while the process ends may have failed because it ends.
            return
        if command.durable:
            plain_outcome = {"result": outcome.result, "error": outcome.error}
            crash_point("agent", command.method, "after")
            self._journal.end(command.id, plain_outcome)
        with self._lock:
            self._reports.pop(command.id, None)
        self._ended(outcome)

    def _outcome(self, command: Command, report: _Report) -> Outcome:
        try:
            crash_point("agent", command.method, "before")
            params = params_of(command.method, command.params)
            with self._place(command, params):
                result = self._dispatcher.run(command.method, params, command_id=command.id, progress=report)
            return Outcome(command.id, result=plain(result))
        except SekisoError as error:
            log.info("command %s (%s) failed: %s", command.id, command.method, error)
            return Outcome(command.id, error=error_data(error))
        except (KeyError, msgspec.MsgspecError):
            log.exception("command %s cannot be read", command.method)
            return Outcome(command.id, error=error_data(MethodUnknownError(method=command.method)))
        except StoppingError:
            raise
        except Exception as error:
            log.exception("command %s (%s) failed", command.id, command.method)
            unexpected = SekisoError(reason=f"{type(error).__name__}: {error}")
            return Outcome(command.id, error=error_data(unexpected))

    def _place(self, command: Command, params: Any) -> threading.Semaphore:
        quick = command.method in METHODS and METHODS[command.method].quick
        path = "" if quick else str(getattr(params, "storage_path", ""))
        if quick:
            return threading.Semaphore(1)
        with self._lock:
            return self._places.setdefault(path, threading.Semaphore(_LONG_PER_PLACE))
