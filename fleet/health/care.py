"""The care for health put together: history, faults, and what is read of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.orm import Session

from fleet.clock import Clock, Ids
from fleet.config import Config, Faults
from fleet.db import Database
from fleet.errors import Misconfigured
from fleet.health.census import Census
from fleet.health.desk import FaultDesk
from fleet.health.faults import BY_CODE, Kind, Severity
from fleet.health.history import History, Keep
from fleet.health.series import SeriesReader
from fleet.health.watch import Watch
from fleet.roster import Roster
from wire.problem import nearest
from wire.reasons import Reason

HOUR_S, DAY_S = 3600.0, 86_400.0


class HealthCare:
    """`run` until cancelled. Only where `leads` says so anything is written."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        roster: Roster,
        config: Config,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
    ) -> None:
        """:raises Misconfigured: the configuration names a fault that there is not"""
        limits, faults = config.limits, config.faults
        keep = Keep(
            limits.raw_hours * HOUR_S,
            limits.minutes_hours * HOUR_S,
            limits.history_days * DAY_S,
            limits.daily_days * DAY_S,
        )
        self.kinds = kinds_of(faults)
        self.history = History(database, clock, leads, guard, keep)
        self.series = SeriesReader(database, keep)
        self.census = Census(database, clock, leads, guard)
        self.watch = Watch(database, clock, ids, leads, guard, self.kinds, faults.site_label, faults.every_s)
        self.faults = FaultDesk(database, clock, roster, faults.site_label)
        self._faults_days = limits.faults_days
        self._daily_days = limits.daily_days

    async def run(self) -> None:
        await asyncio.gather(self.history.run(), self.watch.run(), self.census.run())

    def forget_old(self) -> int:
        """Remove what is past its time; how many rows."""
        gone = self.history.forget_old() + self.watch.forget_old(self._faults_days)
        return gone + self.census.forget_old(self._daily_days)


def kinds_of(faults: Faults) -> dict[str, Kind]:
    """The kinds of faults as the configuration wants them.

    :raises Misconfigured: it names one that there is not
    """
    kinds = dict(BY_CODE)
    for code, wanted in faults.kinds.items():
        kind = kinds.get(code)
        if kind is None:
            raise Misconfigured(
                Reason.CONFIG_INVALID,
                f"faults.kinds.{code}: no fault has this code; {nearest(code, BY_CODE)}",
            )
        if wanted.off:
            del kinds[code]
            continue
        kinds[code] = replace(
            kind,
            severity=Severity(wanted.severity) if wanted.severity else kind.severity,
            visible_s=kind.visible_s if wanted.visible_s is None else wanted.visible_s,
            clear_s=kind.clear_s if wanted.clear_s is None else wanted.clear_s,
        )
    return kinds
