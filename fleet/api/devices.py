"""Devices: list, labels, identity, secrets, desired states."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field

from fleet import etag, shapes
from fleet.api import paging, views
from fleet.api.body import Body, Line
from fleet.api.context import Anybody, DeviceName, DeviceOperator, DeviceViewer, PlaneDep, json_body
from fleet.api.route import Route
from fleet.errors import NotFound, Refused
from fleet.roster import Like
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1", route_class=Route)

IfMatch = Annotated[str | None, Header(description="The tag that was read; 412 where it is another one now")]


class NewLabels(Body):
    """All labels of the device; those that are not named go."""

    labels: dict[str, str] = Field(max_length=64)


class SealedSecret(Body):
    """A secret sealed to the device's `sealing_key` under its name (`wire.sealed`)."""

    sealed: str = Field(max_length=20_000)


@router.get("/devices", tags=["devices"])
def devices(
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
    name: Annotated[Line, Query(max_length=64, description="A part of the name, in any case")] = "",
    presence: Annotated[Literal["online", "offline", "silent", "never", "retired"] | None, Query()] = None,
) -> shapes.Page[shapes.DeviceView]:
    """Devices by name, those that the asker may see."""
    like = Like(name, presence or "")
    rows = plane.roster.page(who, selected, paging.decode(cursor, ""), limit + 1, like)
    return paging.page(rows, limit, views.device, lambda row: row.id)


@router.get("/selection", tags=["devices"])
def selection(plane: PlaneDep, who: Anybody, selected: paging.Selected) -> shapes.SelectionView:
    """How many devices a selector matches, of those that the asker may see."""
    found = plane.roster.selection(who, selected)
    return {"devices": found.devices, "online": found.online, "names": found.names}


@router.get("/devices/{device}", tags=["devices"])
def device(device: DeviceName, plane: PlaneDep, who: DeviceViewer) -> shapes.DeviceDetail:
    """One device with its presence, reported state and last health."""
    return views.device_detail(plane.devices.get(device))


@router.get("/devices/{device}/labels", tags=["devices"])
def labels(device: DeviceName, plane: PlaneDep, who: DeviceViewer, response: Response) -> shapes.LabelsView:
    """The labels of a device; the tag is for If-Match."""
    found = plane.roster.labels(device)
    response.headers["ETag"] = etag.etag_of(found)
    return {"labels": found}


@router.put("/devices/{device}/labels", tags=["devices"])
def set_labels(
    device: DeviceName,
    body: NewLabels,
    plane: PlaneDep,
    who: DeviceOperator,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.LabelsView:
    """Other labels instead. The device must stay within the rights of who does it."""
    changed = plane.roster.set_labels(who, device, body.labels, if_match)
    response.headers["ETag"] = etag.etag_of(changed)
    return {"labels": changed}


@router.post("/devices/{device}/revoke", tags=["devices"], status_code=204)
async def revoke(device: DeviceName, plane: PlaneDep, who: DeviceOperator) -> Response:
    """End a device's identity at once: certificates, tokens, broker. It may be enrolled again with a replacing token."""
    await asyncio.to_thread(plane.certificates.revoke, device, who.actor)
    await plane.broker.reload()
    return Response(status_code=204)


@router.get("/devices/{device}/secrets", tags=["desired state"])
def secrets(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.SecretView]:
    """The names of a device's secrets; nobody but the device can read them."""
    after = paging.decode(cursor, "")
    rows = [row for row in plane.secrets.all(device) if row.name > after]
    return paging.page(rows, limit, views.secret, lambda row: row.name)


@router.put("/devices/{device}/secrets/{name}", tags=["desired state"], status_code=204)
async def set_secret(
    device: DeviceName, name: DeviceName, body: SealedSecret, plane: PlaneDep, who: DeviceOperator
) -> Response:
    """Keep a sealed secret; the device gets it with a new revision at once."""
    await asyncio.to_thread(plane.secrets.set, device, name, body.sealed, who.actor)
    await plane.desired.take_secrets(device, who.actor)
    return Response(status_code=204)


@router.delete("/devices/{device}/secrets/{name}", tags=["desired state"], status_code=204)
async def remove_secret(
    device: DeviceName, name: DeviceName, plane: PlaneDep, who: DeviceOperator
) -> Response:
    """Forget a secret; the device gets a new revision without it at once."""
    await asyncio.to_thread(plane.secrets.remove, device, name, who.actor)
    await plane.desired.take_secrets(device, who.actor)
    return Response(status_code=204)


@router.get("/devices/{device}/desired", tags=["desired state"])
def get_desired(
    device: DeviceName, plane: PlaneDep, who: DeviceViewer, response: Response
) -> shapes.DesiredView:
    """The newest desired state; its revision is the tag for If-Match."""
    row = plane.desired.newest(device)
    if row is None:
        raise NotFound("desired state", device, "set one with PUT")
    response.headers["ETag"] = f'"{row.revision}"'
    return views.desired(row)


@router.get("/devices/{device}/desired/revisions", tags=["desired state"])
def revisions(
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceViewer,
    limit: paging.Limit = 20,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.DesiredView]:
    """Every desired state the device has had, newest first."""
    rows = plane.desired.revisions(device, paging.decode(cursor, 2**62 - 1), limit + 1)
    return paging.page(rows, limit, views.desired, lambda row: row.revision)


@router.put(
    "/devices/{device}/desired",
    tags=["desired state"],
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    },
)
async def set_desired(
    request: Request,
    device: DeviceName,
    plane: PlaneDep,
    who: DeviceOperator,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.DesiredSet:
    """Make a new revision of cameras, models, workflows, pipelines, schedules and settings; signed and published at once.

    Models and workflows are named by the registry (`name`, `name@version`, `name@alias`) or by digest, and become digests here. With
    If-Match the revision that was read must still be the newest.
    """
    body = await json_body(request, plane.config.limits.body_bytes)
    row, published = await plane.desired.set(device, body, who.actor, _revision(if_match))
    response.headers["ETag"] = f'"{row.revision}"'
    return {**views.desired(row), "published": published}


def _revision(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    text = if_match.strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise Refused(Reason.INVALID_FIELD, f'If-Match {if_match[:40]!r} is no revision; expected e.g. "3"')
    return int(text)
