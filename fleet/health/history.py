"""The history of health in the database: messages become minutes, minutes quarters of an hour, those days; each step is kept for its time.

Every message is in each step once. The leader rolls up: what it has done it marks in the same transaction, so that a new leader goes on
there. A message that comes late is added to every step that is done already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import collate, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import FleetError
from fleet.health.buckets import (
    DAY_S,
    MINUTE_S,
    QUARTER_S,
    Bucket,
    Counts,
    Increments,
    counts_of,
    merge,
    merged,
    start_of,
    time_of,
)
from fleet.health.figures import packed, unpacked
from fleet.health.tables import HealthMark, HealthRow, HealthStep
from fleet.tables import Device

log = logging.getLogger(__name__)

LAG_S = 10.0
"""Messages younger than that are left: a transaction with earlier rows may not have ended."""
ROWS_AT_ONCE = 1000
DEVICES_AT_ONCE = 100
TAIL_ROWS = 64
TICK_S = 15.0
PAUSE_S = 0.02
"""Between two transactions others write: who waits for SQLite asks again after a while, and would find it taken."""


@dataclass(frozen=True)
class Level:
    """A step made of a finer one once its span is over by `grace_s`."""

    step: int
    source: int
    grace_s: float


LEVELS = (Level(QUARTER_S, MINUTE_S, 120.0), Level(DAY_S, QUARTER_S, 3600.0))


@dataclass(frozen=True)
class Keep:
    """For how many seconds each is kept."""

    raw_s: float
    minutes_s: float
    quarters_s: float
    days_s: float


@dataclass
class Mark:
    """How far a level has come: everything before `start`, and of the devices up to `device` everything before `until`."""

    start: int
    until: int
    device: str = ""

    def done(self, device: str, start: int) -> bool:
        return start < self.start or (start < self.until and device <= self.device)


@dataclass
class _Progress:
    row: int = 0
    levels: dict[int, Mark] = field(default_factory=dict)


class History:
    """Rolls up and forgets; reading is `fleet.health.series`. `run` works until cancelled, while `leads` says so."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
        keep: Keep,
        tick_s: float = TICK_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._leads = leads
        self._guard = guard
        self._keep = keep
        self._tick_s = tick_s
        self._tails: dict[str, tuple[float, Counts]] = {}
        self._tails_row = -1
        self.behind_s = 0.0
        """How late messages are rolled up."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            try:
                more = self._leads()
                while more:
                    more = await asyncio.to_thread(self.roll_up) and self._leads()
                    await asyncio.sleep(PAUSE_S)
            except FleetError as e:
                log.info("health is rolled up later", extra={"cause": str(e)})
            except Exception:  # the boundary: it is tried again
                log.exception("health cannot be rolled up")

    def roll_up(self) -> bool:
        """One transaction's worth of work; whether there is more."""
        return self._minutes() or any(self._level(level) for level in LEVELS)

    def settle(self) -> None:
        """Roll up all that can be."""
        while self.roll_up():
            pass

    # --- messages to minutes ------------------------------------------------------------------------------------------

    def _minutes(self) -> bool:
        with self._database.read() as session:
            progress = progress_of(session)
            rows = _messages(session, progress.row, self._clock.wall() - LAG_S)
            if not rows:
                return False
            self._know_tails(session, progress.row, {row.device for row in rows})
            increments = Increments(self._tails, self._keep.raw_s)
            for row in rows:
                increments.add(row.device, time_of(row.at, row.received_at), unpacked(row.figures))
            made = {(device, MINUTE_S, start): b for (device, start), b in increments.minutes.items()}
            added = _added(session, {**made, **_late(increments.minutes, progress)})
        self._tails_row = -1
        with self._database.write() as session:
            self._guard(session)
            self._same(session, progress)
            _put(session, added)
            session.merge(HealthMark(step=0, start=0, until=rows[-1].row))
            self._begin_levels(session, increments.minutes, progress)
        self._tails_row = rows[-1].row
        more = len(rows) == ROWS_AT_ONCE
        self.behind_s = max(0.0, self._clock.wall() - LAG_S - rows[-1].received_at) if more else 0.0
        return more

    def _know_tails(self, session: Session, row: int, devices: set[str]) -> None:
        """The last message before of each device, from memory or from the rows."""
        if self._tails_row != row:
            self._tails.clear()
        for device in sorted(devices - self._tails.keys()):
            tail = tail_of(session, device, row)
            if tail is not None:
                self._tails[device] = tail

    @staticmethod
    def _same(session: Session, progress: _Progress) -> None:
        """What was added to is what is there: only who has `guard`'s leave changes it, and one at a time."""
        if progress_of(session) != progress:
            raise RuntimeError("the history has been rolled up by somebody else")

    @staticmethod
    def _begin_levels(
        session: Session, minutes: Mapping[tuple[str, int], Bucket], progress: _Progress
    ) -> None:
        first = min(start for _, start in minutes) if minutes else None
        for level in LEVELS:
            if first is not None and level.step not in progress.levels:
                start = start_of(first, level.step)
                session.add(HealthMark(step=level.step, start=start, until=start, device=""))

    # --- steps to longer ones -----------------------------------------------------------------------------------------

    def _level(self, level: Level) -> bool:
        """Some devices of the span at work; whether there are more."""
        with self._database.read() as session:
            found = session.get(HealthMark, level.step)
            if found is None:
                return False
            mark = Mark(found.start, found.until, found.device)
            until = min(
                start_of(self._clock.wall() - level.grace_s, level.step), self._source_until(session, level)
            )
            if mark.until <= mark.start:
                mark.until = max(until, mark.start)
            if mark.until <= mark.start:
                return False
            devices = _devices(session, mark.device)
            made: dict[tuple[str, int, int], Bucket] = {}
            for row in _steps(session, devices, level.source, mark.start, mark.until):
                key = row.device, level.step, start_of(row.start, level.step)
                merge(made.setdefault(key, {}), unpacked(row.figures))
            added = _added(session, made)
        more = len(devices) == DEVICES_AT_ONCE
        after = Mark(mark.start, mark.until, devices[-1]) if more else Mark(mark.until, mark.until)
        with self._database.write() as session:
            self._guard(session)
            _put(session, added)
            session.merge(
                HealthMark(step=level.step, start=after.start, until=after.until, device=after.device)
            )
        return True

    @staticmethod
    def _source_until(session: Session, level: Level) -> int:
        """A day is made only of quarters that are made."""
        source = session.get(HealthMark, level.source)
        return source.start if source is not None else 2**62

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def forget_old(self) -> int:
        """Remove what is past its time and in a longer step; how many rows."""
        at, keep = self._clock.wall(), self._keep
        with self._database.read() as session:
            progress = progress_of(session)
            names = list(session.scalars(select(Device.id).order_by(Device.id)))
        quarter, day = (progress.levels.get(level.step) for level in LEVELS)
        bounds = {
            MINUTE_S: min(at - keep.minutes_s, quarter.start if quarter else 0),
            QUARTER_S: min(at - keep.quarters_s, day.start if day else 0),
            DAY_S: at - keep.days_s,
        }
        gone = self._forget_messages(at - keep.raw_s, progress.row)
        for start in range(0, len(names), DEVICES_AT_ONCE):
            with self._database.write() as session:
                self._guard(session)
                for step, bound in bounds.items():
                    gone += _deleted(
                        session,
                        HealthStep.device.in_(names[start : start + DEVICES_AT_ONCE]),
                        HealthStep.step == step,
                        HealthStep.start < bound,
                    )
            time.sleep(PAUSE_S)
        return gone

    def _forget_messages(self, until_wall: float, done: int) -> int:
        """Rows are in the order of arrival: the old ones are the first."""
        gone = 0
        while True:
            with self._database.write() as session:
                self._guard(session)
                rows = session.execute(
                    select(HealthRow.row, HealthRow.received_at).order_by(HealthRow.row).limit(ROWS_AT_ONCE)
                ).all()
                old = [row for row, received_at in rows if received_at < until_wall and row <= done]
                if old:
                    session.execute(delete(HealthRow).where(HealthRow.row <= max(old)))
            gone += len(old)
            if not old or len(old) < len(rows):
                return gone
            time.sleep(PAUSE_S)


