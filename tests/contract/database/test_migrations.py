"""Migrations: from nothing, once, by one process at a time, and what they make is what the tables say."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, text, update

from sekiso.model.listing import AuditFilter
from sekiso.model.paging import Listing
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database import tables
from sekiso.store.database.audit import GENESIS, entry_hash
from sekiso.store.database.database import Database, open_database
from sekiso.store.database.engine import create_file, make_engine, parsed_url
from sekiso.store.database.errors import DatabaseNewerError
from sekiso.store.database.migrating import VERSION_TABLE, migration_config, present_revision
from sekiso.store.database.tables import METADATA

from . import samples


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = make_engine(parsed_url(url), busy_timeout_s=5.0)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def test_from_nothing_and_then_nothing_more(empty_url: str) -> None:
    with closing(open_database(empty_url)) as db:
        with db.begin() as work:
            samples.fill(work)
        with connected(empty_url) as connection:
            revision = present_revision(connection)
        db.migrate()
    with closing(open_database(empty_url)) as db, db.read() as work:
        assert work.templates.get("tpl-1") == samples.TEMPLATE
    with connected(empty_url) as connection:
        assert present_revision(connection) == revision
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, VERSION_TABLE}


def test_entries_of_before_are_searched_too(empty_url: str) -> None:
    """The audit history of an appliance that had no search yet (OP-4)."""
    if empty_url.startswith("sqlite"):
        create_file(parsed_url(empty_url))
    with connected(empty_url) as connection:
        command.upgrade(migration_config(connection), "0001")
        subject = Subject(SubjectKind.LAYER, "l1", "Ａcme 勘定")
        row: dict[str, Any] = {
            "number": 1,
            "time_us": 7_000_000,
            "actor": "Admin",
            "action": "layer.change",
            "subject_kind": subject.kind.value,
            "subject_id": subject.id,
            "subject_name": subject.name,
            "details": {},
        }
        row["hash"] = entry_hash(GENESIS, row)
        connection.execute(insert(tables.audit).values(**row))
        connection.execute(update(tables.audit_head).values(number=1, hash=row["hash"]))
    with closing(open_database(empty_url)) as db, db.begin() as work:
        assert [e.number for e in work.audit.page(AuditFilter(), Listing("acme ADMIN")).rows] == [1]
        work.audit.append(actor="x", action="y", subject=subject)
        assert work.audit.verify() is None


def test_migrations_make_what_the_tables_say(url: str) -> None:
    with connected(url) as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_foreign_keys_do_what_the_tables_say(url: str) -> None:
    with connected(url) as connection:
        inspector = inspect(connection)
        for table in METADATA.tables.values():
            made = {
                (key["constrained_columns"][0], key["referred_table"], key.get("options", {}).get("ondelete"))
                for key in inspector.get_foreign_keys(table.name)
            }
            said = {(k.parent.name, k.target_fullname.split(".")[0], k.ondelete) for k in table.foreign_keys}
            assert made == said, table.name


def test_several_processes_start_at_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(len(databases)) as pool:
            list(pool.map(Database.migrate, databases))
        with databases[0].begin() as work:
            samples.fill(work)
    finally:
        for database in databases:
            database.close()


def test_a_database_of_a_later_version_is_left_alone(empty_url: str) -> None:
    open_database(empty_url).close()
    with connected(empty_url) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(DatabaseNewerError) as caught:
        open_database(empty_url)
    assert caught.value.params["revision"] == "9999"
    with connected(empty_url) as connection:
        assert present_revision(connection) == "9999"
