"""Devices without MQTT: their messages up, desired states and commands down, over HTTPS."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from fleet import accounts
from fleet.api.context import AskingDevice, PlaneDep, json_body
from fleet.api.description import DEVICE, body_of
from fleet.plane import Plane
from wire import exchange
from wire.doc import read
from wire.envelope import MAX_BYTES

router = APIRouter(prefix="/api/v1/device", tags=["device"])

LOOK_S = 1.0
WAIT_MOST_S = 30.0
BODY_BYTES = 4 * 1024 * 1024


@router.post(
    "/messages",
    response_model=exchange.Accepted,
    openapi_extra={**DEVICE, **body_of(exchange.Outbox)},
)
async def messages(request: Request, plane: PlaneDep, device: AskingDevice) -> dict[str, Any]:
    """Hand a device's messages to the broker, under the broker's own rules. The body is `wire.exchange.Outbox`.

    The answer comes once the broker has all of them; where it is away the device keeps its messages (503).
    """
    body = read(exchange.Outbox, await json_body(request, BODY_BYTES))
    accepted = []
    for message in body.messages:
        payload = message.payload.encode()
        may = len(payload) <= MAX_BYTES and _may_say(plane, device, message.topic)
        if may:
            await plane.link.publish(message.topic, payload, retain=message.retain)
        accepted.append(may)
    return exchange.Accepted(accepted=tuple(accepted)).to_json()


@router.get("/inbox", response_model=exchange.Inbox, openapi_extra=DEVICE)
async def inbox(
    plane: PlaneDep,
    device: AskingDevice,
    revision: Annotated[int, Query(ge=0, le=2**62)] = 0,
    after: Annotated[float, Query(ge=0, le=1e12)] = 0.0,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_MOST_S)] = 0.0,
) -> dict[str, Any]:
    """What a device would hear from the broker: a desired state above `revision`, commands issued after `after`. Waits for something
    to come, at most `wait_s`."""
    until_mono = plane.clock.mono() + wait_s
    while True:
        found = await asyncio.to_thread(_look, plane, device, revision, after)
        left_s = until_mono - plane.clock.mono()
        if found.desired is not None or found.commands or left_s <= 0:
            return found.to_json()
        await asyncio.sleep(min(LOOK_S, left_s))


def _may_say(plane: Plane, device: str, topic: str) -> bool:
    if any(character in "+#\0" for character in topic):  # a pattern, which nobody can publish to
        return False
    return accounts.allowed(plane.fleet, device, topic, accounts.Action.WRITE)


def _look(plane: Plane, device: str, revision: int, after: float) -> exchange.Inbox:
    row = plane.desired.newest(device)
    commands = tuple(
        exchange.Asked(name=row.name, issued_at=row.issued_at, envelope=row.envelope or "")
        for row in plane.commands.waiting(device, after)
    )
    signed = row.signed if row is not None and row.revision > revision else None
    return exchange.Inbox(desired=signed, commands=commands)
