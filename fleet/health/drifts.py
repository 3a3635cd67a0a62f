"""What is read of that which models saw: drift of cameras, and versions of a model compared over the fleet."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from fleet.clock import Clock
from fleet.db import Database
from fleet.health.buckets import DAY_S
from fleet.health.census import days_of
from fleet.health.figures import unpacked
from fleet.health.sights import Drift, VersionFigures, compared, drift_of
from fleet.health.tables import DriftRow, SightDay
from fleet.tables import Version


@dataclass(frozen=True)
class VersionRow:
    """A version of a model, with its figures over the fleet."""

    name: str
    version: int
    digest: str
    figures: VersionFigures


class Drifts:
    """For the API."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def drift(self, device: str, recent_days: int, reference_days: int) -> dict[str, Drift]:
        """Camera → how the last days compare with those before."""
        day = int(self._clock.wall() // DAY_S)
        first = day - recent_days + 1
        with self._database.read() as session:
            days = days_of(session, [device], first - reference_days)
        return drift_of(days.get(device, {}), first, first - reference_days)

    def worst(self, before: tuple[float, str, str], limit: int, visible: set[str] | None) -> list[DriftRow]:
        """Cameras by how far they have drifted, the farthest first, after a place in that order; `visible` None for all devices."""
        worst, device, camera = before
        query = select(DriftRow).order_by(DriftRow.worst.desc(), DriftRow.device, DriftRow.camera)
        query = query.where(DriftRow.worst <= worst)
        found: list[DriftRow] = []
        with self._database.read() as session:
            for row in session.scalars(query.execution_options(yield_per=500)):
                if row.worst == worst and (row.device, row.camera) <= (device, camera):
                    continue
                if visible is None or row.device in visible:
                    found.append(row)
                if len(found) == limit:
                    break
        return found

    def versions(self, model: str, days: int, visible: set[str] | None) -> list[VersionRow]:
        """The versions of a model that ran in the last days, compared over devices."""
        first = int(self._clock.wall() // DAY_S) - days + 1
        with self._database.read() as session:
            known = {
                row.digest: row.version
                for row in session.scalars(
                    select(Version).where(Version.kind == "model", Version.name == model)
                )
            }
            rows = session.execute(
                select(SightDay.device, SightDay.seen)
                .where(SightDay.day >= first)
                .execution_options(yield_per=500)
            )
            told = ((device, unpacked(seen)) for device, seen in rows if visible is None or device in visible)
            found = compared(told, known)
        rows_made = [VersionRow(model, known[d], d, f) for d, f in found.items() if f.devices or f.cameras]
        return sorted(rows_made, key=lambda row: -row.version)
