"""Devices in service and out of it: retire, wipe, bundles of diagnostics."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from fleet import shapes
from fleet.api.body import Body
from fleet.api.context import (
    AskingDevice,
    DeviceName,
    DeviceOperator,
    DeviceViewer,
    PlaneDep,
    bounded_body,
)
from fleet.api.description import DEVICE, file_of
from fleet.api.route import Route
from fleet.errors import Refused, Transient
from fleet.plane import Plane
from wire.names import Name
from wire.reasons import Reason

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", route_class=Route)
uploads = APIRouter(prefix="/api/v1")
BUNDLE_BYTES = 32 * 1024 * 1024


class Wipe(Body):
    """`confirm` is the device's name once more."""

    confirm: Name
    timeout_s: float = Field(default=30.0, gt=0, le=300)


class AskForBundle(Body):
    """How long the device may take."""

    timeout_s: float = Field(default=120.0, gt=0, le=300)


@router.post("/devices/{device}/retire", tags=["devices"], status_code=204)
async def retire(device: DeviceName, plane: PlaneDep, who: DeviceOperator) -> Response:
    """Take a device out of service: its identity ends, its secrets go, its history stays, and its name may be enrolled again."""
    await _retire(plane, device, who.actor)
    return Response(status_code=204)


@router.post("/devices/{device}/wipe", tags=["devices"])
async def wipe(device: DeviceName, body: Wipe, plane: PlaneDep, who: DeviceOperator) -> shapes.CommandAnswer:
    """Have a device remove everything it keeps, credentials too; once it has agreed it is retired."""
    if body.confirm != device:
        raise Refused(
            Reason.INVALID_FIELD, f"confirm is {body.confirm!r}, the device {device!r}: nothing was done"
        )
    answer = await plane.commands.send(device, "wipe", {"confirm": device}, body.timeout_s, who.actor)
    if answer.ok:
        await _retire(plane, device, who.actor)
    return cast("shapes.CommandAnswer", answer.to_json())


async def _retire(plane: Plane, device: str, actor: str) -> None:
    await asyncio.to_thread(plane.upkeep.retire, device, actor)
    await plane.broker.reload()
    try:
        await plane.upkeep.clear_retained(device)
    except Transient as e:
        log.warning("the broker still retains what a retired device said", extra={"cause": str(e)})


@router.post("/devices/{device}/diagnostics", tags=["devices"])
async def ask_for_bundle(
    device: DeviceName, body: AskForBundle, plane: PlaneDep, who: DeviceOperator
) -> shapes.CommandAnswer:
    """Have a device send its log, state and figures, without secrets; `result.id` names the bundle."""
    bundle = await asyncio.to_thread(plane.upkeep.ask_for_bundle, device, who.actor)
    answer = await plane.commands.send(device, "diagnostics", {"id": bundle}, body.timeout_s, who.actor)
    return cast("shapes.CommandAnswer", answer.to_json())


@router.get(
    "/devices/{device}/diagnostics/{bundle}",
    tags=["devices"],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def bundle(device: DeviceName, bundle: Name, plane: PlaneDep, who: DeviceViewer) -> StreamingResponse:
    """A bundle as it came, `.tar.gz`."""
    row = await asyncio.to_thread(plane.upkeep.bundle, device, bundle)
    stream = plane.objects.stream(row.digest or "", 0, row.size_bytes)
    headers = {
        "Content-Length": str(row.size_bytes),
        "ETag": f'"{row.digest}"',
        "Content-Disposition": f'attachment; filename="{device}-{bundle}.tar.gz"',
    }
    return StreamingResponse(stream, media_type="application/gzip", headers=headers)


@uploads.put(
    "/device/diagnostics/{bundle}",
    tags=["device"],
    status_code=204,
    openapi_extra={**DEVICE, **file_of("application/octet-stream")},
)
async def take_bundle(request: Request, bundle: Name, plane: PlaneDep, device: AskingDevice) -> Response:
    """A bundle that this device was asked for."""
    await plane.upkeep.take_bundle(device, bundle, await bounded_body(request, BUNDLE_BYTES))
    return Response(status_code=204)
