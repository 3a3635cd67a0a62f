"""What the API says of alerts."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class AlertView(TypedDict):
    """An alert. `state` is firing or resolved; `silenced` whether a silence covers it now; `fault` the fault it is about, empty for a
    figure; `notices` how often somebody was told."""

    id: str
    rule: str
    state: str
    severity: str
    code: str
    subject: str
    site: str
    device: str
    part: str
    summary: str
    text: str
    remedy: str
    fault: str
    since: float
    fired_at: float
    resolved_at: float | None
    acknowledged_at: float | None
    acknowledged_by: str
    note: str
    silenced: bool
    notified_at: float | None
    notices: int


class DeliveryView(TypedDict):
    """A message to a target. `state` is waiting, delivered or failed."""

    id: str
    alert: str
    target: str
    kind: str
    state: str
    created_at: float
    attempts: int
    next_at: float | None
    delivered_at: float | None
    error: str


class AlertDetail(AlertView):
    """An alert with what was told of it."""

    deliveries: list[DeliveryView]


class RuleView(TypedDict):
    """A rule; `built_in` where nobody has written it."""

    name: str
    built_in: bool
    rule: dict[str, Any]
    set_at: float | None
    set_by: str


class TargetView(TypedDict):
    """A target, secrets hidden; how many messages wait for it, why the newest one failed, when one was taken last."""

    name: str
    target: dict[str, Any]
    set_at: float
    set_by: str
    waiting: int
    last_error: str
    delivered_at: float | None


class SecretName(TypedDict):
    """A secret that targets may name."""

    name: str


class TargetTrial(TypedDict):
    """How a test of a target went."""

    ok: bool
    error: str
    took_s: float


class SilenceView(TypedDict):
    """Alerts that nobody is told of for a time, and why."""

    id: str
    matcher: dict[str, str]
    reason: str
    from_at: float
    until_at: float
    created_at: float
    created_by: str
    active: bool
