"""History of health in steps, signs and faults. Health messages of before are not carried over"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(length=64)


def upgrade() -> None:
    op.drop_table("health_history")
    op.create_index("ix_devices_presence_id", "devices", ["presence", "id"])
    op.create_table(
        "health_raw",
        sa.Column("row", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_health_raw")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_health_raw_device_row", "health_raw", ["device", "row"])
    op.create_table(
        "health_steps",
        sa.Column("device", NAME, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "step", "start", name=op.f("pk_health_steps")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "health_marks",
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.PrimaryKeyConstraint("step", name=op.f("pk_health_marks")),
    )
    op.create_table(
        "signs",
        sa.Column("device", NAME, nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("signs", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("device", "source", name=op.f("pk_signs")),
    )
    op.create_index(op.f("ix_signs_changed_at"), "signs", ["changed_at"])
    _create_faults()


def _create_faults() -> None:
    op.create_table(
        "faults",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("visible_at", sa.Float(), nullable=False),
        sa.Column("clearing_at", sa.Float(), nullable=True),
        sa.Column("cleared_at", sa.Float(), nullable=True),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.Column("root", sa.String(length=36), nullable=False),
        sa.Column("root_at", sa.Float(), nullable=True),
        sa.Column("returns", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_faults")),
    )
    op.create_index("ix_faults_device_opened_at", "faults", ["device", "opened_at"])
    for column in ("opened_at", "cleared_at", "root"):
        op.create_index(op.f(f"ix_faults_{column}"), "faults", [column])


def downgrade() -> None:
    for table in ("faults", "signs", "health_marks", "health_steps", "health_raw"):
        op.drop_table(table)
    op.drop_index("ix_devices_presence_id", "devices")
    op.create_table(
        "health_history",
        sa.Column("row", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_health_history")),
    )
    op.create_index("ix_health_history_device_received_at", "health_history", ["device", "received_at"])
    op.create_index(op.f("ix_health_history_received_at"), "health_history", ["received_at"])
