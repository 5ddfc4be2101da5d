from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.tasks.caretaker import RESUME_TRIES, Begun, Job, Recovery
from sekiso.tasks.leases import Lease, LeaseTimes, Watch

TIMES = LeaseTimes(beat_s=5.0, dead_s=45.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Cut:
    """A database that can be cut off."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.cut = False

    @contextlib.contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        if self.cut:
            raise OSError("away")
        with self._db.begin() as work:
            yield work

    @contextlib.contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        if self.cut:
            raise OSError("away")
        with self._db.read() as work:
            yield work


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Cut]:
    made = open_database(sqlite_url(tmp_path / "sekiso.db"))
    yield Cut(made)
    made.close()


def test_a_silent_worker_is_dead_after_a_while(db: Cut) -> None:
    clock = Clock()
    lease, watch = Lease(db, "w1", TIMES, clock), Watch(db, TIMES, clock)
    lease.begin()
    assert not watch.dead("w1")
    for _ in range(20):
        clock.now += 5
        lease.beat()
        assert not watch.dead("w1")
    clock.now += 44
    assert not watch.dead("w1")
    clock.now += 1
    assert watch.dead("w1")
    lease.beat()
    assert not watch.dead("w1")


def test_a_worker_nobody_has_heard_of_is_given_the_same_time(db: Cut) -> None:
    clock = Clock()
    watch = Watch(db, TIMES, clock)
    assert not watch.dead("w9")
    clock.now += 45
    assert watch.dead("w9")


def test_a_worker_that_stops_need_not_be_waited_for(db: Cut) -> None:
    clock = Clock()
    lease = Lease(db, "w1", TIMES, clock)
    lease.begin()
    lease.end()
    assert Watch(db, TIMES, clock).dead("w1")
    Lease(db, "w1", TIMES, clock).begin()
    assert not Watch(db, TIMES, clock).dead("w1")


def test_a_worker_without_database_loses_its_lease_before_others_take_over(db: Cut) -> None:
    clock = Clock()
    lease = Lease(db, "w1", TIMES, clock)
    lease.begin()
    db.cut = True
    clock.now += 30
    lease.beat()
    assert not lease.lost
    clock.now += 7
    assert lease.lost
    db.cut = False
    lease.beat()
    assert not lease.lost


def test_a_former_life_stops_when_another_begins(db: Cut, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    old, fresh = Lease(db, "w1", TIMES, clock), Lease(db, "w1", TIMES, clock)
    old.begin()
    fresh.begin()
    old.beat()
    fresh.beat()
    assert old.lost
    assert not fresh.lost
    assert "Another process" in caplog.text
    old.end()
    assert not Watch(db, TIMES, clock).dead("w1")


class Works:
    def __init__(self, *begun: Begun) -> None:
        self.all = list(begun)
        self.did: list[Any] = []

    def begun(self) -> list[Begun]:
        return self.all

    def put_back(self, worker: str) -> None:
        self.did.append(("put back", worker))

    def resume(self, work_id: str) -> None:
        self.did.append(("resume", work_id))

    def give_up(self, work_id: str) -> None:
        self.did.append(("give up", work_id))


def test_only_work_of_dead_workers_is_put_back(db: Cut) -> None:
    clock = Clock()
    gone = Lease(db, "gone", TIMES, clock)
    gone.begin()
    gone.end()
    Lease(db, "lives", TIMES, clock).begin()
    works = Works(Begun("a", "gone"), Begun("b", "gone"), Begun("c", "lives"), Begun("d", "me"))
    recovery = Recovery(works, Watch(db, TIMES, clock), worker="me", running=frozenset)
    recovery.take_over()
    assert works.did == [("put back", "gone")]


def test_strays_are_resumed_and_at_last_given_up(db: Cut) -> None:
    works = Works(Begun("a", "me"), Begun("b", "me"), Begun("c", "other"))
    recovery = Recovery(works, Watch(db, TIMES), worker="me", running=lambda: frozenset({"b"}))
    recovery.resume_strays()
    assert works.did == []
    recovery.resume_strays()
    assert works.did == [("resume", "a")]
    for _ in range(2 * RESUME_TRIES):
        recovery.resume_strays()
    assert works.did.count(("resume", "a")) == RESUME_TRIES
    assert works.did[-1] == ("give up", "a")


def test_a_job_that_fails_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    times: list[int] = []

    def run() -> None:
        times.append(1)
        raise OSError("away")

    job = Job("test", 0.0, run)
    job.run_if_due()
    job.run_if_due()
    assert len(times) == 2
    assert "tried again" in caplog.text
    later = Job("test", 3600.0, run)
    later.run_if_due()
    assert len(times) == 2
