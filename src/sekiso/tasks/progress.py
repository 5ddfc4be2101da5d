"""Progress of a step: throttled reports into the task table, and cancellation out of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sekiso.model.task import TaskState
from sekiso.store.database.api import DatabasePort
from sekiso.tasks.errors import StoppingError

log = logging.getLogger(__name__)

#: Amounts of at least so much are taken for bytes: nothing else that steps count reaches it.
BYTES_FROM = 1 << 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done.

    Attributes:
        report_s: least time between two reports of one step.
        canceled_s: least time between two looks for a cancellation.
        tries: how often undo and ended are tried before the task fails.
        backoff_s: wait after the first failed try; doubles with each.
    """

    report_s: float = 0.3
    canceled_s: float = 0.5
    tries: int = 5
    backoff_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the whole percentage a step is.

    Attributes:
        start: percentage when it begins.
        end: percentage when it has ended.
    """

    start: float
    end: float

    def at(self, done: int, total: int | None) -> float:
        """Return the percentage when so much of the step is done."""
        if not total or total < 0:
            return self.start
        return self.start + (self.end - self.start) * min(1.0, max(0.0, done / total))


class StepProgress:
    """Progress of one step of one task. Thread-safe. Failing reports are logged, never raised."""

    def __init__(
        self,
        db: DatabasePort,
        task_id: str,
        *,
        share: Share,
        percent: float,
        pace: Pace,
        stopping: Callable[[], bool],
        hinted: Callable[[], bool],
        cancelable: bool = True,
    ) -> None:
        self._db = db
        self._task_id = task_id
        self._share = share
        self._percent = percent
        self._pace = pace
        self._stopping = stopping
        self._hinted = hinted
        self._cancelable = cancelable
        self._lock = threading.Lock()
        self._done = 0
        self._total: int | None = None
        self._reported_s = 0.0
        self._looked_s = 0.0
        self._canceled = False

    def step(self, name: str, *, total: int | None = None) -> None:
        """Begin a part of the step; its name is only for the log of the process."""
        self._check_stopping()
        log.debug("Task %s: %s", self._task_id, name)
        with self._lock:
            self._done, self._total = 0, total
            self._report_if_due()

    def advance(self, done: int) -> None:
        """Say how much of the part is done."""
        self._check_stopping()
        with self._lock:
            self._done = done
            self._report_if_due()

    def canceled(self) -> bool:
        """Whether the task is canceled; the table is looked at now and then."""
        self._check_stopping()
        if not self._cancelable:
            return False
        with self._lock:
            if not self._canceled:
                self._canceled = self._hinted() or self._look_if_due()
            return self._canceled

    def flush(self) -> None:
        """Report what is known now."""
        with self._lock:
            self._report()

    def _check_stopping(self) -> None:
        if self._stopping():
            raise StoppingError

    def _report_if_due(self) -> None:
        if time.monotonic() - self._reported_s >= self._pace.report_s:
            self._report()

    def _report(self) -> None:
        self._reported_s = time.monotonic()
        self._percent = max(self._percent, self._share.at(self._done, self._total))
        unit = "bytes" if (self._total or 0) >= BYTES_FROM else ""
        try:
            with self._db.begin() as work:
                work.tasks.report(
                    self._task_id,
                    percent=round(self._percent, 2),
                    done=self._done,
                    total=self._total,
                    unit=unit,
                )
        except Exception:
            log.warning("Progress of task %s could not be recorded", self._task_id, exc_info=True)

    def _look_if_due(self) -> bool:
        if time.monotonic() - self._looked_s < self._pace.canceled_s:
            return False
        self._looked_s = time.monotonic()
        try:
            with self._db.read() as work:
                record = work.tasks.find(self._task_id)
        except Exception:
            log.warning("Task %s could not be looked at", self._task_id, exc_info=True)
            return False
        return record is not None and record.state is TaskState.CANCELING
