"""Retired devices and bundles of diagnostics"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("devices") as table:
        table.add_column(sa.Column("retired_at", sa.Float(), nullable=True))
    op.create_table(
        "diagnostics",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("asked_by", sa.String(length=80), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=True),
        sa.Column("digest", sa.String(length=71), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_diagnostics")),
    )
    op.create_index(op.f("ix_diagnostics_device"), "diagnostics", ["device"])


def downgrade() -> None:
    op.drop_table("diagnostics")
    with op.batch_alter_table("devices") as table:
        table.drop_column("retired_at")
