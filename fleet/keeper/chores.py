"""What one process does for the whole fleet again and again: roll history up, look for faults, look at drift, decide on alerts, forget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.orm import Session

from fleet.alerts.reach import Reach
from fleet.alerts.teller import Teller, source_of
from fleet.clock import Clock, Ids
from fleet.config import Config
from fleet.db import Database
from fleet.errors import FleetError
from fleet.health.care import keep_of, kinds_of
from fleet.health.census import Census
from fleet.health.history import History
from fleet.health.watch import Watch
from fleet.roster import Roster

log = logging.getLogger(__name__)

FORGET_S = 3600.0


class Chores:
    """`run` works until cancelled, while `leads` says so. `guard` raises in a transaction that this one must not make."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        config: Config,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
    ) -> None:
        limits, faults = config.limits, config.faults
        self._leads = leads
        self._limits = limits
        self.history = History(database, clock, leads, guard, keep_of(limits))
        self.watch = Watch(
            database, clock, ids, leads, guard, kinds_of(faults), faults.site_label, faults.every_s
        )
        self.census = Census(database, clock, leads, guard, faults.sights_every_s)
        self.teller = Teller(
            database,
            clock,
            ids,
            self.watch,
            source_of(config.fleet),
            faults.site_label,
            leads,
            guard,
            faults.every_s,
            Reach(clock, Roster(database, clock).matching),
        )

    async def run(self) -> None:
        await asyncio.gather(
            self.history.run(), self.watch.run(), self.census.run(), self.teller.run(), self._forget()
        )

    async def _forget(self) -> None:
        while True:
            try:
                if self._leads():
                    gone = await asyncio.to_thread(self.forget_old)
                    log.info("health and faults past their time are forgotten", extra={"rows_deleted": gone})
            except FleetError as e:
                log.info("old health is forgotten later", extra={"cause": str(e)})
            except Exception:  # the boundary: it is tried again in an hour
                log.exception("old health cannot be forgotten")
            await asyncio.sleep(FORGET_S)

    def forget_old(self) -> int:
        """Remove what is past its time; how many rows of health and faults."""
        gone = self.history.forget_old() + self.watch.forget_old(self._limits.faults_days)
        self.teller.forget_old(self._limits.faults_days)
        return gone + self.census.forget_old(self._limits.daily_days)