def progress_of(session: Session) -> _Progress:
    """How far each step has come."""
    made = _Progress()
    for row in session.scalars(select(HealthMark)):
        if row.step == 0:
            made.row = row.until
        else:
            made.levels[row.step] = Mark(row.start, row.until, row.device)
    return made


def tail_of(session: Session, device: str, row: int) -> tuple[float, Counts] | None:
    """Time and counters of the youngest of a device's last messages up to a row: late ones may have come after it."""
    columns = select(HealthRow.row, HealthRow.at, HealthRow.received_at)
    query = columns.where(HealthRow.device == device, HealthRow.row <= row)
    rows = session.execute(query.order_by(HealthRow.row.desc()).limit(TAIL_ROWS)).all()
    if not rows:
        return None
    at, number = max((time_of(at, received_at), -number) for number, at, received_at in rows)
    content = session.scalars(select(HealthRow.figures).where(HealthRow.row == -number)).one()
    return at, counts_of(unpacked(content))


def _messages(session: Session, after: int, until_wall: float) -> Sequence[HealthRow]:
    query = select(HealthRow).where(HealthRow.row > after).order_by(HealthRow.row).limit(ROWS_AT_ONCE)
    rows = list(session.scalars(query))
    young = next((place for place, row in enumerate(rows) if row.received_at > until_wall), len(rows))
    return rows[:young]


