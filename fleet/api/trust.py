"""Trust metadata for people: how it stands, what waits for signatures, other keys."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from fleet import shapes
from fleet.api.body import Body
from fleet.api.context import Admin, PlaneDep, Viewer, json_body
from fleet.api.description import json_object
from fleet.api.device import metadata_file
from fleet.api.route import Route, route_of
from fleet.tuf.rotation import Change

SIGNED_BYTES = 64 * 1024 * 1024

router = APIRouter(prefix="/api/v1/trust", tags=["trust"], route_class=Route)
papers = APIRouter(prefix="/api/v1/trust", tags=["trust"], route_class=route_of(SIGNED_BYTES))


class Rotate(Body):
    """Other keys for a role: `public` are keys made elsewhere (PEM); without any the control plane makes them itself."""

    role: str = Field(max_length=32)
    public: list[str] = Field(default_factory=list, max_length=16)
    threshold: int | None = Field(default=None, ge=1, le=16)
    keep: bool = False


class Revoke(Body):
    """The end of a key, named by the beginning of its id."""

    key: str = Field(pattern=r"^[0-9a-f]{6,64}$")


@router.get("")
def status(plane: PlaneDep, who: Viewer) -> shapes.TrustStatus:
    """Every role with version, end, keys and threshold; what waits; warnings."""
    return plane.trust.status()


@router.get("/metadata/{name}", response_model=None)
def metadata(name: str, plane: PlaneDep, who: Viewer) -> Response:
    """A file of trust metadata, as devices get it."""
    return metadata_file(plane, name)


@router.get("/pending")
def pending(plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    """What waits for signatures, to be carried to where the keys are. It holds no secret."""
    return plane.trust.pending()


@papers.post("/signed", openapi_extra=json_object())
async def signed(request: Request, plane: PlaneDep, who: Admin) -> shapes.TrustInForce:
    """Take over a document of `pending` that has been signed."""
    document = await json_body(request, SIGNED_BYTES)
    done, waiting = await asyncio.to_thread(plane.trust.take_signed, document, who.actor)
    await plane.sign_anew()
    return {"in_force": sorted(done), "waiting": sorted(waiting)}


@router.post("/rotate")
async def rotate(body: Rotate, plane: PlaneDep, who: Admin) -> shapes.TrustWaiting:
    """Give a role other keys. Where a key of who names them is offline, the change waits for it."""
    change = Change(body.role, tuple(body.public), body.threshold, body.keep)
    waiting = await asyncio.to_thread(plane.trust.rotate, change, who.actor)
    await plane.sign_anew()
    return {"waiting": sorted(waiting)}


@router.post("/revoke")
async def revoke(body: Revoke, plane: PlaneDep, who: Admin) -> shapes.TrustRevoked:
    """Take a key from every role it has."""
    losing, waiting = await asyncio.to_thread(plane.trust.revoke, body.key, who.actor)
    await plane.sign_anew()
    return {"roles": losing, "waiting": sorted(waiting)}
