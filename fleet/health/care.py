"""What is read of health put together, and what the configuration says of it. What is done with it is `fleet.keeper.chores`."""

from __future__ import annotations

from dataclasses import replace

from fleet.clock import Clock
from fleet.config import Config, Faults, Limits
from fleet.db import Database
from fleet.errors import Misconfigured
from fleet.health.desk import FaultDesk
from fleet.health.drifts import Drifts
from fleet.health.faults import BY_CODE, Kind, Severity
from fleet.health.history import Keep
from fleet.health.series import SeriesReader
from fleet.roster import Roster
from wire.problem import nearest
from wire.reasons import Reason

HOUR_S, DAY_S = 3600.0, 86_400.0


class HealthCare:
    """For the API."""

    def __init__(self, database: Database, clock: Clock, roster: Roster, config: Config) -> None:
        """:raises Misconfigured: the configuration names a fault that there is not"""
        self.kinds = kinds_of(config.faults)
        self.series = SeriesReader(database, keep_of(config.limits))
        self.drifts = Drifts(database, clock)
        self.faults = FaultDesk(database, clock, roster, config.faults.site_label)


def keep_of(limits: Limits) -> Keep:
    """For how long each step is kept."""
    return Keep(
        limits.raw_hours * HOUR_S,
        limits.minutes_hours * HOUR_S,
        limits.history_days * DAY_S,
        limits.daily_days * DAY_S,
    )


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
