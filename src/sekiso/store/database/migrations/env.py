"""Runs migrations on the connection that `migrating.upgrade` was given, in its transaction."""

from __future__ import annotations

from alembic import context

from sekiso.store.database.migrating import VERSION_TABLE
from sekiso.store.database.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
