"""How workers that share a database tell each other that they live.

Each worker counts up a number in a row of its own. Others judge by their own monotonic clocks how long the
number has not changed, so clocks that differ do not matter. A worker that could not count for as long as
others wait must take its work for lost.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sekiso.store.database.api import DatabasePort

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Times of leases.

    Attributes:
        beat_s: a worker counts so often.
        dead_s: a worker that has not counted for so long is dead.
    """

    beat_s: float = 5.0
    dead_s: float = 45.0


def _row(worker: str) -> str:
    return f"task-worker.{worker}"


class Lease:
    """The sign of life of this worker. Used by one thread; `lost` by any."""

    def __init__(
        self,
        db: DatabasePort,
        worker: str,
        times: LeaseTimes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._worker = worker
        self._times = times
        self._monotonic = monotonic
        self._life = uuid.uuid4().hex
        self._count = 0
        self._beaten_s = monotonic()
        self._replaced = False

    @property
    def lost(self) -> bool:
        """Whether others may have taken over the work of this worker."""
        # A fifth of the time is left to those who have to stop.
        silent_s = self._monotonic() - self._beaten_s
        return self._replaced or silent_s > self._times.dead_s * 0.8

    def begin(self) -> None:
        """Begin this life of the worker: its former life is over."""
        self._put(closed=False)

    def beat(self) -> None:
        """Give a sign of life; a database that cannot be reached is logged."""
        began_s = self._monotonic()
        try:
            self._replaced = self._other_life()
            if not self._replaced:
                self._put(closed=False, as_of_s=began_s)
        except Exception:
            log.warning("Worker %s could not give its sign of life", self._worker, exc_info=True)

    def end(self) -> None:
        """Say that this worker has stopped, so that nobody has to wait for it."""
        try:
            if not self._other_life():
                self._put(closed=True)
        except Exception:
            log.warning("Worker %s could not say that it stops", self._worker, exc_info=True)

    def _other_life(self) -> bool:
        with self._db.read() as work:
            found = _value(work.settings.get(_row(self._worker)))
        if found.get("life", self._life) == self._life:
            return False
        if not self._replaced:
            log.error("Another process works under the name %s; this one stops working", self._worker)
        return True

    def _put(self, *, closed: bool, as_of_s: float | None = None) -> None:
        self._count += 1
        value = {"life": self._life, "count": self._count, "closed": closed}
        with self._db.begin() as work:
            work.settings.put(_row(self._worker), value)
        self._beaten_s = self._monotonic() if as_of_s is None else as_of_s


class Watch:
    """Judges which other workers are dead. Used by one thread."""

    def __init__(
        self, db: DatabasePort, times: LeaseTimes, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._times = times
        self._monotonic = monotonic
        self._seen: dict[str, tuple[Any, float]] = {}

    def dead(self, worker: str) -> bool:
        """Whether a worker has said that it stopped, or has been silent for too long under our eyes."""
        with self._db.read() as work:
            value = _value(work.settings.get(_row(worker)))
        now_s = self._monotonic()
        before, since_s = self._seen.get(worker, (None, now_s))
        if before != value:
            since_s = now_s
        self._seen[worker] = (value, since_s)
        return bool(value.get("closed")) or now_s - since_s >= self._times.dead_s


def _value(found: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
