"""The database in which work is recorded, when it is an SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url

_BUSY_MS = 30_000


def is_sqlite(url: str) -> bool:
    """Whether a URL means an SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def system_engine(url: str) -> Engine:
    """Return an engine for an SQLite file in WAL mode; made for its owner only unless it exists."""
    path = Path(str(make_url(url).database))
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(url, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: Any, _record: Any) -> None:
    # As the library sets up the connections that it makes itself, and WAL with full synchronisation besides.
    connection.isolation_level = "IMMEDIATE"
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()
