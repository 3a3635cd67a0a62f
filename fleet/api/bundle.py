"""Bundles for devices without a network, and the objects in them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from fleet.api.context import Operator, PlaneDep
from fleet.api.device import object_answer
from fleet.api.route import Route
from fleet.etag import etag_of
from wire.bundle import Bundle
from wire.names import NAME_PATTERN

router = APIRouter(prefix="/api/v1", tags=["bundles"], route_class=Route)

DeviceNames = Annotated[
    list[Annotated[str, Query(pattern=NAME_PATTERN)]], Query(min_length=1, max_length=1000)
]


@router.get("/bundle", response_model=Bundle)
def bundle(
    plane: PlaneDep,
    who: Operator,
    device: DeviceNames,
    revision: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> JSONResponse:
    """`bundle.json` for these devices: signed desired states, trust metadata, the list of objects (`wire.bundle`). Its tag is that
    of all but the time at which it was made."""
    made = plane.bundles.make(device, revision, plane.clock.wall()).to_json()
    tag = etag_of({name: value for name, value in made.items() if name != "made_at"})
    return JSONResponse(made, headers={"ETag": tag})


@router.get(
    "/objects/{digest}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {
            "description": "The part that was asked for",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        416: {"description": "There is no such part"},
    },
)
async def object_bytes(request: Request, digest: str, plane: PlaneDep, who: Operator) -> Response:
    """The bytes of an object; with Range, a part of it."""
    size = await asyncio.to_thread(plane.registry.size_of, digest)
    return object_answer(request, plane, digest, size)
