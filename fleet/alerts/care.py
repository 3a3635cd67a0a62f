"""Alerts put together: what keeps them, what delivers them, what people see and change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session

from fleet.alerts.courier import Courier
from fleet.alerts.desk import AlertDesk
from fleet.alerts.senders import Publish, Senders
from fleet.alerts.settings import AlertSettings
from fleet.alerts.targets import Secrets
from fleet.alerts.teller import Teller
from fleet.clock import Clock, Ids
from fleet.config import Config
from fleet.db import Database
from fleet.health.watch import Watch
from fleet.roster import Roster
from wire.names import FleetId


class AlertCare:
    """`run` until cancelled. Only where `leads` says so anything is decided or delivered."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        roster: Roster,
        config: Config,
        watch: Watch,
        environment: Mapping[str, str],
        publish: Publish,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
    ) -> None:
        faults, source = config.faults, f"/outrider/{config.fleet}"
        secrets = Secrets(config.alerts.secrets, environment)
        senders = Senders(FleetId(config.fleet), clock, secrets, publish)
        self.teller = Teller(
            database, clock, ids, watch, source, faults.site_label, leads, guard, faults.every_s
        )
        self.courier = Courier(database, clock, senders, leads, guard)
        self.desk = AlertDesk(database, clock, ids, roster, faults.site_label)
        self.settings = AlertSettings(database, clock, ids, secrets, senders, source)
        self._days = config.limits.faults_days

    async def run(self) -> None:
        await asyncio.gather(self.teller.run(), self.courier.run())

    def forget_old(self) -> None:
        """Remove what is past its time."""
        self.teller.forget_old(self._days)
        self.courier.forget_old(self._days)
