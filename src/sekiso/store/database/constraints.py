"""Turns what a constraint refuses into what a person can do about it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, ForeignKey, Table, select
from sqlalchemy.exc import IntegrityError

from sekiso.errors import NotFoundError, SekisoError
from sekiso.store.database import tables

_WHAT = {
    "agents": "The agent",
    "agent_tokens": "The registration token",
    "commands": "The command",
    "configurations": "The connector configuration",
    "layers": "The layer",
    "layer_versions": "The layer version",
    "templates": "The image template",
    "images": "The image",
    "tasks": "The task",
    "users": "The user",
    "credentials": "The session or API token",
}

_USERS_SHOWN = 10
_IDS_PER_QUERY = 1000
_UNIQUE_VIOLATION = "23505"
_SQLITE_UNIQUE = frozenset({"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})


@contextmanager
def savepoint(connection: Connection) -> Generator[None]:
    """Undo a block that was refused, so that the transaction can go on.

    Only then: after anything else (SQLite ends a transaction itself when the disk is full) there may be
    nothing to go back to, and trying would hide what has happened.
    """
    nested = connection.begin_nested()
    try:
        yield
    except (IntegrityError, SekisoError):
        nested.rollback()
        raise
    nested.commit()


def what(table: Table[Any]) -> str:
    """Return what a record of a table is, to begin a sentence with."""
    return _WHAT[table.name]


def not_found(table: Table[Any], reference: str) -> NotFoundError:
    """Return the error of a record that does not exist."""
    return NotFoundError(what=what(table), name=reference, remedy="Check the name or the identifier.")


def taken(error: IntegrityError) -> str | None:
    """Return which unique constraint was violated, in the database's words; None if it was another kind.

    Source: PostgreSQL names the constraint, SQLite its columns.
    """
    driver: Any = error.orig
    if getattr(driver, "sqlite_errorname", None) in _SQLITE_UNIQUE:
        return str(driver)
    if getattr(driver, "sqlstate", None) == _UNIQUE_VIOLATION:
        return str(driver.diag.constraint_name)
    return None


def missing_reference(
    connection: Connection, table: Table[Any], values: Mapping[str, Any]
) -> SekisoError | None:
    """Return the error of the first thing that a row refers to and that does not exist."""
    for key in sorted(table.foreign_keys, key=lambda k: k.parent.name):
        wanted = values.get(key.parent.name)
        if wanted is not None and not _exists(connection, key, wanted):
            return not_found(key.column.table, wanted)  # pyright: ignore[reportArgumentType]
    return None


def require_versions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that the layer versions which a list names exist.

    Raises:
        NotFoundError: one does not.
    """
    wanted = list(dict.fromkeys(row["version_id"] for row in rows if "version_id" in row))
    ids = tables.versions.c.id
    for start in range(0, len(wanted), _IDS_PER_QUERY):
        some = wanted[start : start + _IDS_PER_QUERY]
        known = set(connection.execute(select(ids).where(ids.in_(some))).scalars())
        for version_id in some:
            if version_id not in known:
                raise not_found(tables.versions, version_id)


def referring_names(connection: Connection, table: Table[Any], record_id: str) -> list[str]:
    """Return names of the records that keep a record from being removed, a few of them.

    Versions are left to those who know their layers.
    """
    found: list[str] = []
    for other in tables.METADATA.sorted_tables:
        for key in other.foreign_keys:
            if key.column.table is table and key.ondelete is None and _names_itself(other):
                query = select(other.c["name"]).where(key.parent == record_id).limit(_USERS_SHOWN)
                found.extend(connection.execute(query).scalars())
    return found[:_USERS_SHOWN]


def _names_itself(table: Table[Any]) -> bool:
    # A version's name means something together with its layer's only.
    return "name" in table.c and table is not tables.versions


def _exists(connection: Connection, key: ForeignKey, wanted: str) -> bool:
    return connection.execute(select(key.column).where(key.column == wanted)).first() is not None
