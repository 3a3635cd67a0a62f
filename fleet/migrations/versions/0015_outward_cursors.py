"""How far webhooks have been told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outward_cursors",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_outward_cursors")),
    )


def downgrade() -> None:
    op.drop_table("outward_cursors")
