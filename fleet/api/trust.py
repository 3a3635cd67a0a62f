"""Trust metadata for people: how it stands, what waits for signatures, other keys."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleet.api.context import Admin, PlaneDep, Viewer, json_body
from fleet.api.device import metadata_file
from fleet.tuf.rotation import Change

router = APIRouter(prefix="/api/v1/trust", tags=["trust"])

SIGNED_BYTES = 64 * 1024 * 1024


class Rotate(BaseModel):
    """Other keys for a role: `public` are keys made elsewhere (PEM); without any the control plane makes them itself."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(max_length=32)
    public: list[str] = Field(default_factory=list, max_length=16)
    threshold: int | None = Field(default=None, ge=1, le=16)
    keep: bool = False


class Revoke(BaseModel):
    """The end of a key, named by the beginning of its id."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{6,64}$")


@router.get("")
def status(plane: PlaneDep, who: Viewer) -> dict[str, Any]:
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


@router.post("/signed")
async def signed(request: Request, plane: PlaneDep, who: Admin) -> dict[str, Any]:
    """Take over a document of `pending` that has been signed."""
    document = await json_body(request, SIGNED_BYTES)
    done, waiting = await asyncio.to_thread(plane.trust.take_signed, document, who.actor)
    await plane.sign_anew()
    return {"in_force": sorted(done), "waiting": sorted(waiting)}


@router.post("/rotate")
async def rotate(body: Rotate, plane: PlaneDep, who: Admin) -> dict[str, Any]:
    """Give a role other keys. Where a key of who names them is offline, the change waits for it."""
    change = Change(body.role, tuple(body.public), body.threshold, body.keep)
    waiting = await asyncio.to_thread(plane.trust.rotate, change, who.actor)
    await plane.sign_anew()
    return {"waiting": sorted(waiting)}


@router.post("/revoke")
async def revoke(body: Revoke, plane: PlaneDep, who: Admin) -> dict[str, Any]:
    """Take a key from every role it has."""
    losing, waiting = await asyncio.to_thread(plane.trust.revoke, body.key, who.actor)
    await plane.sign_anew()
    return {"roles": losing, "waiting": sorted(waiting)}
