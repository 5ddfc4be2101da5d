"""What only PostgreSQL can do to a transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text

from sekiso.store.database.database import Database
from sekiso.store.database.errors import DatabaseBusyError, DatabaseUnavailableError

from . import samples
from .test_transactions import count, stranger

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True, scope="session")


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_failures_of_postgresql_that_pass(db: Database, state: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'try again' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(DatabaseBusyError, match="try again"), db.begin() as work:
        work.users.add(samples.USER)
        work.users._connection.exec_driver_sql(raising)  # type: ignore[attr-defined]
    with db.begin() as work:
        assert count(work) == 0


def test_a_deadlock_with_another_program(url: str) -> None:
    with closing(Database(url)) as db, stranger(url) as connection:
        with db.begin() as work:
            work.agents.add(samples.AGENT)
            work.users.add(samples.USER)
        connection.execute(text("SET deadlock_timeout = '10s'"))
        connection.execute(text("UPDATE agents SET last_seen_s = 1"))
        with ThreadPoolExecutor(1) as pool, pytest.raises(DatabaseBusyError, match="deadlock"):
            with db.begin() as work:
                work.users.replace(replace(samples.USER, failed_logins=9))
                waiting = pool.submit(connection.execute, text("UPDATE users SET failed_logins = 1"))
                work.agents.seen("agent-1", 2.0)
            waiting.result()
        connection.commit()


def test_a_lost_connection(db: Database, url: str) -> None:
    with db.begin() as work:
        work.users.add(samples.USER)
    with stranger(url) as connection:
        kill = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )
        with pytest.raises(DatabaseUnavailableError) as caught, db.begin() as work:
            work.users.remove("user-1")
            connection.execute(kill)
            work.users.all()
        assert caught.value.retryable
        with db.begin() as work:
            assert count(work) == 1
        connection.execute(kill)
        with db.read() as work:
            assert count(work) == 1
