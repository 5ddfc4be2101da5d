"""Connections to SQLite and PostgreSQL that behave the same."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from sekiso.store.database.errors import DatabaseUnavailableError, DatabaseUrlError

#: Execution option of connections that only read.
READ_ONLY = "sekiso_read_only"

#: Key of the advisory lock that lets writing transactions follow each other on PostgreSQL ("SEKISO").
_WRITER_LOCK = 0x53454B49534F
_JOURNAL_LIMIT_BYTES = 64 << 20
#: A transaction that a hung process left open ends after this.
_IDLE_LIMIT_S = 120

_to_json = partial(json.dumps, allow_nan=False, separators=(",", ":"))


def parsed_url(text: str) -> URL:
    """Return the URL of a database with its driver.

    Raises:
        DatabaseUrlError: it is none, of another kind of database, or of one that is not kept.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # What it says shows the whole text, a password in it too.
        raise DatabaseUrlError(
            database="", reason="It is not the URL of a database.", remedy=_URL_REMEDY
        ) from None
    dialect = url.get_backend_name()
    if dialect in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if dialect != "sqlite":
        raise _refused(url, "Sekiso works with SQLite and PostgreSQL only.")
    if url.query:
        raise _refused(url, "The URL of an SQLite database has a path and nothing else.")
    if url.database in (None, "", ":memory:"):
        raise _refused(url, "A database in memory is lost when the program ends.")
    return url.set(drivername="sqlite+pysqlite")


def shown(url: URL) -> str:
    """Return a URL without its password."""
    return url.render_as_string(hide_password=True)


def make_engine(url: URL, *, busy_timeout_s: float) -> Engine:
    """Return the engine of a database; nothing is opened yet.

    Args:
        url: from `parsed_url`.
        busy_timeout_s: how long a transaction waits for others.

    Raises:
        DatabaseUnavailableError: the driver is not installed.
    """
    common: dict[str, Any] = {"json_serializer": _to_json, "hide_parameters": True}
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url, busy_timeout_s, common)
        return _postgresql_engine(url, busy_timeout_s, common)
    except ModuleNotFoundError as exc:
        reason = f"The Python package {exc.name} is not installed."
        raise DatabaseUnavailableError(database=shown(url), reason=reason) from exc


def create_file(url: URL) -> None:
    """Make the file of an SQLite database, for its owner only, unless it exists.

    Raises:
        DatabaseUnavailableError: it cannot be made.
    """
    if url.get_backend_name() != "sqlite":
        return
    path = Path(str(url.database))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise DatabaseUnavailableError(database=shown(url), reason=exc.strerror or str(exc)) from exc


def take_writer_turn(connection: Connection) -> None:
    """Wait until no other process writes. SQLite's `BEGIN IMMEDIATE` has done so already.

    Source: at READ COMMITTED each statement sees what was committed before it, so everything after the lock
    sees what its last holder did: transactions behave as if they ran one after the other.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


def _sqlite_engine(url: URL, busy_timeout_s: float, common: dict[str, Any]) -> Engine:
    arguments = {"check_same_thread": False, "timeout": busy_timeout_s}
    engine = create_engine(url, connect_args=arguments, **common)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control would begin too late: reads before the first write are part of it.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_BYTES}")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgresql_engine(url: URL, busy_timeout_s: float, common: dict[str, Any]) -> Engine:
    settings = {
        "lock_timeout": int(busy_timeout_s * 1000),
        "idle_in_transaction_session_timeout": _IDLE_LIMIT_S * 1000,
    }
    arguments = {
        "application_name": "sekiso",
        "connect_timeout": 10,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, **common)


_URL_REMEDY = "Write it like sqlite:////path/to/sekiso.db or postgresql://user@host/database."


def _refused(url: URL, reason: str) -> DatabaseUrlError:
    return DatabaseUrlError(database=shown(url), reason=reason, remedy=_URL_REMEDY)
