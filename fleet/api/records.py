"""What devices said: events, history of health, answers to commands, benchmarks."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from pydantic import Field

from fleet import shapes
from fleet.api import paging, views
from fleet.api.body import Body, Line
from fleet.api.context import Anybody, DeviceName, DeviceOperator, DeviceViewer, PlaneDep
from fleet.api.route import Route

router = APIRouter(prefix="/api/v1", route_class=Route)

NEWEST = -1


class NewCommand(Body):
    """What the command needs, and how long its answer is waited for."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


@router.get("/devices/{device}/events", tags=["devices"])
def events(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the answer before")
    ] = None,
    limit: paging.Limit = 100,
    camera: Annotated[Line | None, Query(max_length=64)] = None,
) -> shapes.EventPage:
    """Events in the order of arrival after a cursor; without one, the newest. `next` is there also where nothing has come yet."""
    after = NEWEST if cursor is None else int(cursor)
    rows = plane.devices.events(device, after, limit, camera)
    following = rows[-1].row if rows else max(after, 0)
    names = plane.event_log.workflow_names(row.workflow for row in rows)
    return {"items": [views.event(row, names) for row in rows], "next": str(following)}


@router.get("/devices/{device}/health-history", tags=["devices"])
def health_history(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    since: Annotated[float, Query(ge=0, le=1e12)] = 0,
    limit: paging.Limit = 1000,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.HealthPoint]:
    """Figures of each health message since a time, oldest first."""
    after = paging.decode(cursor, (0.0, 0))
    rows = plane.devices.health_history(device, since, limit + 1, after)
    return paging.page(rows, limit, views.health, lambda row: (row.received_at, row.row))


@router.post("/devices/{device}/commands/{name}", tags=["devices"])
async def command(
    device: DeviceName, name: DeviceName, body: NewCommand, plane: PlaneDep, who: DeviceOperator
) -> shapes.CommandAnswer:
    """Send a command and wait for the device's answer; 504 where it does not come in time."""
    response = await plane.commands.send(device, name, body.arguments, body.timeout_s, who.actor)
    return cast("shapes.CommandAnswer", response.to_json())


@router.get("/benchmarks", tags=["models"])
def benchmarks(
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    device: Annotated[Line | None, Query(max_length=64)] = None,
    model: Annotated[Line | None, Query(max_length=128)] = None,
    limit: paging.Limit = 1000,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.BenchmarkView]:
    """What models cost on the machines of the fleet: the newest figures of each device, model and engine."""
    visible = plane.roster.visible(who, selected)
    after = paging.decode(cursor, 0)
    rows = [m for m in plane.benchmarks.newest(device, model) if m.row.device in visible][after:]
    return paging.page(rows, limit, views.benchmark, lambda _: after + limit)
