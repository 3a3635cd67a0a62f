"""Clips: devices upload films, people watch them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from fleet import shapes
from fleet.api import paging, parts, views
from fleet.api.context import AskingDevice, DeviceName, DeviceViewer, PlaneDep
from fleet.api.description import DEVICE, file_of
from fleet.api.route import Route
from fleet.clips import About
from wire.names import NAME_PATTERN

uploads = APIRouter(prefix="/api/v1", tags=["device"])
router = APIRouter(prefix="/api/v1", tags=["devices"], route_class=Route)

ClipId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Wall = Annotated[float, Query(ge=0, le=1e12)]
Pixels = Annotated[int, Query(ge=1, le=16384)]
LATEST = (1e14, "g")


@uploads.put(
    "/device/clips/{clip_id}",
    status_code=204,
    openapi_extra={**DEVICE, **file_of("video/webm"), **parts.HEADER},
    responses=parts.INCOMPLETE,
)
async def upload_clip(
    request: Request,
    clip_id: ClipId,
    plane: PlaneDep,
    device: AskingDevice,
    camera: Annotated[str, Query(pattern=NAME_PATTERN)],
    from_wall: Wall,
    to_wall: Wall,
    frames: Annotated[int, Query(ge=1, le=1_000_000)],
    width: Pixels,
    height: Pixels,
) -> Response:
    """Keep a film, whole or in parts; one that is there already stays as it is."""
    key = f"clip-{clip_id}"
    content = await parts.upload(request, plane, device, key, plane.config.limits.clip_bytes)
    if content is None:
        if await asyncio.to_thread(plane.clips.find, device, clip_id) is None:
            return parts.so_far(plane, device, key)
        return Response(status_code=204)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    about = About(camera, media_type, from_wall, to_wall, frames, width, height)
    await plane.clips.keep(device, clip_id, about, content)
    return Response(status_code=204)


@router.get("/devices/{device}/clips")
def clips(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.ClipView]:
    """Films of a device, newest first. An event names its own as `data.clip`."""
    rows = plane.clips.newest(device, limit + 1, paging.decode(cursor, LATEST))
    return paging.page(rows, limit, views.clip, lambda row: (row.received_at, row.id))


@router.get(
    "/devices/{device}/clips/{clip_id}",
    response_class=StreamingResponse,
    responses={200: {"content": {"video/webm": {}}}},
)
async def clip(device: DeviceName, clip_id: ClipId, plane: PlaneDep, who: DeviceViewer) -> StreamingResponse:
    """A film; who has watched it is recorded."""
    row = await asyncio.to_thread(plane.clips.watch, device, clip_id, who.actor)
    headers = {
        "Content-Length": str(row.size_bytes),
        "Cache-Control": "private, no-store",
        "ETag": f'"{row.digest}"',
    }
    return StreamingResponse(
        plane.objects.stream(row.digest, 0, row.size_bytes), 200, headers, media_type=row.media_type
    )
