"""Rules and targets as people write them. Every change is in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet import audit
from fleet.alerts import messages, store
from fleet.alerts.rules import BUILT_IN, Rule
from fleet.alerts.senders import Senders
from fleet.alerts.tables import DeliveryRow, RuleRow, TargetRow
from fleet.alerts.targets import Email, Mqtt, Secrets, Slack, Webhook, read_target, restored, shown
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import FleetError, NotFound, Refused
from wire.problem import nearest
from wire.reasons import Reason

MOST_TARGETS = 100
MOST_RULES = 200


@dataclass(frozen=True)
class RuleShown:
    """A rule; `built_in` where nobody has written it."""

    name: str
    rule: Rule
    built_in: bool
    set_at: float | None
    set_by: str


@dataclass(frozen=True)
class TargetShown:
    """A target with how it went lately."""

    row: TargetRow
    document: dict[str, Any]
    waiting: int
    last_error: str
    delivered_at: float | None


@dataclass(frozen=True)
class Trial:
    """How a test of a target went."""

    ok: bool
    error: str
    took_s: float


class AlertSettings:
    """For the API."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        secrets: Secrets,
        senders: Senders,
        source: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._secrets = secrets
        self._senders = senders
        self._source = source

    # --- rules --------------------------------------------------------------------------------------------------------

    def rules(self) -> list[RuleShown]:
        """In the order in which they are tried."""
        with self._database.read() as session:
            rows = {row.name: row for row in session.scalars(select(RuleRow))}
            return [
                RuleShown(
                    name,
                    rule,
                    name not in rows,
                    rows[name].set_at if name in rows else None,
                    rows[name].set_by if name in rows else "",
                )
                for name, rule in store.rules(session).items()
            ]

    def set_rule(self, name: str, rule: Rule, actor: str) -> RuleShown:
        """:raises Refused: there are too many"""
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(RuleRow, name)
            before = row.document if row else None
            if row is None:
                _room(session, RuleRow, MOST_RULES, "rules")
                row = RuleRow(name=name)
                session.add(row)
            row.document, row.set_at, row.set_by = rule.to_json(), at, actor
            audit.record(session, at, actor, "alert.rule.set", name, before=before, after=row.document)
        return RuleShown(name, rule, False, at, actor)

    def remove_rule(self, name: str, actor: str) -> None:
        """A built-in one comes back as it was.

        :raises NotFound: nobody has written one of this name
        """
        with self._database.write() as session:
            row = session.get(RuleRow, name)
            if row is None:
                hint = "it is built in; switch it off with enabled: false" if name in BUILT_IN else ""
                raise NotFound(
                    "written rule", name, hint or nearest(name, session.scalars(select(RuleRow.name)))
                )
            audit.record(session, self._clock.wall(), actor, "alert.rule.remove", name, before=row.document)
            session.delete(row)

    def secrets(self) -> list[str]:
        """The names of the secrets that targets may name."""
        return self._secrets.names

    # --- targets ------------------------------------------------------------------------------------------------------

    def targets(self) -> list[TargetShown]:
        with self._database.read() as session:
            return [
                _target(session, row) for row in session.scalars(select(TargetRow).order_by(TargetRow.name))
            ]

    def set_target(self, name: str, target: Webhook | Slack | Email | Mqtt, actor: str) -> TargetShown:
        """What was hidden when it was shown, and is sent back like that, stays.

        :raises Refused: it names a secret that there is not, or there are too many
        """
        self._secrets.check(target)
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(TargetRow, name)
            before = row.document if row else None
            target = restored(target, read_target(before) if before else None)
            if row is None:
                _room(session, TargetRow, MOST_TARGETS, "targets")
                row = TargetRow(name=name)
                session.add(row)
            row.document, row.set_at, row.set_by = target.to_json(), at, actor
            audit.record(
                session, at, actor, "alert.target.set", name,
                before=before, after=row.document, kind=target.kind,
            )  # fmt: skip
            session.flush()
            return _target(session, row)

    def remove_target(self, name: str, actor: str) -> None:
        """:raises NotFound: no such target"""
        with self._database.write() as session:
            row = _target_row(session, name)
            audit.record(session, self._clock.wall(), actor, "alert.target.remove", name, before=row.document)
            session.delete(row)

    async def test(self, name: str, actor: str) -> Trial:
        """Send a message now, and say how it went.

        :raises NotFound: no such target
        """
        at, begun_mono = self._clock.wall(), self._clock.mono()
        with self._database.write() as session:
            target = read_target(_target_row(session, name).document)
            audit.record(session, at, actor, "alert.target.test", name)
        data = {"state": messages.TEST, "target": name, "by": actor, "subject": f"target:{name}"}
        event = messages.cloud_event(self._ids.unique(), self._source, messages.TEST, at, data)
        try:
            await self._senders.send(target, event)
        except FleetError as e:
            return Trial(False, str(e), self._clock.mono() - begun_mono)
        return Trial(True, "", self._clock.mono() - begun_mono)


def _room(session: Session, table: Any, most: int, what: str) -> None:
    if (session.scalar(select(func.count()).select_from(table)) or 0) >= most:
        raise Refused(Reason.TOO_LARGE, f"there are {most} {what} already; remove one")


def _target_row(session: Session, name: str) -> TargetRow:
    row = session.get(TargetRow, name)
    if row is None:
        raise NotFound("target", name, nearest(name, session.scalars(select(TargetRow.name))))
    return row


def _target(session: Session, row: TargetRow) -> TargetShown:
    of_target = select(DeliveryRow).where(DeliveryRow.target == row.name)
    waiting = (
        select(func.count()).select_from(DeliveryRow).where(DeliveryRow.target == row.name, DeliveryRow.open)
    )
    failed = of_target.where(DeliveryRow.error != "").order_by(DeliveryRow.created_at.desc()).limit(1)
    last = session.scalar(failed)
    delivered = select(func.max(DeliveryRow.delivered_at)).where(DeliveryRow.target == row.name)
    return TargetShown(
        row,
        shown(read_target(row.document)),
        session.scalar(waiting) or 0,
        last.error if last is not None and last.delivered_at is None else "",
        session.scalar(delivered),
    )
