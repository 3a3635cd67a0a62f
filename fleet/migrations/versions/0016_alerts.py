"""Alerts: rules, targets, silences, deliveries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NAME, ID, ACTOR = sa.String(length=64), sa.String(length=36), sa.String(length=80)


def upgrade() -> None:
    for table in ("alert_rules", "alert_targets"):
        op.create_table(
            table,
            sa.Column("name", NAME, nullable=False),
            sa.Column("document", sa.JSON(), nullable=False),
            sa.Column("set_at", sa.Float(), nullable=False),
            sa.Column("set_by", ACTOR, nullable=False),
            sa.PrimaryKeyConstraint("name", name=op.f(f"pk_{table}")),
        )
    op.create_table(
        "alert_silences",
        sa.Column("id", ID, nullable=False),
        sa.Column("matcher", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("from_at", sa.Float(), nullable=False),
        sa.Column("until_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", ACTOR, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_silences")),
    )
    op.create_index(op.f("ix_alert_silences_until_at"), "alert_silences", ["until_at"])
    _create_alerts()
    op.create_table(
        "alert_deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("alert", ID, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_deliveries")),
    )
    op.create_index("ix_alert_deliveries_open_next_at", "alert_deliveries", ["open", "next_at"])
    for column in ("alert", "created_at"):
        op.create_index(op.f(f"ix_alert_deliveries_{column}"), "alert_deliveries", [column])


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("rule", NAME, nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("device", NAME, nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("fault", ID, nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("fired_at", sa.Float(), nullable=False),
        sa.Column("quiet_at", sa.Float(), nullable=True),
        sa.Column("resolved_at", sa.Float(), nullable=True),
        sa.Column("acknowledged_at", sa.Float(), nullable=True),
        sa.Column("acknowledged_by", ACTOR, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("notified_at", sa.Float(), nullable=True),
        sa.Column("notices", sa.Integer(), nullable=False),
        sa.Column("silence", ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    for column in ("device", "fired_at", "resolved_at"):
        op.create_index(op.f(f"ix_alerts_{column}"), "alerts", [column])


def downgrade() -> None:
    for table in ("alert_deliveries", "alerts", "alert_silences", "alert_targets", "alert_rules"):
        op.drop_table(table)
