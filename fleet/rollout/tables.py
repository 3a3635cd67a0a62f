"""The tables of rollouts. Times are wall-clock seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.tables import ACTOR, NAME, ROW_ID, Base


class RolloutRow(Base):
    """A rollout: its plan, and how far it has come. `version` grows with each change, so that two writers notice each other."""

    __tablename__ = "rollouts"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    plan: Mapped[dict[str, Any]]
    phase: Mapped[str] = mapped_column(String(24), index=True)
    wave: Mapped[int] = mapped_column(Integer)
    since: Mapped[float] = mapped_column(Float)
    settled_at: Mapped[float | None] = mapped_column(Float)
    approved: Mapped[int] = mapped_column(Integer)
    judged: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(ACTOR)
    version: Mapped[int] = mapped_column(BigInteger)


class RolloutMember(Base):
    """One device of a rollout."""

    __tablename__ = "rollout_members"

    rollout: Mapped[str] = mapped_column(ForeignKey("rollouts.name"), primary_key=True)
    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    since: Mapped[float] = mapped_column(Float)
    offline_since: Mapped[float | None] = mapped_column(Float)
    attempts: Mapped[int] = mapped_column(Integer)
    told_at: Mapped[float | None] = mapped_column(Float)
    revision: Mapped[int] = mapped_column(BigInteger)
    former: Mapped[int] = mapped_column(BigInteger)
    back: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)


class RolloutNote(Base):
    """A line of a rollout's history: what changed, and why."""

    __tablename__ = "rollout_notes"
    __table_args__ = (Index("ix_rollout_notes_rollout_row", "rollout", "row"),)

    row: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    rollout: Mapped[str] = mapped_column(ForeignKey("rollouts.name"))
    at: Mapped[float] = mapped_column(Float)
    actor: Mapped[str] = mapped_column(ACTOR)
    words: Mapped[str] = mapped_column(Text)
