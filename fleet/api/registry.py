"""Models and workflows: upload and list. An upload's body is the file itself, streamed to disk under a limit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from fleet.api import views
from fleet.api.context import Operator, PlaneDep, Viewer, bounded_body
from fleet.errors import TooMuch
from fleet.registry import Upload
from fleet.tables import Version
from wire.names import NAME_PATTERN
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1")

UploadName = Annotated[str | None, Query(pattern=NAME_PATTERN)]
FLUSH_BYTES = 4 * 1024 * 1024


@router.post("/models", tags=["models"], status_code=201)
async def upload_model(
    request: Request, plane: PlaneDep, who: Operator, name: UploadName = None
) -> dict[str, Any]:
    """Upload a model package: a .tar, .tar.zst, .tar.gz or .zip of its directory. The runtime checks it first."""
    with plane.registry.scratch() as folder:
        packed = folder / "upload"
        await _receive(request, packed, plane.config.limits.upload_bytes)
        row = await plane.registry.add_model(packed, Upload(who.actor, name))
    return await _vouched(plane, row)


@router.get("/models", tags=["models"])
def models(plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    return {"models": [views.version(row) for row in plane.registry.versions("model")]}


@router.post("/workflows", tags=["workflows"], status_code=201)
async def upload_workflow(
    request: Request, plane: PlaneDep, who: Operator, name: UploadName = None
) -> dict[str, Any]:
    """Upload a workflow definition (JSON). The runtime checks it first."""
    content = await bounded_body(request, plane.config.limits.workflow_bytes)
    return await _vouched(plane, await plane.registry.add_workflow(content, Upload(who.actor, name)))


@router.get("/workflows", tags=["workflows"])
def workflows(plane: PlaneDep, who: Viewer) -> dict[str, Any]:
    return {"workflows": [views.version(row) for row in plane.registry.versions("workflow")]}


async def _vouched(plane: PlaneDep, row: Version) -> dict[str, Any]:
    """The version, and whether devices may have it already (`signed`) or it waits for an offline key."""
    await plane.refresh_trust()
    waiting = await asyncio.to_thread(plane.trust.repository.unsigned, [(row.kind, row.digest)])
    return {**views.version(row), "signed": not waiting}


async def _receive(request: Request, path: Path, limit_bytes: int) -> None:
    declared = request.headers.get("content-length", "0")
    too_much = TooMuch(Reason.TOO_LARGE, f"the upload is over {limit_bytes} bytes")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_much
    received, pending = 0, bytearray()
    with path.open("xb") as file:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit_bytes:
                raise too_much
            pending += chunk
            if len(pending) >= FLUSH_BYTES:
                await asyncio.to_thread(file.write, bytes(pending))
                pending.clear()
        await asyncio.to_thread(file.write, bytes(pending))
