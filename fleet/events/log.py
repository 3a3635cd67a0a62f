"""Reading events of many devices, in the order of arrival or against it, by a filter, a bounded piece at a time.

Rows are numbered in the order of arrival, and a cursor is such a number. A read looks at no more than `MOST_EXAMINED` rows: where few
of them are meant, it gives few, and how far it has come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import Refused
from fleet.events.filter import Filter
from fleet.registry import find
from fleet.tables import EventRow, Version
from wire.names import is_digest
from wire.problem import Problem

BATCH_ROWS = 1000
MOST_EXAMINED = 50_000
MOST_READ = 5_000
"""Of these, so many bodies are read at most: a condition on a field wants all of them."""
CLOCK_AHEAD_S = 3600.0
"""By how much a device's clock may be ahead of ours, and its events are still found by time."""
SETTLED_S = 2.0
"""Where several processes write, a smaller number may become visible after a larger one, by no more than this."""
TIDE_S = 0.4


@dataclass(frozen=True)
class Found:
    """`reached`: the number of the last row that was looked at; `end`: there are no more now."""

    rows: list[EventRow]
    reached: int
    end: bool


class EventLog:
    """Thread-safe."""

    def __init__(self, database: Database, clock: Clock, *, settled: bool) -> None:
        """`settled`: one process alone writes, so that what is visible is all there is below it."""
        self._database = database
        self._clock = clock
        self._settled = settled
        self._lock = threading.Lock()
        self._tide = (-1e18, 0)

    def after(self, wanted: Filter, row: int, limit: int) -> Found:
        """Those that arrived after a row, oldest first."""
        with self._database.read() as session:
            row = max(row, _first_row(session, wanted) - 1)
            query = _light(wanted).order_by(EventRow.row)
            if not self._settled:
                query = query.where(EventRow.received_at < self._clock.wall() - SETTLED_S)
            return _scan(session, query, wanted, row, limit, forward=True)

    def before(self, wanted: Filter, row: int, limit: int) -> Found:
        """Those that arrived before a row, newest first."""
        with self._database.read() as session:
            query = _light(wanted).order_by(EventRow.row.desc())
            return _scan(session, query, wanted, row, limit, forward=False)

    def newest_row(self) -> int:
        """The number of the newest row, 0 where there is none; not older than a moment."""
        with self._lock:
            at_mono, row = self._tide
            if self._clock.mono() - at_mono > TIDE_S:
                with self._database.read() as session:
                    query = select(func.max(EventRow.row))
                    if not self._settled:
                        query = query.where(EventRow.received_at < self._clock.wall() - SETTLED_S)
                    row = int(session.scalar(query) or 0)
                self._tide = (self._clock.mono(), row)
            return row

    def workflow_digests(self, reference: str) -> frozenset[str]:
        """What a digest, `name` (each of its versions), `name@3` or `name@alias` of a workflow means.

        :raises Refused: the registry knows no such workflow
        """
        if is_digest(reference):
            return frozenset({reference})
        with self._database.read() as session:
            found = find(session, "workflow", reference)
            if isinstance(found, Problem):
                raise Refused(found.reason, f"workflow {reference[:80]!r}: {found.message} {found.remedy}")
            if "@" in reference:
                return frozenset({found.digest})
            of_name = select(Version.digest).where(Version.kind == "workflow", Version.name == found.name)
            return frozenset(session.scalars(of_name))

    def workflow_names(self, digests: Iterable[str]) -> dict[str, str]:
        """Digest → `name@version`, the newest, of those that the registry knows."""
        wanted = set(digests)
        query = select(Version).where(Version.kind == "workflow", Version.digest.in_(wanted))
        with self._database.read() as session:
            rows = session.scalars(query.order_by(Version.created_at)) if wanted else ()
            return {row.digest: f"{row.name}@{row.version}" for row in rows}


def _light(wanted: Filter) -> Any:
    query: Any = select(
        EventRow.row,
        EventRow.device,
        EventRow.camera,
        EventRow.workflow,
        EventRow.kind,
        EventRow.at,
        EventRow.received_at,
    )
    # Labels are no column: devices beyond one are told apart here, and not by an index.
    return query if (one := wanted.only_device) is None else query.where(EventRow.device == one)


def _scan(session: Session, query: Any, wanted: Filter, row: int, limit: int, *, forward: bool) -> Found:
    rows: list[EventRow] = []
    examined = read = 0
    while examined < MOST_EXAMINED and read < MOST_READ:
        beyond = EventRow.row > row if forward else EventRow.row < row
        batch = session.execute(query.where(beyond).limit(BATCH_ROWS)).all()
        examined += len(batch)
        over = not forward and bool(batch) and _too_old(wanted, batch[-1])
        candidates = [light.row for light in batch if wanted.may_match(light)]
        read += len(candidates)
        for start in range(0, len(candidates), limit):
            for found in _bodies(session, wanted, candidates[start : start + limit]):
                rows.append(found)
                if len(rows) == limit:
                    return Found(rows, found.row, False)
        if len(batch) < BATCH_ROWS or over:
            return Found(rows, batch[-1].row if batch else row, True)
        row = batch[-1].row
    return Found(rows, row, False)


def _bodies(session: Session, wanted: Filter, numbers: Sequence[int]) -> list[EventRow]:
    by_number = {
        each.row: each for each in session.scalars(select(EventRow).where(EventRow.row.in_(numbers)))
    }
    found = [by_number[number] for number in numbers if number in by_number]
    return [each for each in found if wanted.matches_body(each.body)]


def _too_old(wanted: Filter, light: Any) -> bool:
    """Whether what arrived before this cannot be meant."""
    return wanted.since_wall is not None and light.received_at < wanted.since_wall - CLOCK_AHEAD_S


def _first_row(session: Session, wanted: Filter) -> int:
    """The row before which nothing can be meant."""
    if wanted.since_wall is None:
        return 0
    from_wall = wanted.since_wall - CLOCK_AHEAD_S
    first = select(EventRow.received_at).where(EventRow.received_at >= from_wall)
    at = session.scalar(first.order_by(EventRow.received_at).limit(1))
    if at is None:
        return int(session.scalar(select(func.max(EventRow.row))) or 0) + 1
    return int(session.scalar(select(func.min(EventRow.row)).where(EventRow.received_at == at)) or 0)
