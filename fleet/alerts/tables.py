"""The tables of alerts. Times are wall-clock seconds since the epoch. No secret is in any of them: targets name them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.health.tables import CODE, PLACE
from fleet.tables import ACTOR, NAME, Base

ID = String(36)


class RuleRow(Base):
    """A rule that somebody has written (`fleet.alerts.rules.Rule`)."""

    __tablename__ = "alert_rules"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    document: Mapped[dict[str, Any]]
    set_at: Mapped[float] = mapped_column(Float)
    set_by: Mapped[str] = mapped_column(ACTOR)


class TargetRow(Base):
    """Where alerts go (`fleet.alerts.targets.Target`)."""

    __tablename__ = "alert_targets"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    document: Mapped[dict[str, Any]]
    set_at: Mapped[float] = mapped_column(Float)
    set_by: Mapped[str] = mapped_column(ACTOR)


class SilenceRow(Base):
    """Alerts that nobody is told of for a time, and why."""

    __tablename__ = "alert_silences"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    matcher: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(Text)
    from_at: Mapped[float] = mapped_column(Float)
    until_at: Mapped[float] = mapped_column(Float, index=True)
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)


class AlertRow(Base):
    """An alert, from when it fired. `key` is its cause: a fault, or a rule and the subject of its figure."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    key: Mapped[str] = mapped_column(String(300))
    rule: Mapped[str] = mapped_column(NAME)
    severity: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(CODE)
    subject: Mapped[str] = mapped_column(PLACE)
    site: Mapped[str] = mapped_column(String(128))
    device: Mapped[str] = mapped_column(NAME, index=True)
    part: Mapped[str] = mapped_column(String(128))
    summary: Mapped[str] = mapped_column(Text)
    fault: Mapped[str] = mapped_column(ID)
    since: Mapped[float] = mapped_column(Float)
    fired_at: Mapped[float] = mapped_column(Float, index=True)
    quiet_at: Mapped[float | None] = mapped_column(Float)
    resolved_at: Mapped[float | None] = mapped_column(Float, index=True)
    acknowledged_at: Mapped[float | None] = mapped_column(Float)
    acknowledged_by: Mapped[str] = mapped_column(ACTOR, default="")
    note: Mapped[str] = mapped_column(Text, default="")
    notified_at: Mapped[float | None] = mapped_column(Float)
    notices: Mapped[int] = mapped_column(Integer)
    silence: Mapped[str] = mapped_column(ID)


class DeliveryRow(Base):
    """Something to be told to a target, until it has been taken or given up. The id is the same at every attempt."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (Index("ix_alert_deliveries_open_next_at", "open", "next_at"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    alert: Mapped[str] = mapped_column(ID, index=True)
    target: Mapped[str] = mapped_column(NAME)
    kind: Mapped[str] = mapped_column(String(16))
    body: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(Float, index=True)
    open: Mapped[bool]
    next_at: Mapped[float] = mapped_column(Float)
    attempts: Mapped[int] = mapped_column(Integer)
    delivered_at: Mapped[float | None] = mapped_column(Float)
    error: Mapped[str] = mapped_column(Text)
