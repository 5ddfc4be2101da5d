"""The agent's journal of commands: which it has begun, and how each ended, until the appliance knows (AG-5).

Parameters are not kept: they hold the secrets of grants, and the appliance sends them again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.agent.errors import JournalError

log = logging.getLogger(__name__)
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        command_id: its durable identity.
        method: its method.
        outcome: `{"result": …}` or `{"error": …}`; None while it is under way.
    """

    command_id: str
    method: str
    outcome: dict[str, Any] | None


class Journal:
    """Commands in an SQLite file; thread-safe. What a method returns has is durable when it returns."""

    def __init__(self, path: Path) -> None:
        """Open the journal, which is made if absent.

        One that is damaged is put aside: commands that it knew are carried out again, which is harmless.

        Raises:
            JournalError: it can be neither opened nor made.
        """
        self._path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(database=path, reason=str(error)) from error

    def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command.

        Raises:
            JournalError: the journal cannot be read.
        """
        rows = self._rows("SELECT id, method, outcome FROM command WHERE id = ?1", command_id)
        return _entry(rows[0]) if rows else None

    def begin(self, command_id: str, method: str) -> None:
        """Remember that a command has begun; harmless when repeated.

        Raises:
            JournalError: the journal cannot be written.
        """
        self._rows("INSERT OR IGNORE INTO command VALUES (?, ?, NULL)", command_id, method)

    def end(self, command_id: str, outcome: dict[str, Any]) -> None:
        """Remember how a command ended.

        Raises:
            JournalError: the journal cannot be written.
        """
        self._rows("UPDATE command SET outcome = ?1 WHERE id = ?2", json.dumps(outcome), command_id)

    def forget(self, command_id: str) -> None:
        """Forget a command whose outcome the appliance has.

        Raises:
            JournalError: the journal cannot be written.
        """
        self._rows("DELETE FROM command WHERE id = ?1", command_id)

    def all(self) -> tuple[Entry, ...]:
        """Return every command that is remembered.

        Raises:
            JournalError: the journal cannot be read.
        """
        return tuple(map(_entry, self._rows("SELECT id, method, outcome FROM command ORDER BY rowid")))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _rows(self, statement: str, *values: str) -> Sequence[tuple[str, str, str | None]]:
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(database=self._path, reason=str(error)) from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", None) not in _DAMAGED:
            raise
        log.error("the journal of commands is damaged and put aside: %s", error)  # noqa: TRY400 (no fault)
    path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, method TEXT NOT NULL, outcome TEXT)"
        )
        db.execute("SELECT id, method, outcome FROM command").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _entry(row: tuple[str, str, str | None]) -> Entry:
    command_id, method, outcome = row
    return Entry(command_id, method, None if outcome is None else json.loads(outcome))
