"""When an agent's client certificate ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Of agents that are registered already it is known when they connect the next time.
    op.add_column("agents", sa.Column("certificate_expires_s", sa.Double(), nullable=True))
