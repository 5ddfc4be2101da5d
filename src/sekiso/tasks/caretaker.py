"""What looks after durable work now and then: work of dead workers, work that was cut off, old work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sekiso.tasks.leases import Watch

log = logging.getLogger(__name__)

#: Work that is cut off by something unforeseen is begun again so many times.
RESUME_TRIES = 5

_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Begun:
    """A piece of work that a worker has begun and not finished."""

    id: str
    worker: str


class Recoverable(Protocol):
    """Work that can be begun again."""

    def begun(self) -> Sequence[Begun]:
        """Return what was begun and is not finished, in every worker."""
        ...

    def put_back(self, worker: str) -> None:
        """Queue again what a dead worker had begun."""
        ...

    def resume(self, work_id: str) -> None:
        """Queue a piece of work again that nobody works on."""
        ...

    def give_up(self, work_id: str) -> None:
        """Never begin a piece of work again."""
        ...


class Recovery:
    """Finds work that nobody does any more. Used by one thread."""

    def __init__(
        self, works: Recoverable, watch: Watch, *, worker: str, running: Callable[[], frozenset[str]]
    ) -> None:
        self._works = works
        self._watch = watch
        self._worker = worker
        self._running = running
        self._missed: dict[str, int] = {}

    def take_over(self) -> None:
        """Queue the work of dead workers again; whoever polls first gets it."""
        for worker in sorted({work.worker for work in self._works.begun()} - {self._worker, ""}):
            if self._watch.dead(worker):
                log.warning("Worker %s is dead; its work is taken over", worker)
                self._works.put_back(worker)

    def resume_strays(self) -> None:
        """Queue what belongs to this worker again if it did not run in it, twice in a row."""
        mine = {work.id for work in self._works.begun() if work.worker == self._worker}
        running = self._running()
        for work in mine - running:
            self._missed[work] = self._missed.get(work, 0) + 1
            self._see_to(work, self._missed[work])
        # What runs again keeps its count until it is over, so that it is not resumed for ever.
        self._missed = {work: count for work, count in self._missed.items() if work in mine}

    def _see_to(self, work: str, count: int) -> None:
        if count > 2 * RESUME_TRIES:
            log.error("Work %s was cut off again and again; it is given up", work)
            self._works.give_up(work)
        elif count % 2 == 0:
            log.warning("Work %s is resumed", work)
            self._works.resume(work)


@dataclass(slots=True)
class Job:
    """Something that is done now and then. The first time comes after one interval."""

    name: str
    every_s: float
    run: Callable[[], None]
    due_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.due_s = time.monotonic() + self.every_s

    def run_if_due(self) -> None:
        """Do it if it is time; what goes wrong is logged."""
        if time.monotonic() < self.due_s:
            return
        self.due_s = time.monotonic() + self.every_s
        try:
            self.run()
        except Exception:
            log.exception("Looking after the %s failed; it is tried again soon", self.name)


class Caretaker:
    """The thread that does the jobs until it is told to stop."""

    def __init__(self, jobs: Sequence[Job], stop: threading.Event) -> None:
        self._jobs = jobs
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="task-caretaker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def lives(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            for job in self._jobs:
                job.run_if_due()
