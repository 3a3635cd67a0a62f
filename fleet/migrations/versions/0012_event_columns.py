"""Workflow and kind of events, told without reading the body"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    workflow = sa.Column("workflow", sa.String(length=71), nullable=False, server_default="")
    kind = sa.Column("kind", sa.String(length=16), nullable=False, server_default="result")
    op.add_column("events", workflow)
    op.add_column("events", kind)
    events = sa.table("events", sa.column("body", sa.JSON), sa.column("workflow"), sa.column("kind"))
    told = events.c.body["workflow"].as_string()
    op.execute(events.update().values(workflow=told).where(told.like("sha256:%"), sa.func.length(told) == 71))
    step = events.c.body["step"].as_string()
    op.execute(events.update().values(kind="sink").where(sa.func.coalesce(step, "") != ""))


def downgrade() -> None:
    op.drop_column("events", "kind")
    op.drop_column("events", "workflow")
