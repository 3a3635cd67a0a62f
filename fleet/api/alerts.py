"""Alerts: who is told of what, by which rules, where, and when not."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from fleet import shapes
from fleet.alerts.desk import Wanted
from fleet.alerts.rules import Matcher, Rule
from fleet.alerts.targets import Target
from fleet.api import paging, views_alerts
from fleet.api.body import Body, Line
from fleet.api.context import Admin, Anybody, AnyOperator, PlaneDep, Viewer
from fleet.api.faults import NEWEST, Severity
from fleet.api.route import Route
from wire.names import NAME_PATTERN

router = APIRouter(prefix="/api/v1", route_class=Route, tags=["alerts"])
Id = Annotated[str, Path(pattern=NAME_PATTERN)]
State = Literal["firing", "resolved", "all"]
DeliveryState = Literal["waiting", "delivered", "failed"]


class Acknowledged(Body):
    """What the others should know."""

    note: Annotated[Line, Field(max_length=500)] = ""


class NewSilence(Body):
    """Until when (seconds since the epoch), which alerts, and why; `from_at` is now where it is not given."""

    matcher: Matcher
    until_at: float = Field(ge=0, le=1e12)
    from_at: float | None = Field(default=None, ge=0, le=1e12)
    reason: Annotated[Line, Field(min_length=1, max_length=500)]


@router.get("/alerts")
def alerts(
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    state: State = "firing",
    severity: Severity | None = None,
    device: Annotated[Line, Query(max_length=64)] = "",
    site: Annotated[Line, Query(max_length=128)] = "",
    rule: Annotated[Line, Query(max_length=64)] = "",
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.AlertView]:
    """Alerts, the newest first."""
    wanted = Wanted(state, severity or "", device, site, rule, selected)
    rows = plane.alerts.desk.page(who, wanted, paging.decode(cursor, NEWEST), limit + 1)
    return paging.page(rows, limit, views_alerts.alert, lambda row: (row.fired_at, row.id))


@router.get("/alerts/{alert}")
def alert(alert: Id, plane: PlaneDep, who: Anybody) -> shapes.AlertDetail:
    """One alert with what was told of it, to whom, and how that went."""
    return views_alerts.detail(*plane.alerts.desk.get(who, alert))


@router.post("/alerts/{alert}/acknowledge")
def acknowledge(alert: Id, body: Acknowledged, plane: PlaneDep, who: AnyOperator) -> shapes.AlertView:
    """Somebody cares for it: nobody is told of it again until it is over."""
    return views_alerts.alert(plane.alerts.desk.acknowledge(who, alert, body.note, True))


@router.delete("/alerts/{alert}/acknowledge")
def unacknowledge(alert: Id, plane: PlaneDep, who: AnyOperator) -> shapes.AlertView:
    """Nobody cares for it any more."""
    return views_alerts.alert(plane.alerts.desk.acknowledge(who, alert, "", False))


@router.get("/alert-rules")
def rules(plane: PlaneDep, who: Viewer) -> shapes.Page[shapes.RuleView]:
    """Every rule, in the order in which they are tried, the built-in ones too."""
    return {"items": [views_alerts.rule(each) for each in plane.alerts.settings.rules()], "next": None}


@router.put("/alert-rules/{name}")
def set_rule(name: Id, body: Rule, plane: PlaneDep, who: Admin) -> shapes.RuleView:
    """Write a rule; one with the name of a built-in one takes its place."""
    return views_alerts.rule(plane.alerts.settings.set_rule(name, body, who.actor))


@router.delete("/alert-rules/{name}", status_code=204)
def remove_rule(name: Id, plane: PlaneDep, who: Admin) -> Response:
    """Remove a rule that was written; a built-in one is then as it was."""
    plane.alerts.settings.remove_rule(name, who.actor)
    return Response(status_code=204)


@router.get("/alert-targets")
def targets(plane: PlaneDep, who: Viewer) -> shapes.Page[shapes.TargetView]:
    """Where alerts go, secrets hidden, and how it went lately."""
    return {"items": [views_alerts.target(each) for each in plane.alerts.settings.targets()], "next": None}


@router.get("/alert-secrets")
def secrets(plane: PlaneDep, who: Admin) -> shapes.Page[shapes.SecretName]:
    """The secrets that targets may name as `secret:NAME`: `[alerts.secrets]` of fleet.toml. Names alone."""
    return {"items": [{"name": name} for name in plane.alerts.settings.secrets()], "next": None}


@router.put("/alert-targets/{name}")
def set_target(name: Id, body: Target, plane: PlaneDep, who: Admin) -> shapes.TargetView:
    """Write a target: webhook, slack, email or mqtt. Secrets are named: `secret:NAME`, of `[alerts.secrets]` in fleet.toml."""
    return views_alerts.target(plane.alerts.settings.set_target(name, body, who.actor))


@router.delete("/alert-targets/{name}", status_code=204)
def remove_target(name: Id, plane: PlaneDep, who: Admin) -> Response:
    """Remove a target; what waits for it is given up."""
    plane.alerts.settings.remove_target(name, who.actor)
    return Response(status_code=204)


@router.post("/alert-targets/{name}/test")
async def test_target(name: Id, plane: PlaneDep, who: Admin) -> shapes.TargetTrial:
    """Send a message now, and say how it went."""
    trial = await plane.alerts.settings.test(name, who.actor)
    return {"ok": trial.ok, "error": trial.error, "took_s": round(trial.took_s, 3)}


@router.get("/alert-silences")
def silences(
    plane: PlaneDep,
    who: Anybody,
    over: Annotated[bool, Query(description="Those that are over, too")] = False,
) -> shapes.Page[shapes.SilenceView]:
    """Silences, the newest first."""
    at = plane.clock.wall()
    return {
        "items": [views_alerts.silence(row, at) for row in plane.alerts.desk.silences(over)],
        "next": None,
    }


@router.post("/alert-silences", status_code=201)
def silence(body: NewSilence, plane: PlaneDep, who: AnyOperator) -> shapes.SilenceView:
    """Tell nobody of some alerts for a time. A plain device or site needs an operator of it; anything wider, one of the whole fleet."""
    row = plane.alerts.desk.silence(who, body.matcher, body.from_at, body.until_at, body.reason)
    return views_alerts.silence(row, plane.clock.wall())


@router.delete("/alert-silences/{name}", status_code=204)
def end_silence(name: Id, plane: PlaneDep, who: AnyOperator) -> Response:
    """End a silence now."""
    plane.alerts.desk.end_silence(who, name)
    return Response(status_code=204)


@router.get("/alert-deliveries")
async def deliveries(
    plane: PlaneDep,
    who: Viewer,
    target: Annotated[Line, Query(max_length=64)] = "",
    state: DeliveryState | None = None,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.DeliveryView]:
    """Messages to targets, the newest first: waiting, delivered, failed and why."""
    before = paging.decode(cursor, NEWEST)
    rows = await asyncio.to_thread(plane.alerts.desk.deliveries, target, state or "", before, limit + 1)
    return paging.page(rows, limit, views_alerts.delivery, lambda row: (row.created_at, row.id))
