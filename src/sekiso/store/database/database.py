"""The database: one transaction per block, one writer at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from sekiso.store.database.agents import AgentTable, CommandTable, TokenTable
from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.audit import AuditTable
from sekiso.store.database.engine import (
    READ_ONLY,
    create_file,
    make_engine,
    parsed_url,
    shown,
    take_writer_turn,
)
from sekiso.store.database.errors import DatabaseBusyError, translated
from sekiso.store.database.layers import LayerTable, VersionTable
from sekiso.store.database.library import ConfigurationTable, ImageTable, TemplateTable
from sekiso.store.database.migrating import present_revision, upgrade
from sekiso.store.database.records import Session
from sekiso.store.database.tasks import TaskTable
from sekiso.store.database.users import CredentialTable, SettingTable, UserTable

BUSY_TIMEOUT_S = 15.0
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database is.

    Attributes:
        kind: `sqlite` or `postgresql`.
        revision: revision of the schema.
        size_bytes: its size.
        connections_used: connections of this process that are at work.
        connections_idle: connections of this process that wait for work.
    """

    kind: str
    revision: str
    size_bytes: int
    connections_used: int
    connections_idle: int


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite database in a file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """A database, by URL. Thread-safe.

    Transactions of `begin` follow each other, also those of other processes: what one reads stays so until it
    has written. They are short; whoever waits longer than the time limit gets an error that says so.
    """

    def __init__(
        self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S, clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare a database; nothing is opened yet.

        Args:
            url: `sqlite:///…` or `postgresql://…`.
            busy_timeout_s: how long a transaction waits for others.
            clock: Unix seconds, for log, audit and journal.

        Raises:
            DatabaseUrlError: the URL is of no use.
            DatabaseUnavailableError: the driver is not installed.
        """
        self._url = parsed_url(url)
        self._engine = make_engine(self._url, busy_timeout_s=busy_timeout_s)
        self._clock = clock
        self._writing = _Turns(busy_timeout_s)

    def migrate(self) -> None:
        """Bring the schema up to date; make the file of an SQLite database if there is none.

        Raises:
            DatabaseNewerError: it was made by a later version of Sekiso.
            DatabaseUnavailableError: it does not answer.
            DatabaseBusyError: others do not let go of it.
        """
        create_file(self._url)
        with self._turn() as connection:
            upgrade(connection, shown(self._url))

    @contextmanager
    def begin(self) -> Generator[UnitOfWork]:
        """Open a transaction: committed at the end of the block, rolled back by an exception. Not nested.

        Raises:
            DatabaseBusyError: others do not let go; nothing was changed; can be retried.
            DatabaseUnavailableError: the database does not answer; can be retried.
        """
        with self._turn() as connection:
            yield self._unit_of_work(connection)

    @contextmanager
    def read(self) -> Generator[UnitOfWork]:
        """Open a transaction that sees one state and changes nothing; it waits for no writer.

        Raises:
            DatabaseUnavailableError: the database does not answer, or something was to be changed.
        """
        with self._translated(), self._engine.connect() as connection, _read_only(connection).begin():
            yield self._unit_of_work(connection)

    def facts(self) -> DatabaseFacts:
        """Look at the database.

        Raises:
            DatabaseUnavailableError: it does not answer.
        """
        with self._translated(), self._engine.connect() as connection, _read_only(connection).begin():
            size_bytes = connection.exec_driver_sql(_SIZE[connection.dialect.name]).scalar() or 0
            revision = present_revision(connection) or ""
        pool = self._engine.pool
        used = pool.checkedout() if isinstance(pool, QueuePool) else 0
        idle = pool.checkedin() if isinstance(pool, QueuePool) else 0
        return DatabaseFacts(self._url.get_backend_name(), revision, int(size_bytes), used, idle)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _turn(self) -> Generator[Connection]:
        with (
            self._writing.take(),
            self._translated(),
            self._engine.connect() as connection,
            connection.begin(),
        ):
            take_writer_turn(connection)
            yield connection

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except SQLAlchemyError as exc:
            known = translated(exc, shown(self._url))
            if known is None:
                raise
            raise known from exc

    def _unit_of_work(self, connection: Connection) -> UnitOfWork:
        session = Session(connection, self._clock)
        return UnitOfWork(
            agents=AgentTable(session),
            tokens=TokenTable(session),
            commands=CommandTable(session),
            configurations=ConfigurationTable(session),
            layers=LayerTable(session),
            versions=VersionTable(session),
            templates=TemplateTable(session),
            images=ImageTable(session),
            tasks=TaskTable(session),
            users=UserTable(session),
            credentials=CredentialTable(session),
            audit=AuditTable(session),
            settings=SettingTable(session),
        )


def open_database(url: str) -> Database:
    """Open a database: made if it is an SQLite file that does not exist, and brought up to date.

    Raises:
        DatabaseUrlError: the URL is of no use.
        DatabaseNewerError: it was made by a later version of Sekiso.
        DatabaseUnavailableError: it does not answer.
    """
    database = Database(url)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


class _Turns:
    """Lets the threads of this process write one after the other, without polling the database."""

    def __init__(self, timeout_s: float) -> None:
        self._lock = threading.Lock()
        self._timeout_s = timeout_s
        self._owner: int | None = None

    @contextmanager
    def take(self) -> Generator[None]:
        me = threading.get_ident()
        if self._owner == me:
            raise RuntimeError("transactions do not nest")
        if not self._lock.acquire(timeout=self._timeout_s):
            raise DatabaseBusyError(reason="Another transaction takes too long.")
        self._owner = me
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()


def _read_only(connection: Connection) -> Connection:
    if connection.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return connection.execution_options(**{READ_ONLY: True})
