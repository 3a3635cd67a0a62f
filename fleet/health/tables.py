"""The tables of health: history in steps, what devices show at the moment, faults. Times are wall-clock seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.tables import NAME, ROW_ID, Base

CODE = String(48)
PLACE = String(200)


class HealthRow(Base):
    """One health message, its figures only (`fleet.health.figures`); the whole document of the last one is with the device."""

    __tablename__ = "health_raw"
    __table_args__ = (Index("ix_health_raw_device_row", "device", "row"), {"sqlite_autoincrement": True})

    row: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(NAME)
    at: Mapped[float] = mapped_column(Float)
    received_at: Mapped[float] = mapped_column(Float)
    revision: Mapped[int] = mapped_column(BigInteger)
    figures: Mapped[bytes] = mapped_column(LargeBinary)


class HealthStep(Base):
    """The figures of a device in a span of so many seconds (`fleet.health.buckets`). Rows of a device lie together."""

    __tablename__ = "health_steps"
    __table_args__ = ({"sqlite_with_rowid": False},)

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    figures: Mapped[bytes] = mapped_column(LargeBinary)


class HealthMark(Base):
    """How far a step of the history has come: of the minutes the last row (`until`); of a longer step the span at work from `start` to
    `until`, of which devices up to `device` are done."""

    __tablename__ = "health_marks"

    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[int] = mapped_column(BigInteger)
    device: Mapped[str] = mapped_column(NAME, default="")


class Signs(Base):
    """What a device shows of faults, by where it says it (health or reported). `key` changes with the signs; `row` is written then only."""

    __tablename__ = "signs"

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[float] = mapped_column(Float, index=True)
    signs: Mapped[list[list[str]]] = mapped_column(JSON)


class SightDay(Base):
    """What the models of a device saw on a day (UTC, days since the epoch; `fleet.health.sights.Day`)."""

    __tablename__ = "health_sights"
    __table_args__ = (Index("ix_health_sights_day", "day"), {"sqlite_with_rowid": False})

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seen: Mapped[bytes] = mapped_column(LargeBinary)


class DriftRow(Base):
    """How far a camera's last days are from those before; `worst` of the distances, 0 where nothing is known."""

    __tablename__ = "health_drift"

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    camera: Mapped[str] = mapped_column(String(128), primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    worst: Mapped[float] = mapped_column(Float, index=True)
    figures: Mapped[dict[str, Any]]


class FaultRow(Base):
    """A fault that was told. `parent` is the fault of which it is a consequence, `root` the one that explains all of them in the end, itself
    where nothing does; `root_at` since when it stands for itself."""

    __tablename__ = "faults"
    __table_args__ = (Index("ix_faults_device_opened_at", "device", "opened_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(CODE)
    severity: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(PLACE)
    site: Mapped[str] = mapped_column(String(128))
    device: Mapped[str] = mapped_column(NAME)
    part: Mapped[str] = mapped_column(String(128))
    message: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[float] = mapped_column(Float, index=True)
    visible_at: Mapped[float] = mapped_column(Float)
    clearing_at: Mapped[float | None] = mapped_column(Float)
    cleared_at: Mapped[float | None] = mapped_column(Float, index=True)
    parent: Mapped[str | None] = mapped_column(String(36))
    root: Mapped[str] = mapped_column(String(36), index=True)
    root_at: Mapped[float | None] = mapped_column(Float)
    returns: Mapped[int] = mapped_column(Integer, default=0)
