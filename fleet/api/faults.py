"""Health over time, faults, and the fleet at a glance."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from fleet import shapes
from fleet.api import paging, views_health
from fleet.api.body import Line
from fleet.api.context import Anybody, DeviceName, DeviceViewer, PlaneDep
from fleet.api.route import Route
from fleet.health.desk import Wanted
from fleet.health.series import Span
from wire.names import NAME_PATTERN

router = APIRouter(prefix="/api/v1", route_class=Route)
NEWEST = (1e14, "~")
DAY_S = 86_400.0
FaultId = Annotated[str, Path(pattern=NAME_PATTERN)]
Severity = Literal["critical", "warning", "info"]


@router.get("/devices/{device}/health", tags=["devices"])
def chart(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    start: Annotated[
        float | None, Query(alias="from", ge=0, le=1e12, description="Without, a day before `to`")
    ] = None,
    until: Annotated[float | None, Query(alias="to", ge=0, le=1e12, description="Without, now")] = None,
    step: Annotated[
        int, Query(ge=0, le=604_800, description="Seconds, whole minutes; 0 for some hundred points")
    ] = 0,
    figures: Annotated[Line, Query(max_length=400, description="Joined by commas; all of them without")] = "",
) -> shapes.ChartView:
    """Figures of a device, its cameras and its models over time, for charts; a longer step than asked for where finer ones are not kept
    any more."""
    at = plane.clock.wall()
    end = at if until is None else until
    span = Span(max(end - DAY_S, 0.0) if start is None else start, end, step)
    wanted = [name.strip() for name in figures.split(",") if name.strip()]
    return views_health.chart(device, plane.health.series.chart(device, span, at, wanted))


@router.get("/overview", tags=["control plane"])
def overview(plane: PlaneDep, who: Anybody) -> shapes.OverviewView:
    """The fleet at a glance: devices by presence and version, faults by severity, sites."""
    return views_health.overview(plane.health.faults.overview(who), plane.alerts.desk.counts(who))


@router.get("/fault-kinds", tags=["faults"])
def kinds(plane: PlaneDep, who: Anybody) -> shapes.Page[shapes.FaultKindView]:
    """Every kind of fault there is: severity, what it follows from, when it is told, what to do."""
    found = sorted(plane.health.kinds.values(), key=lambda kind: kind.code)
    return {"items": [views_health.kind(kind) for kind in found], "next": None}


@router.get("/faults", tags=["faults"])
def faults(
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    active: Annotated[bool, Query(description="Only those that are there now; false for all")] = True,
    roots: Annotated[
        bool, Query(description="Only those that are nobody's consequence; false for all")
    ] = True,
    severity: Annotated[Severity | None, Query(description="This bad or worse")] = None,
    code: Annotated[Line, Query(max_length=48)] = "",
    device: Annotated[Line, Query(max_length=64)] = "",
    site: Annotated[Line, Query(max_length=128)] = "",
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.FaultView]:
    """Faults, the newest first."""
    wanted = Wanted(active, roots, code, severity or "", device, site, selected)
    rows = plane.health.faults.page(who, wanted, paging.decode(cursor, NEWEST), limit + 1)
    return paging.page(rows, limit, views_health.fault, lambda told: (told.row.opened_at, told.row.id))


@router.get("/faults/{fault}", tags=["faults"])
def fault(fault: FaultId, plane: PlaneDep, who: Anybody) -> shapes.FaultDetail:
    """One fault with what stands beneath it."""
    return views_health.fault_detail(*plane.health.faults.get(who, fault))
