"""Looks at what models saw, device by device, every quarter of an hour, and at drift every hour. Only the leader does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import FleetError
from fleet.health.buckets import DAY_S
from fleet.health.figures import packed, unpacked
from fleet.health.shown import write_signs
from fleet.health.sights import Day, Drift, drift_of, next_day
from fleet.health.signs import Sign
from fleet.health.tables import DriftRow, SightDay
from fleet.tables import Device

log = logging.getLogger(__name__)

LOOK_S = 900.0
DRIFT_LOOKS = 4
DEVICES_AT_ONCE = 100
PAUSE_S = 0.01
"""Between two transactions others write."""
RECENT_DAYS, REFERENCE_DAYS = 2, 14
LARGE = (0.25, 0.15)
"""Where a distance is a fault, and below which it ceases to be one."""


class Census:
    """`run` looks until cancelled, while `leads` says so."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._leads = leads
        self._guard = guard
        self._look_s = look_s
        self._looked_at = 0.0

    async def run(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(self._look_s)
            try:
                if self._leads():
                    looks += 1
                    await asyncio.to_thread(self.look, looks % DRIFT_LOOKS == 1)
            except FleetError as e:
                log.info("what models saw is looked at later", extra={"cause": str(e)})
            except Exception:  # the boundary: the next look takes in what this one left
                log.exception("what models saw cannot be looked at")

    def look(self, drift: bool) -> None:
        """Every device that has told its health since the last look; with `drift`, how far each camera is from its days before."""
        at, since, after = self._clock.wall(), self._looked_at, ""
        day = int(at // DAY_S)
        while True:
            with self._database.read() as session:
                fresh = select(Device.id, Device.health).where(Device.id > after, Device.health_at > since)
                rows = session.execute(fresh.order_by(Device.id).limit(DEVICES_AT_ONCE)).all()
                days = days_of(session, [row.id for row in rows], day - RECENT_DAYS - REFERENCE_DAYS)
            if not rows:
                break
            made = {row.id: _with(days.get(row.id, {}), day, row.health or {}) for row in rows}
            seen = [{"device": device, "day": day, "seen": packed(newest)} for device, newest in made.items()]
            whole = {device: {**days.get(device, {}), day: newest} for device, newest in made.items()}
            drifts = _drifts(whole, day, at) if drift else None
            with self._database.write() as session:
                self._guard(session)
                _write_days(session, seen)
                if drifts is not None:
                    _write_drifts(session, made.keys(), *drifts, at)
            after = rows[-1].id
            time.sleep(PAUSE_S)
        self._looked_at = at

    def forget_old(self, days: float) -> int:
        """Remove days past their time; how many."""
        until = int(self._clock.wall() // DAY_S) - int(days)
        with self._database.write() as session:
            result: Any = session.execute(delete(SightDay).where(SightDay.day < until))
        return int(result.rowcount)


def _drifts(
    days: Mapping[str, Mapping[int, Day]], day: int, at: float
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], tuple[Sign, ...]]]:
    """How far cameras are from their days before, as rows, and what of it is a sign."""
    rows, signs = [], {}
    for device, of_device in days.items():
        found = drift_of(of_device, day - RECENT_DAYS + 1, day - RECENT_DAYS - REFERENCE_DAYS + 1)
        shown = []
        for camera, drift in sorted(found.items()):
            worst = drift.worst or 0.0
            figures = figures_of(drift)
            rows.append({"device": device, "camera": camera, "at": at, "worst": worst, "figures": figures})
            if worst >= LARGE[1]:
                shown.append(Sign("drift-large", camera, worst >= LARGE[0], words_of(drift)))
        signs[device, "drift"] = tuple(shown)
    return rows, signs


def _write_drifts(
    session: Session,
    devices: Collection[str],
    rows: Sequence[dict[str, Any]],
    shown: Mapping[tuple[str, str], tuple[Sign, ...]],
    at: float,
) -> None:
    session.execute(delete(DriftRow).where(DriftRow.device.in_(devices)))
    if rows:
        session.execute(insert(DriftRow), rows)
    write_signs(session, shown, devices, at)


def _write_days(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """In the place of what there is."""
    make: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = make(SightDay)
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["device", "day"], set_={"seen": statement.excluded.seen}
        ),
        rows,
    )


def _with(days: Mapping[int, Day], day: int, health: Mapping[str, Any]) -> Day:
    newest = max(days, default=None)
    return next_day(days[newest] if newest is not None else None, newest == day, health)


def days_of(session: Session, devices: Sequence[str], first: int) -> dict[str, dict[int, Day]]:
    """Of each device the days from a number on."""
    found: dict[str, dict[int, Day]] = {}
    query = select(SightDay).where(SightDay.device.in_(devices), SightDay.day >= first)
    for row in session.scalars(query):
        found.setdefault(row.device, {})[row.day] = unpacked(row.seen)
    return found


def figures_of(drift: Drift) -> dict[str, Any]:
    """As it is kept and shown."""
    return {
        "score_psi": drift.scores,
        "class_psi": drift.classes,
        **{
            name: {
                "asked": sight.asked,
                "detections": sight.detections,
                "empty_share": sight.empty_share,
                "confidence": sight.confidence,
                "brightness": sight.brightness,
                "scores": sight.scores,
                "classes": dict(sight.classes.most_common(20)),
            }
            for name, sight in (("recent", drift.recent), ("reference", drift.reference))
        },
    }


def words_of(drift: Drift) -> str:
    """What is far from what it was."""
    told = [
        f"{name} {value:.2f}"
        for name, value in (("confidences", drift.scores), ("classes", drift.classes))
        if value
    ]
    return f"population stability index of {', of '.join(told)}"
