"""Models, workflows and releases: upload and list. An upload's body is the file itself, streamed to disk under a limit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request

from fleet import shapes
from fleet.api import paging, views
from fleet.api.context import Anybody, Operator, PlaneDep, bounded_body
from fleet.api.description import file_of
from fleet.api.route import Route
from fleet.errors import TooMuch
from fleet.packing import Wishes
from fleet.plane import Plane
from fleet.registry import INT32_MOST, Upload
from fleet.tables import Version
from wire.names import NAME_PATTERN
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1", route_class=Route)
uploads = APIRouter(prefix="/api/v1")

UploadName = Annotated[str | None, Query(pattern=NAME_PATTERN)]
Wish = Annotated[str, Query(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
FLUSH_BYTES = 4 * 1024 * 1024


@uploads.post("/models", tags=["models"], status_code=201, openapi_extra=file_of("application/octet-stream"))
async def upload_model(
    request: Request,
    plane: PlaneDep,
    who: Operator,
    name: UploadName = None,
    family: Wish = "",
    task: Wish = "",
    labels: Annotated[str, Query(max_length=30_000)] = "",
) -> shapes.UploadedVersion:
    """Upload a model package: a .tar, .tar.zst, .tar.gz or .zip of its directory. The runtime checks it first.

    Or an ONNX file, with a `name`: it is packed here, its family recognised, or named by `family`; `labels` are coco80, coco91, or the names
    with commas. It has no golden picture then: `outrider model pack --golden` makes a package with one.
    """
    wishes = Wishes(family, task, labels)
    with plane.registry.scratch() as folder:
        packed = folder / "upload"
        await _receive(request, packed, plane.config.limits.upload_bytes)
        row = await plane.registry.add_package("model", packed, Upload(who.actor, name, wishes))
    return await _vouched(plane, row)


@router.get("/model-families", tags=["models"])
async def families(plane: PlaneDep, who: Anybody) -> shapes.Page[shapes.FamilyView]:
    """The families of models that the runtime knows, with the outputs that each expects of a graph."""
    found = await plane.registry.families()
    return {"items": [{"name": name, "expects": expects} for name, expects in found.items()], "next": None}


@router.get("/models", tags=["models"])
def models(
    plane: PlaneDep, who: Anybody, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.VersionView]:
    """Every version of every model, by name, newest first."""
    return _versions(plane, "model", limit, cursor)


@uploads.post(
    "/releases", tags=["releases"], status_code=201, openapi_extra=file_of("application/octet-stream")
)
async def upload_release(
    request: Request, plane: PlaneDep, who: Operator, name: UploadName = None
) -> shapes.UploadedVersion:
    """Upload a release of the agent: a .tar, .tar.zst, .tar.gz or .zip of its wheels and `release.json`. It is checked first."""
    with plane.registry.scratch() as folder:
        packed = folder / "upload"
        await _receive(request, packed, plane.config.limits.upload_bytes)
        row = await plane.registry.add_package("release", packed, Upload(who.actor, name))
    return await _vouched(plane, row)


@router.get("/releases", tags=["releases"])
def releases(
    plane: PlaneDep, who: Anybody, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.VersionView]:
    """Every version of every release of the agent, by name, newest first."""
    return _versions(plane, "release", limit, cursor)


@uploads.post("/workflows", tags=["workflows"], status_code=201, openapi_extra=file_of("application/json"))
async def upload_workflow(
    request: Request, plane: PlaneDep, who: Operator, name: UploadName = None
) -> shapes.UploadedVersion:
    """Upload a workflow definition (JSON). The runtime checks it first."""
    content = await bounded_body(request, plane.config.limits.workflow_bytes)
    return await _vouched(plane, await plane.registry.add_workflow(content, Upload(who.actor, name)))


@router.get("/workflows", tags=["workflows"])
def workflows(
    plane: PlaneDep, who: Anybody, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.VersionView]:
    """Every version of every workflow, by name, newest first."""
    return _versions(plane, "workflow", limit, cursor)


def _versions(plane: Plane, kind: str, limit: int, cursor: str | None) -> shapes.Page[shapes.VersionView]:
    rows = plane.registry.page(kind, paging.decode(cursor, ("", INT32_MOST)), limit + 1)
    aliases = plane.registry.aliases_of(kind)

    def view(row: Version) -> shapes.VersionView:
        return views.version(row, aliases.get((row.name, row.version), ()))

    return paging.page(rows, limit, view, lambda row: (row.name, row.version))


async def _vouched(plane: PlaneDep, row: Version) -> shapes.UploadedVersion:
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
