"""The history of one device as series for charts: each figure by steps of time, of the finest step that is kept and fits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.db import Database
from fleet.errors import Refused
from fleet.health.buckets import (
    DAY_S,
    MINUTE_S,
    QUARTER_S,
    THOUSANDTHS,
    Bucket,
    Increments,
    merge,
    start_of,
    time_of,
)
from fleet.health.figures import SCOPES, unpacked
from fleet.health.history import Keep, progress_of, tail_of
from fleet.health.tables import HealthRow, HealthStep
from wire.reasons import Reason

STEPS = (DAY_S, QUARTER_S, MINUTE_S)
NICE_S = (60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800)
POINTS_WANTED = 300
POINTS_MOST = 5000


@dataclass(frozen=True)
class Span:
    """From, until and step in seconds; `step_s` 0 takes one that gives some hundred points."""

    start_wall: float
    until_wall: float
    step_s: int = 0

    def step(self) -> int:
        """:raises Refused: no time, or too many points"""
        length = self.until_wall - self.start_wall
        if length <= 0:
            raise Refused(Reason.INVALID_FIELD, "`from` is not before `to`")
        wanted = length / POINTS_WANTED
        step = self.step_s or next((nice for nice in NICE_S if nice >= wanted), NICE_S[-1])
        if step % MINUTE_S:
            raise Refused(Reason.INVALID_FIELD, f"step {step} s is no number of whole minutes")
        if length / step > POINTS_MOST:
            raise Refused(
                Reason.INVALID_FIELD,
                f"{length / step:.0f} points; at most {POINTS_MOST}: take a longer step or a shorter time",
            )
        return step


@dataclass(frozen=True)
class Series:
    """One figure of a device, camera or model. `values` are means, or growth of what is counted; `low` and `high` of what is measured."""

    scope: str
    name: str
    figure: str
    unit: str
    counter: bool
    values: list[float | None]
    low: list[float | None] | None
    high: list[float | None] | None


@dataclass(frozen=True)
class Chart:
    """`times` are the beginnings of the steps; every series has a value or None for each."""

    step_s: int
    times: list[int]
    series: list[Series]


class SeriesReader:
    """Reads charts. `keep` says how far back each step reaches."""

    def __init__(self, database: Database, keep: Keep) -> None:
        self._database = database
        self._keep = keep

    def chart(self, device: str, span: Span, at: float, figures: Collection[str] = ()) -> Chart:
        """Some figures of a device, or all.

        :raises Refused: a figure of no such name, or a span that cannot be shown
        """
        _check(figures)
        step = span.step()
        base = self._base(span, step, at)
        buckets: dict[int, Bucket] = {}
        with self._database.read() as session:
            for start, bucket in _buckets(session, device, base, span, self._keep.raw_s):
                if span.start_wall - base < start < span.until_wall:
                    merge(buckets.setdefault(start_of(start, max(step, base)), {}), bucket)
        return _chart(buckets, max(step, base), figures)

    def _base(self, span: Span, step: int, at: float) -> int:
        """The longest kept step that the wanted one is made of; a longer one where finer ones are not kept any more."""
        kept = {MINUTE_S: self._keep.minutes_s, QUARTER_S: self._keep.quarters_s, DAY_S: self._keep.days_s}
        reaching = [base for base in STEPS if span.start_wall >= at - kept[base]] or [DAY_S]
        fitting = [base for base in reaching if step % base == 0]
        return fitting[0] if fitting else reaching[-1]


def _check(figures: Collection[str]) -> None:
    known = {name for scope in SCOPES.values() for name in scope}
    for figure in figures:
        if figure not in known:
            raise Refused(
                Reason.INVALID_FIELD,
                f"no figure is called {figure[:60]!r}; there are {', '.join(sorted(known))}",
            )


def _buckets(
    session: Session, device: str, base: int, span: Span, forget_s: float
) -> Iterator[tuple[int, Bucket]]:
    """Spans of `base`, then of finer steps where those are not made yet, then the newest messages: nothing twice, nothing left out."""
    progress = progress_of(session)
    lower = start_of(span.start_wall, base)
    for step in (s for s in STEPS if s <= base):
        finer = {QUARTER_S: MINUTE_S, DAY_S: QUARTER_S}.get(step)
        mark = progress.levels.get(step)
        upper = 2**62
        if finer is not None:
            upper = (mark.until if device <= mark.device else mark.start) if mark is not None else 0
        query = select(HealthStep).where(
            HealthStep.device == device,
            HealthStep.step == step,
            HealthStep.start >= lower,
            HealthStep.start < min(upper, span.until_wall),
        )
        for row in session.scalars(query.order_by(HealthStep.start)):
            yield row.start, unpacked(row.figures)
        if upper != 2**62:
            lower = max(lower, upper)
    yield from _newest(session, device, progress.row, forget_s).items()


def _newest(session: Session, device: str, after: int, forget_s: float) -> Mapping[int, Bucket]:
    """Messages that are in no step yet."""
    of_device = select(HealthRow).where(HealthRow.device == device)
    rows = list(session.scalars(of_device.where(HealthRow.row > after).order_by(HealthRow.row)))
    tail = tail_of(session, device, after) if rows else None
    increments = Increments({device: tail} if tail else {}, forget_s)
    for row in rows:
        increments.add(device, time_of(row.at, row.received_at), unpacked(row.figures))
    return {start: bucket for (_, start), bucket in increments.minutes.items()}


def _chart(buckets: Mapping[int, Bucket], step: int, figures: Collection[str]) -> Chart:
    times = list(range(min(buckets), max(buckets) + step, step)) if buckets else []
    keys = {
        (key, figure)
        for bucket in buckets.values()
        for key, part in bucket.items()
        for figure in part
        if not figures or figure in figures
    }
    return Chart(step, times, [_series(buckets, times, *key) for key in sorted(keys)])


def _series(buckets: Mapping[int, Bucket], times: list[int], key: str, figure: str) -> Series:
    scope, _, name = key.partition("/")
    kind = SCOPES[scope][figure]
    found: list[Any] = [buckets.get(start, {}).get(key, {}).get(figure) for start in times]
    if kind.counter:
        grown = [None if each is None else each / THOUSANDTHS for each in found]
        return Series(scope, name, figure, kind.unit, True, grown, None, None)
    return Series(
        scope,
        name,
        figure,
        kind.unit,
        False,
        [None if each is None else round(each[1] / each[0] / THOUSANDTHS, 3) for each in found],
        [None if each is None else each[2] / THOUSANDTHS for each in found],
        [None if each is None else each[3] / THOUSANDTHS for each in found],
    )
