"""What people ask: tokens, devices, desired states, events, commands, the health of the control plane."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleet.api import views
from fleet.api.context import Admin, Operator, PlaneDep, Viewer, json_body
from fleet.auth import Role
from fleet.errors import NotFound, Refused
from wire.names import NAME_PATTERN, Name
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1")

HOUR_S = 3600.0
DeviceName = Annotated[str, Path(pattern=NAME_PATTERN)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewEnrolmentToken(_Body):
    """`device` binds the token to a name; `replace` lets an enrolled device of that name be enrolled anew."""

    device: Name | None = None
    replace: bool = False
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    lifetime_hours: float | None = Field(default=None, gt=0, le=8760)


class NewApiToken(_Body):
    name: Name
    role: str = "viewer"
    lifetime_days: float | None = Field(default=None, gt=0, le=36500)


class SealedSecret(_Body):
    """A secret sealed to the device's `sealing_key` under its name (`wire.sealed`)."""

    sealed: str = Field(max_length=20_000)


class NewCommand(_Body):
    arguments: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


@router.post("/enrolment-tokens", tags=["tokens"], status_code=201)
def create_enrolment_token(body: NewEnrolmentToken, plane: PlaneDep, who: Operator) -> dict[str, Any]:
    """A one-time token for a device; it is shown in this answer only."""
    hours = body.lifetime_hours or plane.config.limits.enrolment_token_hours
    row, token = plane.devices.create_token(who.actor, hours * HOUR_S, body.device, body.replace, body.labels)
    return {**views.enrolment_token(row), "token": token}


@router.get("/enrolment-tokens", tags=["tokens"])
def enrolment_tokens(plane: PlaneDep, who: Operator) -> dict[str, Any]:
    return {"tokens": [views.enrolment_token(row) for row in plane.devices.tokens()]}


@router.post("/tokens", tags=["tokens"], status_code=201)
def create_token(body: NewApiToken, plane: PlaneDep, who: Admin) -> dict[str, Any]:
    """A bearer token for a person or program; it is shown in this answer only."""
    roles = {role.label: role for role in Role}
    if body.role not in roles:
        raise Refused(
            Reason.INVALID_FIELD, f"role {body.role!r} does not exist; expected one of {list(roles)}"
        )
    expires = plane.clock.wall() + body.lifetime_days * 24 * HOUR_S if body.lifetime_days else None
    token_id, token = plane.tokens.create(body.name, roles[body.role], who.actor, expires)
    return {"id": token_id, "name": body.name, "role": body.role, "expires_at": expires, "token": token}


@router.get("/tokens", tags=["tokens"])
def tokens(plane: PlaneDep, who: Admin) -> dict[str, Any]:
    return {"tokens": [views.api_token(row) for row in plane.tokens.all()]}


@router.delete("/tokens/{token_id}", tags=["tokens"], status_code=204)
def revoke_token(token_id: str, plane: PlaneDep, who: Admin) -> Response:
    plane.tokens.revoke(token_id, who.actor)
    return Response(status_code=204)


