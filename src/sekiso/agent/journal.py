"""The agent's journal of commands: which it has begun, and how each ended, until the appliance knows (AG-5).

Parameters are not kept: they hold the secrets of grants, and the appliance sends them again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        """Open the journal, which is made if absent."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, method TEXT NOT NULL, outcome TEXT)"
        )

    def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command."""
        with self._lock:
            row = self._db.execute(
                "SELECT id, method, outcome FROM command WHERE id = :id", {"id": command_id}
            ).fetchone()
        return None if row is None else _entry(row)

    def begin(self, command_id: str, method: str) -> None:
        """Remember that a command has begun; harmless when repeated."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO command VALUES (?, ?, NULL)", (command_id, method))

    def end(self, command_id: str, outcome: dict[str, Any]) -> None:
        """Remember how a command ended."""
        with self._lock:
            self._db.execute(
                "UPDATE command SET outcome = :outcome WHERE id = :id",
                {"outcome": json.dumps(outcome), "id": command_id},
            )

    def forget(self, command_id: str) -> None:
        """Forget a command whose outcome the appliance has."""
        with self._lock:
            self._db.execute("DELETE FROM command WHERE id = :id", {"id": command_id})

    def all(self) -> tuple[Entry, ...]:
        """Return every command that is remembered."""
        with self._lock:
            rows = self._db.execute("SELECT id, method, outcome FROM command ORDER BY rowid").fetchall()
        return tuple(_entry(row) for row in rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _entry(row: tuple[str, str, str | None]) -> Entry:
    command_id, method, outcome = row
    return Entry(command_id, method, None if outcome is None else json.loads(outcome))
