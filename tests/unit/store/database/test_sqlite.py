"""The file of an SQLite database: who may read it, what it survives, how it is spoken to."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from sekiso.model.library import Role, UserRecord
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database.api import UnitOfWork
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.store.database.errors import DatabaseUnavailableError

USER = UserRecord("u1", "Alice", Role.READ_ONLY, "")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(sqlite_url(tmp_path / "sekiso.db"))) as database:
        yield database


def connection_of(work: UnitOfWork) -> Connection:
    return work.users._connection  # type: ignore[attr-defined]


def test_its_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_database(sqlite_url(tmp_path / "層 100%?.db"))) as db, db.begin() as work:
            work.users.add(USER)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["層 100%?.db", "層 100%?.db-shm", "層 100%?.db-wal"], 0o600)


def test_how_it_is_spoken_to(db: Database) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000}
    for open_transaction in (db.begin, db.read):
        with open_transaction() as work:
            for name, value in expected.items():
                assert connection_of(work).exec_driver_sql(f"PRAGMA {name}").scalar() == value, name


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="No such file or directory"):
        open_database(sqlite_url(tmp_path / "none" / "sekiso.db"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "sekiso.db"
    path.write_bytes(b"no database at all\n" * 1000)
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        open_database(sqlite_url(path))
    assert path.read_bytes() == b"no database at all\n" * 1000


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "sekiso.db"
    with closing(open_database(sqlite_url(path))) as db, db.begin() as work:
        work.users.add(USER)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        closing(Database(sqlite_url(path))) as db,
        pytest.raises(DatabaseUnavailableError, match="malformed"),
        db.begin() as work,
    ):
        work.users.all()


def test_no_more_room(db: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="full"), db.begin() as work:
        connection = connection_of(work)
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for number in range(100):
            work.users.add(replace(USER, id=str(number), name="x" * 1000 + str(number)))
    with db.read() as work:
        assert work.users.all() == ()


WRITER = """
import sys
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database.database import Database

db = Database(sys.argv[1])
while True:
    with db.begin() as work:
        entry = work.audit.append(actor="a", action="b", subject=Subject(SubjectKind.TASK, "t", "t"))
        work.settings.put("last", entry.number)
    print(entry.number, flush=True)
"""


def test_what_was_committed_survives_a_kill(db: Database, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "sekiso.db")
    process = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = "0"
    with process.stdout as lines:
        for line in lines:
            if int(line) == 20:
                process.kill()
        process.wait()
        said = max(20, int(line))
    with db.begin() as work:
        assert work.audit.verify() is None
        assert work.settings.get("last") == work.audit.list(limit=1)[0].number >= said
        work.audit.append(actor="a", action="b", subject=Subject(SubjectKind.TASK, "t", "t"))
        assert work.audit.verify() is None
