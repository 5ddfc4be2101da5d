"""Every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from sekiso.store.database.audit import GENESIS
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.store.database.tables import METADATA

from ...support.postgres import PostgresCluster, postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """URL of a database without tables."""
    if dialect == "sqlite":
        return sqlite_url(tmp_path / "empty.db")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return cluster.url(cluster.new_database())


@pytest.fixture(scope="session")
def copies(
    dialect: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[Path], str]:
    """Returns the URL of a migrated database without content; migrating once is enough."""
    if dialect == "sqlite":
        original = tmp_path_factory.mktemp("original") / "sekiso.db"
        open_database(sqlite_url(original)).close()

        def copied(folder: Path) -> str:
            shutil.copy(original, folder / "sekiso.db")
            return sqlite_url(folder / "sekiso.db")

        return copied
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    # Making a database takes PostgreSQL far longer than emptying one.
    url = cluster.url(cluster.new_database())
    open_database(url).close()

    def emptied(_folder: Path) -> str:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
            for name in sorted(METADATA.tables.keys() - {"audit_head"}):
                connection.execute(f"DELETE FROM {name}".encode())
            connection.execute("UPDATE audit_head SET number = 0, hash = %s", [GENESIS])
        return url

    return emptied


@pytest.fixture
def url(copies: Callable[[Path], str], tmp_path: Path) -> str:
    return copies(tmp_path)


class Clock:
    """A clock that moves by a second and a bit each time it is read."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.000001

    def __call__(self) -> float:
        self.now += 1.000001
        return self.now


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    with closing(Database(url, clock=Clock())) as database:
        yield database


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """The same database as another process has it: connections and turns of its own."""
    with closing(Database(url, clock=Clock())) as database:
        yield database
