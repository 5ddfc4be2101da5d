"""The audit history: append-only, one chain, and whoever touches it is found out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database.audit import GENESIS, AuditTable, entry_hash
from sekiso.store.database.database import Database
from sekiso.store.database.engine import make_engine, parsed_url
from sekiso.store.database.errors import AuditBrokenError
from sekiso.store.database.records import Session

SUBJECT = Subject(SubjectKind.LAYER, "l1", "Debian")


def append(db: Database, count: int, actor: str = "admin") -> None:
    for number in range(count):
        with db.begin() as work:
            work.audit.append(
                actor=actor, action=f"layer.change{number}", subject=SUBJECT, details={"n": number}
            )


def verified(db: Database) -> int | None:
    with db.read() as work:
        return work.audit.verify()


@contextmanager
def intruder(url: str) -> Iterator[Connection]:
    """Someone with the database's own tools; what was done is undone."""
    engine = make_engine(parsed_url(url), busy_timeout_s=5.0)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def take_guards_away(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        return
    for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars():
        connection.execute(text(f"DROP TRIGGER {name}"))


def found_after(connection: Connection, change: str, **values: Any) -> int | None:
    """What the verification says after a change behind its back, which is then undone."""
    take_guards_away(connection)
    connection.execute(text(change), values)
    found = AuditTable(Session(connection, time.time)).verify()
    connection.rollback()
    return found


def test_an_entry_says_who_did_what(db: Database) -> None:
    details = {"before": None, "after": {"名": ["x", 1, True]}, "role": Role.PUBLISHER, "s": 3600.0, "f": 0.5}
    with db.begin() as work:
        assert work.audit.verify() is None
        first = work.audit.append(actor="agent:a\0", action="layer.create", subject=SUBJECT, details=details)
        second = work.audit.append(actor="admin", action="layer.remove", subject=SUBJECT)
        assert (first.number, first.actor, first.subject_kind) == (1, "agent:a\ufffd", "layer")
        assert first.details == {
            "before": None,
            "after": {"名": ["x", 1, True]},
            "role": "publisher",
            "s": 3600,
            "f": "0.5",
        }
        assert second.number == 2
        assert second.details == {}
        assert second.time_s == pytest.approx(first.time_s + 1.000001, abs=1e-6)
        assert work.audit.list() == (second, first)
        assert work.audit.verify() is None


def test_each_hash_covers_the_one_before(db: Database) -> None:
    append(db, 2)
    with db.read() as work:
        second, first = work.audit.list()
    previous = GENESIS
    for entry in (first, second):
        fields: dict[str, Any] = {name: getattr(entry, name) for name in entry.__slots__ if name != "time_s"}
        previous = entry_hash(previous, {**fields, "time_us": round(entry.time_s * 1_000_000)})
        assert entry.hash == previous


def test_lists_what_matches(db: Database) -> None:
    other = Subject(SubjectKind.USER, "u1", "Bob")
    with db.begin() as work:
        for actor, action, subject in (
            ("admin", "layer.create", SUBJECT),
            ("bob", "layer.remove", SUBJECT),
            ("admin", "layer_x", other),
            ("admin", "user.create", other),
        ):
            work.audit.append(actor=actor, action=action, subject=subject)

        def numbers(**which: Any) -> list[int]:
            return [entry.number for entry in work.audit.list(**which)]

        assert numbers() == [4, 3, 2, 1]
        assert numbers(before=3) == [2, 1]
        assert numbers(before=2**90, limit=2**90) == [4, 3, 2, 1]
        assert numbers(limit=1) == [4]
        assert numbers(limit=-1) == numbers(before=-1) == []
        assert numbers(actor="admin") == [4, 3, 1]
        assert numbers(action="layer.") == [2, 1]
        assert numbers(action="layer") == [3, 2, 1]
        assert numbers(action="layer_") == [3]
        assert numbers(action="%") == numbers(actor="\0") == []
        assert numbers(subject_id="u1", action="user") == [4]


def test_writers_at_the_same_time_never_fork_the_chain(db: Database, other: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        databases = [db, other] * 4
        list(pool.map(lambda item: append(item[1], 6, f"writer {item[0]}"), enumerate(databases)))
    assert verified(db) is None
    with db.read() as work:
        entries = work.audit.list(limit=1000)
    assert [entry.number for entry in entries] == list(range(48, 0, -1))
    assert {entry.actor for entry in entries} == {f"writer {n}" for n in range(8)}


def test_what_is_rolled_back_leaves_no_gap(db: Database) -> None:
    append(db, 2)
    with pytest.raises(ZeroDivisionError), db.begin() as work:
        work.audit.append(actor="admin", action="x", subject=SUBJECT)
        raise ZeroDivisionError
    append(db, 1)
    assert verified(db) is None


def test_entries_cannot_be_changed_or_deleted(db: Database, url: str) -> None:
    append(db, 1)
    with intruder(url) as connection:
        for change in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(DBAPIError, match=r"append-only|TRUNCATE"):
                connection.execute(text(change))
            connection.rollback()
    assert verified(db) is None


CHANGES = [
    "actor = 'someone else'",
    "action = 'x'",
    "time_us = time_us + 1",
    "subject_kind = 'user'",
    "subject_id = 'l2'",
    "subject_name = 'x'",
    """details = '{"n"\\:7}'""",
    f"hash = '{'0' * 64}'",
    "number = 99",
]


def test_a_changed_entry_is_found(db: Database, url: str) -> None:
    append(db, 5)
    with intruder(url) as connection:
        for change in CHANGES:
            assert found_after(connection, f"UPDATE audit SET {change} WHERE number = 3") == 3, change
    assert verified(db) is None


def test_an_entry_hashed_anew_is_found_by_the_next(db: Database, url: str) -> None:
    append(db, 5)
    with db.read() as work:
        previous = work.audit.list(before=3, limit=1)[0].hash
    with intruder(url) as connection:
        row = connection.execute(text("SELECT * FROM audit WHERE number = 3")).mappings().one()
        forged = entry_hash(previous, {**row, "details": {"n": 2}, "subject_id": "x"})
        connection.rollback()
        change = "UPDATE audit SET subject_id = 'x', hash = :hash WHERE number = 3"
        assert found_after(connection, change, hash=forged) == 4


def test_a_deleted_entry_is_found(db: Database, url: str) -> None:
    append(db, 5)
    with intruder(url) as connection:
        for which, found in (("= 1", 1), ("= 3", 3), ("= 5", 5), ("> 2", 3), ("> 0", 1)):
            assert found_after(connection, f"DELETE FROM audit WHERE number {which}") == found, which
    assert verified(db) is None


def test_an_entry_that_is_hidden_from_searches_is_found(db: Database, url: str) -> None:
    append(db, 3)
    with intruder(url) as connection:
        assert found_after(connection, "UPDATE audit_texts SET text = 'x' WHERE number = 2") == 2
        assert found_after(connection, "DELETE FROM audit_texts WHERE number = 3") == 3
    assert verified(db) is None


def test_entries_put_in_are_found(db: Database, url: str) -> None:
    append(db, 2)
    with intruder(url) as connection:
        connection.execute(
            text(
                "INSERT INTO audit SELECT 3, time_us, actor, action, subject_kind, subject_id, subject_name, "
                "details, hash FROM audit WHERE number = 2"
            )
        )
        connection.commit()
    assert verified(db) == 3
    # A history with a foreign entry is not continued.
    with pytest.raises(AuditBrokenError), db.begin() as work:
        work.audit.append(actor="admin", action="x", subject=SUBJECT)


def test_verifies_in_portions(db: Database, url: str) -> None:
    with db.begin() as work:
        for number in range(1003):
            work.audit.append(actor="admin", action="x", subject=SUBJECT, details={"n": number})
        assert work.audit.verify() is None
    with intruder(url) as connection:
        assert found_after(connection, "UPDATE audit SET actor = 'x' WHERE number = 1001") == 1001
