"""What long lists are found and sorted by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sekiso.store.database.columns import name_key

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT_ONCE = 5000
_VERSION_INDEXES = (
    ("layer_id", "state", "created_s", "file_bytes"),
    ("state", "created_s", "id", "layer_id", "name_key"),
)


def upgrade() -> None:
    """Apply."""
    for columns in _VERSION_INDEXES:
        op.create_index(f"ix_layer_versions_{'_'.join(columns)}", "layer_versions", list(columns))
    op.create_table(
        "audit_texts",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_texts"),
        sqlite_with_rowid=False,
    )
    _fill_audit_texts()


def _fill_audit_texts() -> None:
    connection = op.get_bind()
    entries = sa.text(
        "SELECT number, actor, action, subject_name FROM audit "
        "WHERE number > :last ORDER BY number LIMIT :limit"
    )
    add = sa.text("INSERT INTO audit_texts (number, text) VALUES (:number, :text)")
    last = 0
    while rows := connection.execute(entries, {"last": last, "limit": _AT_ONCE}).all():
        connection.execute(add, [_texts(row) for row in rows])
        last = rows[-1][0]


def _texts(row: Any) -> dict[str, Any]:
    number, actor, action, subject_name = row
    return {"number": number, "text": name_key(f"{actor} {action} {subject_name}")}