@router.get("/devices", tags=["devices"])
def devices(plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    return {"devices": [views.device(row) for row in plane.devices.all()]}


@router.get("/devices/{device}", tags=["devices"])
def device(device: DeviceName, plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    """One device with its presence, reported state and last health."""
    return views.device(plane.devices.get(device), full=True)


@router.post("/devices/{device}/revoke", tags=["devices"], status_code=204)
async def revoke(device: DeviceName, plane: PlaneDep, who: Operator) -> Response:
    """End a device's identity at once: certificates, tokens, broker. It may be enrolled again with a replacing token."""
    await asyncio.to_thread(plane.certificates.revoke, device, who.actor)
    await plane.broker.reload()
    return Response(status_code=204)


@router.get("/devices/{device}/secrets", tags=["desired state"])
def secrets(device: DeviceName, plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    """The names of a device's secrets; nobody but the device can read them."""
    rows = plane.secrets.all(device)
    return {"secrets": [{"name": r.name, "set_at": r.set_at, "set_by": r.set_by} for r in rows]}


@router.put("/devices/{device}/secrets/{name}", tags=["desired state"], status_code=204)
async def set_secret(
    device: DeviceName, name: DeviceName, body: SealedSecret, plane: PlaneDep, who: Operator
) -> Response:
    """Keep a sealed secret; the device gets it with a new revision at once."""
    await asyncio.to_thread(plane.secrets.set, device, name, body.sealed, who.actor)
    await plane.desired.take_secrets(device, who.actor)
    return Response(status_code=204)


@router.delete("/devices/{device}/secrets/{name}", tags=["desired state"], status_code=204)
async def remove_secret(device: DeviceName, name: DeviceName, plane: PlaneDep, who: Operator) -> Response:
    await asyncio.to_thread(plane.secrets.remove, device, name, who.actor)
    await plane.desired.take_secrets(device, who.actor)
    return Response(status_code=204)


@router.get("/devices/{device}/desired", tags=["desired state"])
def get_desired(device: DeviceName, plane: PlaneDep, who: Viewer, response: Response) -> dict[str, Any]:
    """The newest desired state."""
    row = plane.desired.newest(device)
    if row is None:
        raise NotFound("desired state", device, "set one with PUT")
    response.headers["ETag"] = f'"{row.revision}"'
    return views.desired(row)


@router.put("/devices/{device}/desired", tags=["desired state"])
async def set_desired(
    request: Request,
    device: DeviceName,
    plane: PlaneDep,
    who: Operator,
    if_match: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Make a new revision of cameras, models, workflows, pipelines, schedules and settings; signed and published at once.

    Models and workflows are named by the registry (`name`, `name@version`) or by digest. With If-Match the revision
    that was read must still be the newest.
    """
    body = await json_body(request, plane.config.limits.body_bytes)
    row, published = await plane.desired.set(device, body, who.actor, _revision(if_match))
    return {**views.desired(row), "published": published}


def _revision(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    text = if_match.strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise Refused(Reason.INVALID_FIELD, f'If-Match {if_match[:40]!r} is no revision; expected e.g. "3"')
    return int(text)


@router.get("/devices/{device}/events", tags=["devices"])
def events(
    device: DeviceName,
    plane: PlaneDep,
    who: Viewer,
    after: Annotated[int, Query(ge=-1, le=2**62)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    camera: str | None = None,
) -> dict[str, Any]:
    """Events in the order of arrival after a cursor; without one, the newest. `next` is the cursor to go on with."""
    rows = plane.devices.events(device, after, limit, camera)
    return {"events": [views.event(row) for row in rows], "next": rows[-1].row if rows else max(after, 0)}


@router.get("/devices/{device}/health-history", tags=["devices"])
def health_history(
    device: DeviceName,
    plane: PlaneDep,
    who: Viewer,
    since: Annotated[float, Query(ge=0, le=1e12)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> dict[str, Any]:
    rows = plane.devices.health_history(device, since, limit)
    return {"history": [views.health(row) for row in rows]}


@router.post("/devices/{device}/commands/{name}", tags=["devices"])
async def command(
    device: DeviceName,
    name: Annotated[str, Path(pattern=NAME_PATTERN)],
    body: NewCommand,
    plane: PlaneDep,
    who: Operator,
) -> dict[str, Any]:
    """Send a command and wait for the device's answer; 504 where it does not come in time."""
    response = await plane.commands.send(device, name, body.arguments, body.timeout_s, who.actor)
    return response.to_json()


@router.get("/benchmarks", tags=["models"])
def benchmarks(
    plane: PlaneDep, who: Viewer, device: str | None = None, model: str | None = None
) -> dict[str, Any]:
    """What models cost on the machines of the fleet: the newest figures of each device, model and engine."""
    return {"benchmarks": [views.benchmark(row) for row in plane.benchmarks.newest(device, model)]}


@router.get("/health", tags=["control plane"])
async def health(plane: PlaneDep) -> dict[str, Any]:
    """Whether the control plane works. Needs no token and tells no names."""
    counters = plane.ingest.counters
    count = await asyncio.to_thread(plane.devices.count)
    return {
        "ok": plane.link.connected.is_set(),
        "broker": {
            "kind": plane.broker.endpoint.kind,
            "connected": plane.link.connected.is_set(),
            "restarts": plane.broker.restarts,
        },
        "replica": {"name": plane.replica_name, "leads": plane.replica.leads},
        "devices": count,
        "ingest": {
            "received": counters.received,
            "events": counters.stored_events,
            "repeated": counters.repeated_events,
            "refused": dict(counters.refused),
            "write_retries": counters.write_retries,
        },
    }
