"""Events of the fleet: found by a filter, followed as they come, taken away as files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from fleet import shapes
from fleet.api import paging, views
from fleet.api.body import Line
from fleet.api.context import PlaneDep, recognised
from fleet.api.route import Route
from fleet.auth import Role
from fleet.events import export, live
from fleet.events.filter import Filter, Kind, Part, parse_fields
from fleet.plane import Plane
from fleet.tables import EventRow

router = APIRouter(prefix="/api/v1", tags=["events"], route_class=Route)
streams = APIRouter(prefix="/api/v1", tags=["events"])

LAST = 2**62
Wall = Annotated[float | None, Query(ge=0, le=1e12)]
Number = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the page before")]


def _meant(
    request: Request,
    plane: PlaneDep,
    selected: paging.Selected,
    device: Annotated[Line | None, Query(max_length=64)] = None,
    camera: Annotated[Line | None, Query(max_length=64)] = None,
    workflow: Annotated[
        Line | None,
        Query(max_length=140, description="`name` (every version), `name@3`, `name@alias` or a digest"),
    ] = None,
    kind: Annotated[
        Kind | None, Query(description="`result`: outputs of a workflow; `sink`: sent by a step")
    ] = None,
    since: Annotated[Wall, Query(description="Of the event's own time")] = None,
    until: Annotated[Wall, Query(description="Not included")] = None,
    having: Annotated[list[Part] | None, Query(max_length=2, description="Only those with these")] = None,
    field: Annotated[
        list[Annotated[str, Query(max_length=400)]] | None,
        Query(max_length=8, description="`PATH=VALUE` in the event's document, e.g. `outputs.count=3`"),
    ] = None,
) -> Callable[[], Filter]:
    """The filter as rights and labels are whenever it is asked for."""
    fields = parse_fields(field or [])
    workflows = plane.event_log.workflow_digests(workflow) if workflow else None

    def now() -> Filter:
        who = recognised(request, plane)
        who.require_somewhere(Role.VIEWER)
        return Filter(
            _devices(plane, who, device, selected),
            camera,
            workflows,
            kind,
            since,
            until,
            frozenset(having or ()),
            fields,
        )

    return now


Meant = Annotated[Callable[[], Filter], Depends(_meant)]


def _devices(plane: Plane, who: Any, device: str | None, selected: Any) -> frozenset[str] | None:
    """Those that are meant and may be seen; None is all."""
    if device is not None:
        plane.roster.require(who, device, Role.VIEWER)
        return frozenset({device}) & (
            frozenset({device}) if selected.everything else plane.roster.visible(who, selected)
        )
    if selected.everything and who.rights.everywhere is not None:
        return None
    return frozenset(plane.roster.visible(who, selected))


@router.get("/events")
def events(
    plane: PlaneDep,
    meant: Meant,
    order: Annotated[Literal["newest", "oldest"], Query(description="What comes first")] = "newest",
    cursor: Number = None,
    limit: paging.Limit = 100,
) -> shapes.EventList:
    """Events by a filter, in the order of arrival or against it. With `order=oldest` there is always a `next`: to ask again with."""
    wanted = meant()
    if order == "newest":
        found = plane.event_log.before(wanted, LAST if cursor is None else int(cursor), limit)
        following = None if found.end else str(found.reached)
    else:
        found = plane.event_log.after(wanted, int(cursor or 0), limit)
        following = str(found.reached)
    return {"items": [*_shown(plane)(found.rows)], "next": following}


@streams.get("/events/stream", response_class=StreamingResponse, include_in_schema=False)
async def stream(
    plane: PlaneDep,
    meant: Meant,
    cursor: Number = None,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,18}$")] = None,
) -> StreamingResponse:
    """Events as they come, as server-sent events; after a cursor, or `Last-Event-ID`, where one is given."""
    plane.streams.check()
    await asyncio.to_thread(meant)
    after = last_event_id or cursor
    row = int(after) if after is not None else await asyncio.to_thread(plane.event_log.newest_row)

    async def content() -> AsyncIterator[bytes]:
        with plane.streams.taking():
            async for part in live.follow(plane.event_log, meant, _shown(plane), row, plane.streams):
                yield part

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(content(), headers=headers, media_type=live.MEDIA_TYPE)


@streams.get(
    "/events/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}, "text/csv": {}}}},
)
async def take_away(
    plane: PlaneDep,
    meant: Meant,
    format: Literal["jsonl", "csv"] = "jsonl",
    column: Annotated[
        list[Annotated[str, Query(max_length=200)]] | None,
        Query(max_length=export.MOST_COLUMNS, description="For CSV: paths, e.g. `outputs.count`"),
    ] = None,
) -> StreamingResponse:
    """Every event of a filter, oldest first: an event a line, or CSV."""
    wanted = await asyncio.to_thread(meant)
    if format == "csv":
        content = export.table(plane.event_log, wanted, _shown(plane), column or ())
    else:
        content = export.json_lines(plane.event_log, wanted, _shown(plane))
    media_type = "text/csv; charset=utf-8" if format == "csv" else "application/x-ndjson"
    headers = {
        "Content-Disposition": f'attachment; filename="events.{format}"',
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(content, headers=headers, media_type=media_type)


def _shown(plane: Plane) -> live.Show:
    def show(rows: Sequence[EventRow]) -> list[shapes.EventView]:
        names = plane.event_log.workflow_names(row.workflow for row in rows)
        return [views.event(row, names) for row in rows]

    return show