def _late(
    minutes: Mapping[tuple[str, int], Bucket], progress: _Progress
) -> dict[tuple[str, int, int], Bucket]:
    """What belongs to spans that are made already."""
    found: dict[tuple[str, int, int], Bucket] = {}
    for (device, start), bucket in minutes.items():
        for level in LEVELS:
            mark = progress.levels.get(level.step)
            span = start_of(start, level.step)
            if mark is not None and mark.done(device, span):
                merge(found.setdefault((device, level.step, span), {}), bucket)
    return found


def _added(session: Session, buckets: Mapping[tuple[str, int, int], Bucket]) -> list[dict[str, Any]]:
    """The rows as they are with the buckets added to what there is."""
    keys, there = list(buckets), {}
    columns = tuple_(HealthStep.device, HealthStep.step, HealthStep.start)
    for start in range(0, len(keys), 300):
        for row in session.scalars(select(HealthStep).where(columns.in_(keys[start : start + 300]))):
            there[row.device, row.step, row.start] = unpacked(row.figures)
    return [
        {"device": key[0], "step": key[1], "start": key[2], "figures": packed(_both(there.get(key), bucket))}
        for key, bucket in sorted(buckets.items())
    ]


def _put(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = make(HealthStep)
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["device", "step", "start"], set_={"figures": statement.excluded.figures}
        ),
        rows,
    )


def _both(there: Bucket | None, bucket: Bucket) -> Bucket:
    return bucket if there is None else merged([there, bucket])


def _devices(session: Session, after: str) -> list[str]:
    """In the order of bytes, as `Mark.done` compares them."""
    name: Any = Device.id
    if session.get_bind().dialect.name == "postgresql":
        name = collate(Device.id, "C")
    query = select(Device.id).where(name > after).order_by(name).limit(DEVICES_AT_ONCE)
    return list(session.scalars(query))


def _steps(
    session: Session, devices: Iterable[str], step: int, start: int, until: int
) -> Sequence[HealthStep]:
    query = select(HealthStep).where(
        HealthStep.device.in_(list(devices)),
        HealthStep.step == step,
        HealthStep.start >= start,
        HealthStep.start < until,
    )
    return list(session.scalars(query))


def _deleted(session: Session, *conditions: Any) -> int:
    result: Any = session.execute(delete(HealthStep).where(*conditions))
    return int(result.rowcount)
