"""Rows of alerts as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable

from fleet import shapes
from fleet.alerts.settings import RuleShown, TargetShown
from fleet.alerts.tables import AlertRow, DeliveryRow, SilenceRow
from fleet.health.faults import BY_CODE


def alert(row: AlertRow) -> shapes.AlertView:
    kind = BY_CODE.get(row.code)
    return {
        "id": row.id,
        "rule": row.rule,
        "state": "firing" if row.resolved_at is None else "resolved",
        "severity": row.severity,
        "code": row.code,
        "subject": row.subject,
        "site": row.site,
        "device": row.device,
        "part": row.part,
        "summary": row.summary,
        "text": kind.text if kind else "",
        "remedy": kind.remedy if kind else "",
        "fault": row.fault,
        "since": row.since,
        "fired_at": row.fired_at,
        "resolved_at": row.resolved_at,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by,
        "note": row.note,
        "silenced": row.silence != "",
        "notified_at": row.notified_at,
        "notices": row.notices,
    }


def detail(row: AlertRow, told: Iterable[DeliveryRow]) -> shapes.AlertDetail:
    return {**alert(row), "deliveries": [delivery(each) for each in told]}


def delivery(row: DeliveryRow) -> shapes.DeliveryView:
    done = "delivered" if row.delivered_at is not None else "failed"
    return {
        "id": row.id,
        "alert": row.alert,
        "target": row.target,
        "kind": row.kind,
        "state": "waiting" if row.open else done,
        "created_at": row.created_at,
        "attempts": row.attempts,
        "next_at": row.next_at if row.open else None,
        "delivered_at": row.delivered_at,
        "error": row.error,
    }


def rule(found: RuleShown) -> shapes.RuleView:
    return {
        "name": found.name,
        "built_in": found.built_in,
        "rule": found.rule.to_json(),
        "set_at": found.set_at,
        "set_by": found.set_by,
    }


def target(found: TargetShown) -> shapes.TargetView:
    return {
        "name": found.row.name,
        "target": found.document,
        "set_at": found.row.set_at,
        "set_by": found.row.set_by,
        "waiting": found.waiting,
        "last_error": found.last_error,
        "delivered_at": found.delivered_at,
    }


def silence(row: SilenceRow, at: float) -> shapes.SilenceView:
    return {
        "id": row.id,
        "matcher": row.matcher,
        "reason": row.reason,
        "from_at": row.from_at,
        "until_at": row.until_at,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "active": row.from_at <= at < row.until_at,
    }
