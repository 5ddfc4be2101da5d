"""Brings a database's schema up to date, by the migrations inside this package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sekiso.store.database.errors import DatabaseNewerError

VERSION_TABLE = "schema_version"
_FOLDER = Path(__file__).with_name("migrations")


def upgrade(connection: Connection, database: str) -> None:
    """Apply the migrations that are missing, in the transaction of a connection: all or none.

    Args:
        connection: in a transaction that writes.
        database: URL without password, for errors.

    Raises:
        DatabaseNewerError: the schema is not known to this version.
    """
    config = migration_config(connection)
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    present = present_revision(connection)
    if present is not None and present not in known:
        raise DatabaseNewerError(database=database, revision=present)
    if present != script.get_current_head():
        command.upgrade(config, "head")


def present_revision(connection: Connection) -> str | None:
    """Return the revision of the schema; None if there is none yet."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def migration_config(connection: Connection) -> Config:
    """Return the configuration of the migrations; `env.py` finds the connection in it."""
    config = Config()
    # Interpolation is the only thing that could happen to the text.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config
