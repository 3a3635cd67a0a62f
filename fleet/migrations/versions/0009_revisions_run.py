"""Which revisions a device has run"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "revisions_run",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("device", "revision", name=op.f("pk_revisions_run")),
    )


def downgrade() -> None:
    op.drop_table("revisions_run")
