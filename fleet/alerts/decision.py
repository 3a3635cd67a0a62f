"""Which alerts there are, and who is to be told now. Pure.

Rules: one alert for one cause, however many rules fit; it fires once its cause has lasted; nobody is told while it is silenced,
while its fault is a consequence of another, or again once it has been acknowledged; nobody is told more often than `repeat_s`; that it
is over is told to those who were told of it, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from fleet.alerts.rules import Rule, Silence


class Notice(str, Enum):
    """What somebody is told."""

    FIRING = "firing"
    REPEAT = "repeat"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Cause:
    """What is wrong: a fault, or a figure past its limit. `muted`: it is a consequence of another fault that is told."""

    key: str
    rule: str
    severity: str
    code: str
    subject: str
    site: str
    device: str
    part: str
    summary: str
    since: float
    muted: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Alert:
    """An alert. `notified_at`: when somebody was told last; `silence` names the one that covers it."""

    cause: Cause
    fired_at: float
    quiet_at: float | None = None
    resolved_at: float | None = None
    acknowledged_at: float | None = None
    notified_at: float | None = None
    notices: int = 0
    silence: str = ""


@dataclass(frozen=True)
class Decided:
    """The alerts by key, those that are over among them once, and who is to be told of which."""

    alerts: dict[str, Alert]
    notices: tuple[tuple[str, Notice], ...]


def decide(
    alerts: Mapping[str, Alert],
    causes: Iterable[Cause],
    rules: Mapping[str, Rule],
    silences: Iterable[Silence],
    at: float,
) -> Decided:
    """`causes`: each key at most once; those of rules that are gone end their alerts."""
    given = {cause.key: cause for cause in causes if cause.rule in rules}
    silences = tuple(silences)
    now: dict[str, Alert] = {}
    notices: list[tuple[str, Notice]] = []
    for key in sorted(alerts.keys() | given.keys()):
        alert = _moved(alerts.get(key), given.get(key), rules, at)
        if alert is None:
            continue
        alert = _silenced(alert, silences, at)
        notice = _notice(alert, rules.get(alert.cause.rule), at)
        if notice is not None:
            notices.append((key, notice))
            alert = replace(alert, notified_at=at, notices=alert.notices + 1)
        now[key] = alert
    return Decided(now, tuple(notices))


def _moved(alert: Alert | None, cause: Cause | None, rules: Mapping[str, Rule], at: float) -> Alert | None:
    if alert is not None and alert.resolved_at is not None:
        alert = None
    if cause is not None:
        if alert is not None:
            kept = replace(cause, since=alert.cause.since)
            return replace(alert, cause=kept, quiet_at=None) if _differs(alert, kept) else alert
        return Alert(cause, at) if not cause.muted and at - cause.since >= rules[cause.rule].for_s else None
    if alert is None:
        return None
    rule = rules.get(alert.cause.rule)
    quiet_at = alert.quiet_at if alert.quiet_at is not None else at
    if rule is None or at - quiet_at >= rule.resolve_s:
        return replace(alert, quiet_at=quiet_at, resolved_at=at)
    return replace(alert, quiet_at=quiet_at)


def _differs(alert: Alert, cause: Cause) -> bool:
    return alert.quiet_at is not None or alert.cause != cause


def _silenced(alert: Alert, silences: Iterable[Silence], at: float) -> Alert:
    cause = alert.cause
    names = {
        "code": cause.code, "rule": cause.rule, "site": cause.site, "device": cause.device, "part": cause.part,
    }  # fmt: skip
    silence = next((each.id for each in silences if each.covers(**names, at=at)), "")
    return replace(alert, silence=silence) if silence != alert.silence else alert


def _notice(alert: Alert, rule: Rule | None, at: float) -> Notice | None:
    if alert.silence:
        return None
    if alert.resolved_at is not None:
        told = alert.notified_at is not None and (rule is None or rule.tell_resolved)
        return Notice.RESOLVED if told else None
    if alert.quiet_at is not None or alert.cause.muted or rule is None:
        return None
    if alert.notified_at is None:
        return None if alert.acknowledged_at is not None else Notice.FIRING
    due = alert.acknowledged_at is None and at - alert.notified_at >= rule.repeat_s
    return Notice.REPEAT if due else None
