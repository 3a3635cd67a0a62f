"""Rollouts, their devices and their history"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rollouts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("phase", sa.String(length=24), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("approved", sa.Integer(), nullable=False),
        sa.Column("judged", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rollouts")),
    )
    op.create_index(op.f("ix_rollouts_phase"), "rollouts", ["phase"])
    op.create_table(
        "rollout_members",
        sa.Column("rollout", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("offline_since", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told_at", sa.Float(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("former", sa.BigInteger(), nullable=False),
        sa.Column("back", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.name"], name=op.f("fk_rollout_members_rollout")),
        sa.PrimaryKeyConstraint("rollout", "device", name=op.f("pk_rollout_members")),
    )
    op.create_table(
        "rollout_notes",
        sa.Column("row", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("rollout", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.name"], name=op.f("fk_rollout_notes_rollout")),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_rollout_notes")),
    )
    op.create_index("ix_rollout_notes_rollout_row", "rollout_notes", ["rollout", "row"])


def downgrade() -> None:
    for table in ("rollout_notes", "rollout_members", "rollouts"):
        op.drop_table(table)
