"""Alerts, silences and deliveries as people ask for and change them. Every change is in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from fleet import audit
from fleet.access.grants import Role
from fleet.alerts.rules import Matcher
from fleet.alerts.tables import AlertRow, DeliveryRow, SilenceRow
from fleet.auth import Principal
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.health.desk import MOST_NAMED
from fleet.roster import Roster
from fleet.selector import EVERYTHING, Selector
from fleet.tables import Device
from wire.reasons import Reason


@dataclass(frozen=True)
class Wanted:
    """Which alerts: `state` is firing, resolved or all."""

    state: str = "firing"
    severity: str = ""
    device: str = ""
    site: str = ""
    rule: str = ""
    selector: Selector = EVERYTHING


class AlertDesk:
    """For the API."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        roster: Roster,
        site_label: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._roster = roster
        self._site_label = site_label

    # --- alerts -------------------------------------------------------------------------------------------------------

    def page(self, who: Principal, wanted: Wanted, before: tuple[float, str], limit: int) -> list[AlertRow]:
        """The newest first, beginning before a pair of time and id; only what may be seen."""
        query = select(AlertRow).where(*_conditions(wanted), _older(before))
        query = query.order_by(AlertRow.fired_at.desc(), AlertRow.id.desc())
        with self._database.read() as session:
            if who.rights.everywhere is not None and wanted.selector.everything:
                return list(session.scalars(query.limit(limit)))
            visible = self._roster.visible(who, wanted.selector)
            found = []
            for row in session.scalars(query.execution_options(yield_per=MOST_NAMED)):
                if row.device in visible if row.device else self._site_seen(who, wanted.selector, row.site):
                    found.append(row)
                if len(found) == limit:
                    break
            return found

    def get(self, who: Principal, alert: str) -> tuple[AlertRow, list[DeliveryRow]]:
        """An alert, and what was told of it.

        :raises NotFound: there is none, or none that may be seen
        """
        with self._database.read() as session:
            row = session.get(AlertRow, alert)
            if row is None or who.rights.on(self._labels(session, row)) is None:
                raise NotFound("alert", alert[:40])
            told = select(DeliveryRow).where(DeliveryRow.alert == alert).order_by(DeliveryRow.created_at)
            return row, list(session.scalars(told.limit(200)))

    def acknowledge(self, who: Principal, alert: str, note: str, on: bool) -> AlertRow:
        """Somebody cares for it, so that nobody is told again; or not any more.

        :raises NotAllowed: by who is no operator of the device or site
        """
        self.get(who, alert)
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(AlertRow, alert)
            if row is None:
                raise NotFound("alert", alert[:40])
            who.require_on(self._labels(session, row), Role.OPERATOR, row.subject)
            row.acknowledged_at = at if on else None
            row.acknowledged_by, row.note = (who.actor, note) if on else ("", "")
            action = "alert.acknowledge" if on else "alert.unacknowledge"
            audit.record(session, at, who.actor, action, alert, subject_of=row.subject, note=note)
            return row

    def counts(self, who: Principal) -> dict[str, int]:
        """Alerts that are firing, by severity; `acknowledged` and `silenced` of them."""
        found = {"critical": 0, "warning": 0, "info": 0, "acknowledged": 0, "silenced": 0}
        columns = (AlertRow.severity, AlertRow.acknowledged_at.is_not(None), AlertRow.silence != "")
        with self._database.read() as session:
            if who.rights.everywhere is not None:
                query = (
                    select(*columns, func.count()).where(AlertRow.resolved_at.is_(None)).group_by(*columns)
                )
                rows: list[Any] = list(session.execute(query))
            else:
                rows = [
                    (row.severity, row.acknowledged_at is not None, row.silence != "", 1)
                    for row in self.page(who, Wanted(), (1e14, "~"), 10_000)
                ]
        for severity, acknowledged, silenced, number in rows:
            found[severity] += number
            found["acknowledged"] += number * acknowledged
            found["silenced"] += number * silenced
        return found

    # --- silences and deliveries --------------------------------------------------------------------------------------

    def silences(self, all_of_them: bool) -> list[SilenceRow]:
        """The newest first; those that are over only where all are wanted."""
        query = select(SilenceRow).order_by(SilenceRow.created_at.desc(), SilenceRow.id)
        if not all_of_them:
            query = query.where(SilenceRow.until_at > self._clock.wall())
        with self._database.read() as session:
            return list(session.scalars(query.limit(1000)))

    def silence(
        self, who: Principal, matcher: Matcher, from_wall: float | None, until_wall: float, reason: str
    ) -> SilenceRow:
        """:raises NotAllowed: it reaches further than who asks operates
        :raises Refused: it is over before it begins
        """
        at = self._clock.wall()
        begins = at if from_wall is None else from_wall
        if until_wall <= max(begins, at):
            raise Refused(Reason.INVALID_FIELD, "until: the silence is over before it begins")
        self._require(who, matcher)
        with self._database.write() as session:
            row = SilenceRow(
                id=self._ids.unique(),
                matcher=matcher.model_dump(exclude_none=True),
                reason=reason,
                from_at=begins,
                until_at=until_wall,
                created_at=at,
                created_by=who.actor,
            )
            session.add(row)
            audit.record(
                session, at, who.actor, "alert.silence", row.id,
                after=row.matcher, until=until_wall, reason=reason, matcher=row.matcher,
            )  # fmt: skip
            return row

    def end_silence(self, who: Principal, name: str) -> None:
        """:raises NotFound: there is none"""
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(SilenceRow, name)
            if row is None:
                raise NotFound("silence", name[:40])
            self._require(who, Matcher.model_validate(row.matcher))
            row.until_at = min(row.until_at, at)
            audit.record(session, at, who.actor, "alert.silence.end", name)

    def deliveries(
        self, target: str, state: str, before: tuple[float, str], limit: int
    ) -> Sequence[DeliveryRow]:
        """The newest first; `state` is waiting, delivered, failed or empty for all."""
        at, name = before
        older = or_(DeliveryRow.created_at < at, and_(DeliveryRow.created_at == at, DeliveryRow.id < name))
        query = select(DeliveryRow).where(older)
        if target:
            query = query.where(DeliveryRow.target == target)
        states: dict[str, list[Any]] = {
            "waiting": [DeliveryRow.open],
            "delivered": [DeliveryRow.delivered_at.is_not(None)],
            "failed": [DeliveryRow.open.is_(False), DeliveryRow.delivered_at.is_(None)],
        }
        query = query.where(*states.get(state, []))
        with self._database.read() as session:
            ordered = query.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id.desc())
            return list(session.scalars(ordered.limit(limit)))

    def _require(self, who: Principal, matcher: Matcher) -> None:
        """Who operates a device or a site may silence that; anything else needs an operator of the whole fleet."""
        plain = {name for name in (matcher.device, matcher.site) if name and not set(name) & set("*?[")}
        if matcher.device in plain and matcher.device is not None:
            self._roster.require(who, matcher.device, Role.OPERATOR)
        elif matcher.site in plain and matcher.site is not None:
            who.require_on({self._site_label: matcher.site}, Role.OPERATOR, f"the site {matcher.site}")
        else:
            who.require(Role.OPERATOR)

    def _labels(self, session: Session, row: AlertRow) -> dict[str, str]:
        if not row.device:
            return {self._site_label: row.site}
        return dict(session.scalar(select(Device.labels).where(Device.id == row.device)) or {})

    def _site_seen(self, who: Principal, selector: Selector, site: str) -> bool:
        labels = {self._site_label: site}
        return who.rights.on(labels) is not None and selector.matches(labels)


def _older(before: tuple[float, str]) -> ColumnElement[bool]:
    at, name = before
    return or_(AlertRow.fired_at < at, and_(AlertRow.fired_at == at, AlertRow.id < name))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.state == "firing":
        found.append(AlertRow.resolved_at.is_(None))
    elif wanted.state == "resolved":
        found.append(AlertRow.resolved_at.is_not(None))
    for column, value in (
        (AlertRow.severity, wanted.severity),
        (AlertRow.device, wanted.device),
        (AlertRow.site, wanted.site),
        (AlertRow.rule, wanted.rule),
    ):
        if value:
            found.append(column == value)
    return found
