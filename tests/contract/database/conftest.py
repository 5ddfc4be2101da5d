"""Every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sekiso.store.database.database import Database, open_database, sqlite_url

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
    """Makes a migrated database and returns its URL; migrating once is enough."""
    if dialect == "sqlite":
        original = tmp_path_factory.mktemp("original") / "sekiso.db"
        open_database(sqlite_url(original)).close()

        def copied(folder: Path) -> str:
            shutil.copy(original, folder / "sekiso.db")
            return sqlite_url(folder / "sekiso.db")

        return copied
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    template = cluster.new_database()
    open_database(cluster.url(template)).close()
    return lambda _folder: cluster.url(cluster.new_database(template=template))


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
