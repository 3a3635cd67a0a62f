"""Bundles for devices without a network, and the objects in them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from fleet.api.context import Operator, PlaneDep
from fleet.api.device import object_answer
from wire.names import NAME_PATTERN

router = APIRouter(prefix="/api/v1", tags=["bundles"])

DeviceNames = Annotated[
    list[Annotated[str, Query(pattern=NAME_PATTERN)]], Query(min_length=1, max_length=1000)
]


@router.get("/bundle")
def bundle(
    plane: PlaneDep,
    who: Operator,
    device: DeviceNames,
    revision: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> dict[str, Any]:
    """`bundle.json` for these devices: signed desired states, trust metadata, the list of objects (`wire.bundle`)."""
    return plane.bundles.make(device, revision, plane.clock.wall()).to_json()


@router.get("/objects/{digest}", response_model=None)
async def object_bytes(request: Request, digest: str, plane: PlaneDep, who: Operator) -> Response:
    """The bytes of an object; with Range, a part of it."""
    size = await asyncio.to_thread(plane.registry.size_of, digest)
    return object_answer(request, plane, digest, size)
