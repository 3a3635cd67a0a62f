"""Pictures of events, and pictures for re-training"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pictures",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("camera", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("taken_wall", sa.Float(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("device", "id", name=op.f("pk_pictures")),
    )
    op.create_index("ix_pictures_device_received_at", "pictures", ["device", "received_at"])
    op.create_index(op.f("ix_pictures_received_at"), "pictures", ["received_at"])
    op.create_index(op.f("ix_pictures_digest"), "pictures", ["digest"])


def downgrade() -> None:
    op.drop_table("pictures")
