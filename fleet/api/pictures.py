"""Pictures: devices upload samples for re-training, people look at these and at those of events."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from fleet import shapes
from fleet.api import paging, parts, views
from fleet.api.context import Anybody, AskingDevice, DeviceName, DeviceOperator, DeviceViewer, PlaneDep
from fleet.api.description import DEVICE, file_of
from fleet.api.events import Meant
from fleet.api.route import Route
from fleet.events import coco
from wire.picture import MEDIA_TYPE

uploads = APIRouter(prefix="/api/v1", tags=["device"])
router = APIRouter(prefix="/api/v1", tags=["events"], route_class=Route)

SampleId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
PictureId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Source = Annotated[
    Literal["event", "sample"] | None, Query(description="`event`: came with one; `sample`: for re-training")
]
LATEST = (1e14, "~", "~")


@uploads.put(
    "/device/samples/{sample}",
    status_code=204,
    openapi_extra={**DEVICE, **file_of(MEDIA_TYPE), **parts.HEADER},
    responses=parts.INCOMPLETE,
)
async def upload_sample(
    request: Request, sample: SampleId, plane: PlaneDep, device: AskingDevice
) -> Response:
    """Keep a picture for re-training, whole or in parts; one that is there already stays as it is. The body is `wire.picture`'s."""
    key = f"sample-{sample}"
    content = await parts.upload(request, plane, device, key, plane.config.limits.picture_bytes)
    if content is None:
        if await asyncio.to_thread(plane.pictures.find, device, sample) is None:
            return parts.so_far(plane, device, key)
    else:
        await plane.pictures.keep_sample(device, sample, content)
    return Response(status_code=204)


@router.get("/pictures")
def pictures(
    plane: PlaneDep,
    meant: Meant,
    source: Source = None,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.PictureView]:
    """Pictures by the filter of events (its `kind`, `having` and `field` say nothing here), newest first."""
    rows, following = plane.pictures.page(meant(), source, paging.decode(cursor, LATEST), limit)
    names = plane.event_log.workflow_names(row.about.get("workflow", "") for row in rows)
    following_text = paging.encode(following) if following is not None else None
    return {"items": [views.picture(row, names) for row in rows], "next": following_text}


@uploads.get(
    "/pictures/export",
    tags=["events"],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-tar": {}}}},
)
async def data_set(
    plane: PlaneDep,
    meant: Meant,
    who: Anybody,
    source: Source = None,
    most: Annotated[int, Query(ge=1, le=coco.MOST_PICTURES, description="Pictures, the newest ones")] = 5000,
) -> StreamingResponse:
    """Pictures as a COCO data set: a tar of `images/` and `annotations.json`; who has taken it is recorded."""
    wanted = await asyncio.to_thread(meant)
    rows = await plane.pictures.rows(wanted, source, LATEST, most)
    await asyncio.to_thread(plane.pictures.record, rows, who.actor, "picture.export")
    workflows = [str(row.about.get("workflow", "")) for row in rows]
    names = await asyncio.to_thread(plane.event_log.workflow_names, workflows)
    content = coco.archive(
        [views.picture(row, names) for row in rows],
        lambda place: plane.pictures.content(rows[place]),
        plane.clock.wall(),
    )
    headers = {
        "Content-Disposition": 'attachment; filename="coco.tar"',
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(content, headers=headers, media_type="application/x-tar")


@router.get(
    "/devices/{device}/pictures/{picture}",
    response_class=StreamingResponse,
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def picture(
    device: DeviceName, picture: PictureId, plane: PlaneDep, who: DeviceViewer
) -> StreamingResponse:
    """A picture; who has looked at it is recorded. An event names its own as `data.picture.id`."""
    row = await asyncio.to_thread(plane.pictures.watch, device, picture, who.actor)
    headers = {"Content-Length": str(row.size_bytes), "Cache-Control": "private, no-store"}
    return StreamingResponse(
        plane.objects.stream(row.digest, 0, row.size_bytes), 200, headers, media_type=row.media_type
    )


@router.delete("/devices/{device}/pictures/{picture}", status_code=204)
async def remove_picture(
    device: DeviceName, picture: PictureId, plane: PlaneDep, who: DeviceOperator
) -> Response:
    """Remove a picture for good; who has done so is recorded."""
    await plane.pictures.remove(device, picture, who.actor)
    return Response(status_code=204)
