"""Alerts put together: what delivers them, what people see and change. What decides on them is `fleet.keeper.chores`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session

from fleet.alerts.courier import Courier
from fleet.alerts.desk import AlertDesk
from fleet.alerts.senders import Publish, Senders
from fleet.alerts.settings import AlertSettings
from fleet.alerts.targets import Secrets
from fleet.alerts.teller import source_of
from fleet.clock import Clock, Ids
from fleet.config import Config
from fleet.db import Database
from fleet.roster import Roster
from wire.names import FleetId


class AlertCare:
    """`run` until cancelled. Only where `leads` says so anything is delivered."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        roster: Roster,
        config: Config,
        environment: Mapping[str, str],
        publish: Publish,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
    ) -> None:
        site_label = config.faults.site_label
        secrets = Secrets(config.alerts.secrets, environment)
        senders = Senders(FleetId(config.fleet), clock, secrets, publish)
        self.courier = Courier(database, clock, senders, leads, guard)
        self.desk = AlertDesk(database, clock, ids, roster, site_label)
        self.settings = AlertSettings(database, clock, ids, secrets, senders, source_of(config.fleet))
        self._days = config.limits.faults_days

    async def run(self) -> None:
        await self.courier.run()

    def forget_old(self) -> None:
        """Remove deliveries past their time."""
        self.courier.forget_old(self._days)
