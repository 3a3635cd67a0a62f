"""Faults as people ask for them: lists, one with its consequences, and the fleet at a glance."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from fleet.auth import Principal
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound
from fleet.health.faults import Severity
from fleet.health.tables import FaultRow
from fleet.roster import Roster
from fleet.selector import EVERYTHING, Selector
from fleet.tables import Device

OVERVIEW_S = 5.0
"""How old the view of the fleet may be: everybody looks at it, and nobody needs it to the second."""
MOST_NAMED = 900
"""Names in one query; more are sorted out afterwards."""


@dataclass(frozen=True)
class Wanted:
    """Which faults: `active` are those that are there, `roots` those that are nobody's consequence."""

    active: bool = True
    roots: bool = True
    code: str = ""
    severity: str = ""
    device: str = ""
    site: str = ""
    selector: Selector = EVERYTHING


@dataclass
class Told:
    """A fault, with how many stand beneath it."""

    row: FaultRow
    consequences: int


@dataclass
class Site:
    """A site at a glance."""

    name: str
    devices: int = 0
    online: int = 0
    faults: Counter[str] = field(default_factory=Counter)


@dataclass
class Overview:
    """The fleet, or the part of it that somebody may see."""

    at: float
    presence: Counter[str]
    versions: Counter[str]
    faults: Counter[str]
    sites: dict[str, Site]


class FaultDesk:
    """Reads only."""

    def __init__(self, database: Database, clock: Clock, roster: Roster, site_label: str) -> None:
        self._database = database
        self._clock = clock
        self._roster = roster
        self.site_label = site_label
        self._kept: tuple[float, list[Any], list[Any]] = (float("-inf"), [], [])
        self._lock = threading.Lock()

    def page(self, who: Principal, wanted: Wanted, before: tuple[float, str], limit: int) -> list[Told]:
        """The newest first, beginning before a pair of time and id; only what may be seen."""
        conditions = [*_conditions(wanted), _older(before)]
        if who.rights.everywhere is None or not wanted.selector.everything:
            visible = self._roster.visible(who, wanted.selector)
            seen = sorted(visible)
            if len(seen) <= MOST_NAMED:
                conditions.append(or_(FaultRow.device.in_(seen), FaultRow.device == ""))
            return self._visible(who, wanted, conditions, visible, limit)
        with self._database.read() as session:
            return _told(session, list(session.scalars(_newest(conditions).limit(limit))))

    def get(self, who: Principal, fault: str) -> tuple[Told, list[FaultRow]]:
        """A fault and what stands beneath it, the oldest first.

        :raises NotFound: there is none, or none that may be seen
        """
        with self._database.read() as session:
            row = session.get(FaultRow, fault)
            if row is None or not self._may_see(session, who, row):
                raise NotFound("fault", fault[:40])
            query = select(FaultRow).where(FaultRow.root == row.id, FaultRow.id != row.id)
            beneath = list(session.scalars(query.order_by(FaultRow.opened_at, FaultRow.id).limit(1000)))
            return _told(session, [row])[0], beneath

    def overview(self, who: Principal) -> Overview:
        """Counts, from a view of the fleet that is some seconds old at most."""
        at, devices, faults = self._view()
        made = Overview(at, Counter(), Counter(), Counter(), {})
        seen = {}
        for name, labels, presence, version in devices:
            if presence == "retired" or who.rights.on(labels) is None:
                continue
            seen[name] = labels
            made.presence[presence] += 1
            made.versions[version] += 1
            site = self._site(made, labels.get(self.site_label, ""))
            site.devices += 1
            site.online += presence in ("online", "polling")
        for device, site_name, severity, number in faults:
            shown = device in seen if device else who.rights.on({self.site_label: site_name}) is not None
            if shown:
                made.faults[severity] += number
                self._site(made, site_name).faults[severity] += number
        return made

    @staticmethod
    def _site(overview: Overview, name: str) -> Site:
        return overview.sites.setdefault(name, Site(name))

    def _view(self) -> tuple[float, list[Any], list[Any]]:
        with self._lock:
            at = self._clock.mono()
            if at - self._kept[0] >= OVERVIEW_S or at < self._kept[0]:
                roots = select(FaultRow.device, FaultRow.site, FaultRow.severity, func.count()).where(
                    FaultRow.cleared_at.is_(None), FaultRow.parent.is_(None)
                )
                with self._database.read() as session:
                    devices = session.execute(
                        select(Device.id, Device.labels, Device.presence, Device.agent_version)
                    ).all()
                    faults = session.execute(
                        roots.group_by(FaultRow.device, FaultRow.site, FaultRow.severity)
                    ).all()
                self._kept = at, list(devices), list(faults)
            return self._clock.wall() - (self._clock.mono() - self._kept[0]), *self._kept[1:]

    def _visible(
        self,
        who: Principal,
        wanted: Wanted,
        conditions: Sequence[ColumnElement[bool]],
        visible: set[str],
        limit: int,
    ) -> list[Told]:
        with self._database.read() as session:
            found = []
            for row in session.scalars(_newest(conditions).execution_options(yield_per=500)):
                if row.device in visible if row.device else self._site_seen(who, wanted, row.site):
                    found.append(row)
                if len(found) == limit:
                    break
            return _told(session, found)

    def _site_seen(self, who: Principal, wanted: Wanted, site: str) -> bool:
        labels = {self.site_label: site}
        return who.rights.on(labels) is not None and wanted.selector.matches(labels)

    def _may_see(self, session: Any, who: Principal, row: FaultRow) -> bool:
        labels = {self.site_label: row.site}
        if row.device:
            labels = session.scalar(select(Device.labels).where(Device.id == row.device))
        return labels is not None and who.rights.on(labels) is not None


def _newest(conditions: Sequence[ColumnElement[bool]]) -> Any:
    return select(FaultRow).where(and_(*conditions)).order_by(FaultRow.opened_at.desc(), FaultRow.id.desc())


def _older(before: tuple[float, str]) -> ColumnElement[bool]:
    at, name = before
    return or_(FaultRow.opened_at < at, and_(FaultRow.opened_at == at, FaultRow.id < name))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.active:
        found.append(FaultRow.cleared_at.is_(None))
    if wanted.roots:
        found.append(FaultRow.parent.is_(None))
    if wanted.severity:
        worst = [severity.value for severity in Severity]
        found.append(FaultRow.severity.in_(worst[: worst.index(wanted.severity) + 1]))
    for column, value in (
        (FaultRow.code, wanted.code),
        (FaultRow.device, wanted.device),
        (FaultRow.site, wanted.site),
    ):
        if value:
            found.append(column == value)
    return found


def _told(session: Any, rows: list[FaultRow]) -> list[Told]:
    beneath: Counter[str] = Counter()
    for start in range(0, len(rows), MOST_NAMED):
        names = [row.id for row in rows[start : start + MOST_NAMED]]
        counted = select(FaultRow.root, func.count()).where(
            FaultRow.root.in_(names), FaultRow.id != FaultRow.root, FaultRow.cleared_at.is_(None)
        )
        for root, number in session.execute(counted.group_by(FaultRow.root)):
            beneath[root] = number
    return [Told(row, beneath[row.id]) for row in rows]
