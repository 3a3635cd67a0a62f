"""Alerts, rules, silences and deliveries in the database: rows to values and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from fleet.alerts.decision import Alert, Cause
from fleet.alerts.rules import BUILT_IN, Matcher, Rule, Silence
from fleet.alerts.tables import AlertRow, DeliveryRow, RuleRow, SilenceRow, TargetRow
from fleet.alerts.targets import Email, Mqtt, Slack, Webhook, read_target

MOST_WAITING = 10_000
CAUSE_FIELDS = ("rule", "severity", "code", "subject", "site", "device", "part", "summary", "fault")
TIME_FIELDS = ("fired_at", "quiet_at", "resolved_at", "acknowledged_at", "notified_at", "notices", "silence")


@dataclass(frozen=True)
class Letter:
    """Something to be told to a target. `alert` is empty for many at once and for a test."""

    id: str
    alert: str
    target: str
    kind: str
    body: dict[str, Any]


def rules(session: Session) -> dict[str, Rule]:
    """Every rule, in the order in which they are tried."""
    written = {row.name: Rule.model_validate(row.document) for row in session.scalars(select(RuleRow))}
    found = {**BUILT_IN, **written}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def silences(session: Session, at: float) -> list[Silence]:
    """Those that are in force, or will be."""
    query = select(SilenceRow).where(SilenceRow.until_at > at).order_by(SilenceRow.from_at, SilenceRow.id)
    return [
        Silence(row.id, Matcher.model_validate(row.matcher), row.from_at, row.until_at)
        for row in session.scalars(query)
    ]


def targets(session: Session) -> dict[str, Webhook | Slack | Email | Mqtt]:
    return {row.name: read_target(row.document) for row in session.scalars(select(TargetRow))}


def firing(session: Session) -> dict[str, tuple[str, Alert]]:
    """Key → id and alert, of those that are not over."""
    columns = AlertRow.__table__.columns
    found = {}
    for row in session.execute(select(*columns).where(AlertRow.resolved_at.is_(None))):
        cause = Cause(key=row.key, since=row.since, **{name: getattr(row, name) for name in CAUSE_FIELDS})
        found[row.key] = row.id, Alert(cause, **{name: getattr(row, name) for name in TIME_FIELDS})
    return found


def save(session: Session, names: Mapping[str, str], alerts: Iterable[Alert], new: set[str]) -> None:
    """Write alerts; of those that were there already all but who has acknowledged them."""
    added, changed = [], []
    for alert in alerts:
        cause = alert.cause
        row = {
            "id": names[cause.key],
            **{name: getattr(cause, name) for name in CAUSE_FIELDS},
            **{name: getattr(alert, name) for name in TIME_FIELDS if name != "acknowledged_at"},
        }
        if cause.key in new:
            added.append(row | {"key": cause.key, "since": cause.since, "acknowledged_by": "", "note": ""})
        else:
            changed.append(row)
    if added:
        session.execute(insert(AlertRow), added)
    if changed:
        session.execute(update(AlertRow), changed)


def told_of(session: Session, alerts: Mapping[str, float]) -> dict[str, set[str]]:
    """Of alerts, by id with the time at which they fired: the targets that were told. A message about many counts for all of its time."""
    found: dict[str, set[str]] = {name: set() for name in alerts}
    names = list(alerts)
    for start in range(0, len(names), 500):
        query = select(DeliveryRow.alert, DeliveryRow.target).where(
            DeliveryRow.alert.in_(names[start : start + 500])
        )
        for name, target in session.execute(query.distinct()):
            found[name].add(target)
    if alerts:
        many = select(DeliveryRow.target, DeliveryRow.created_at).where(
            DeliveryRow.alert == "", DeliveryRow.created_at >= min(alerts.values())
        )
        for target, created_at in session.execute(many):
            for name, fired_at in alerts.items():
                if created_at >= fired_at:
                    found[name].add(target)
    return found


def queue(session: Session, letters: Iterable[Letter], at: float) -> int:
    """Put into the queue; how many had no room there and are kept as failed."""
    waiting = session.scalar(select(func.count()).select_from(DeliveryRow).where(DeliveryRow.open)) or 0
    rows = []
    for place, letter in enumerate(letters):
        room = waiting + place < MOST_WAITING
        rows.append(
            {
                "id": letter.id,
                "alert": letter.alert,
                "target": letter.target,
                "kind": letter.kind,
                "body": letter.body,
                "created_at": at,
                "open": room,
                "next_at": at,
                "attempts": 0,
                "delivered_at": None,
                "error": "" if room else f"{MOST_WAITING} messages wait already",
            }
        )
    if rows:
        session.execute(insert(DeliveryRow), rows)
    return sum(not row["open"] for row in rows)
