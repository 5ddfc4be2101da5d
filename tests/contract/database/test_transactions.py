"""Transactions: all or nothing, one after the other, and errors that say what is the matter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Connection, text

from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database
from sekiso.store.database.engine import make_engine, parsed_url
from sekiso.store.database.errors import DatabaseBusyError, DatabaseUnavailableError

from . import samples


@contextmanager
def stranger(url: str) -> Iterator[Connection]:
    """Another program with the database open, in a transaction that writes."""
    engine = make_engine(parsed_url(url), busy_timeout_s=5.0)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def count(work: UnitOfWork) -> int:
    return len(work.users.all())


def test_all_or_nothing(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.begin() as work:
        samples.fill(work)
        raise ZeroDivisionError
    with db.begin() as work:
        assert work.layers.all() == ()
        work.users.add(samples.USER)
    with db.begin() as work:
        assert work.users.all() == (samples.USER,)


def test_what_was_read_stays_so_until_it_is_written(db: Database, other: Database) -> None:
    with db.begin() as work:
        work.settings.put("count", 0)

    def increase(number: int) -> None:
        with (db if number % 2 else other).begin() as work:
            work.settings.put("count", work.settings.get("count") + 1)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(increase, range(40)))
    with db.read() as work:
        assert work.settings.get("count") == 40


def test_a_thread_has_one_transaction_at_a_time(db: Database) -> None:
    with db.begin() as work:
        with pytest.raises(RuntimeError, match="nest"), db.begin():
            pass
        work.users.add(samples.USER)
    with db.begin() as work:
        assert count(work) == 1


def test_readers_do_not_wait_and_see_one_state(db: Database, other: Database) -> None:
    seen: list[int] = []
    with db.begin() as writing:
        writing.users.add(samples.USER)
        for database in (db, other):
            with database.read() as work:
                seen.append(count(work))
    with other.read() as work:
        seen.append(count(work))
        with db.begin() as writing:
            writing.users.remove("user-1")
        seen.append(count(work))
    assert seen == [0, 0, 1, 1]
    with db.read() as work:
        assert count(work) == 0


def test_readers_change_nothing(db: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match=r"read-?only"), db.read() as work:
        work.users.add(samples.USER)
    # The connection is as good as before.
    for _ in range(3):
        with db.begin() as work:
            work.users.remove("user-1")
            work.users.add(samples.USER)


@pytest.mark.parametrize("same_process", [True, False])
def test_whoever_waits_too_long_is_told(url: str, same_process: bool) -> None:
    with closing(Database(url, busy_timeout_s=0.3)) as db, closing(Database(url)) as other:
        inside, leave = threading.Event(), threading.Event()

        def occupy() -> None:
            with (db if same_process else other).begin() as work:
                work.users.add(samples.USER)
                inside.set()
                leave.wait(10)

        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(occupy)
            assert inside.wait(10)
            try:
                with pytest.raises(DatabaseBusyError) as caught, db.begin():
                    pass
            finally:
                leave.set()
            holding.result()
        assert caught.value.retryable
        assert caught.value.params["reason"]
        with db.begin() as work:
            assert count(work) == 1


def test_a_row_that_another_program_holds(url: str) -> None:
    with closing(Database(url, busy_timeout_s=0.3)) as db:
        with db.begin() as work:
            work.agents.add(samples.AGENT)
        with stranger(url) as connection:
            connection.execute(text("UPDATE agents SET last_seen_s = 1"))
            with pytest.raises(DatabaseBusyError), db.begin() as work:
                work.agents.seen("agent-1", 2.0)
        with db.begin() as work:
            assert work.agents.get("agent-1") == samples.AGENT
