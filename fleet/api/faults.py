"""Health over time, faults, and the fleet at a glance."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from fleet import shapes
from fleet.api import paging, views_health
from fleet.api.body import Line
from fleet.api.context import Anybody, DeviceName, DeviceViewer, PlaneDep
from fleet.api.route import Route
from fleet.auth import Principal
from fleet.health.census import figures_of
from fleet.health.desk import Wanted
from fleet.health.series import Span
from fleet.plane import Plane
from fleet.selector import Selector
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


@router.get("/devices/{device}/drift", tags=["devices"])
def device_drift(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    days: Annotated[int, Query(ge=1, le=60, description="The last days (UTC), today with them")] = 2,
    reference_days: Annotated[int, Query(ge=1, le=365, description="The days before")] = 14,
) -> shapes.Page[shapes.DriftView]:
    """How far what the models of each camera see is from what they saw before: confidences, classes, brightness."""
    found = plane.health.drifts.drift(device, days, reference_days)
    items = [views_health.drift(device, camera, figures_of(drift)) for camera, drift in sorted(found.items())]
    return {"items": items, "next": None}


@router.get("/drift", tags=["models"])
def drift(
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.DriftView]:
    """Cameras by how far they have drifted, the farthest first; looked at every hour."""
    visible = _visible(plane, who, selected)
    rows = plane.health.drifts.worst(paging.decode(cursor, (1e14, "~", "~")), limit + 1, visible)
    return paging.page(
        rows,
        limit,
        lambda row: views_health.drift(row.device, row.camera, row.figures),
        lambda row: (row.worst, row.device, row.camera),
    )


@router.get("/models/{name}/compare", tags=["models"])
def compare(
    name: DeviceName,
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    days: Annotated[int, Query(ge=1, le=60, description="The last days (UTC), today with them")] = 2,
) -> shapes.Page[shapes.ModelVersionView]:
    """The versions of a model that ran lately, compared over the devices that ran them; the newest first."""
    rows = plane.health.drifts.versions(name, days, _visible(plane, who, selected))
    return {"items": [views_health.version(row) for row in rows], "next": None}


def _visible(plane: Plane, who: Principal, selected: Selector) -> set[str] | None:
    """The devices that may be seen and are asked for; None for all of them."""
    if who.rights.everywhere is not None and selected.everything:
        return None
    return plane.roster.visible(who, selected)


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
