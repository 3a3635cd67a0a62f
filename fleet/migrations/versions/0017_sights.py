"""What models saw by day, and drift"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "health_sights",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "day", name=op.f("pk_health_sights")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_health_sights_day", "health_sights", ["day"])
    op.create_table(
        "health_drift",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("camera", sa.String(length=128), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("worst", sa.Float(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("device", "camera", name=op.f("pk_health_drift")),
    )
    op.create_index(op.f("ix_health_drift_worst"), "health_drift", ["worst"])


def downgrade() -> None:
    op.drop_table("health_drift")
    op.drop_table("health_sights")
