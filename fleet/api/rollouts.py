"""Rollouts: created, watched, and told what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from fleet import shapes
from fleet.api import paging, views
from fleet.api.body import Body
from fleet.api.context import Anybody, AnyOperator, PlaneDep, json_body
from fleet.api.description import body_of
from fleet.api.route import Route
from fleet.rollout.plan import Plan
from wire.names import NAME_PATTERN

router = APIRouter(prefix="/api/v1", route_class=Route)
RolloutName = Annotated[str, Path(pattern=NAME_PATTERN)]
NEWEST = (1e14, "~")


class Retried(Body):
    """Which devices; none for all that have failed."""

    devices: list[str] = Field(default_factory=list, max_length=100_000)


@router.post("/rollouts", tags=["rollouts"], status_code=201, openapi_extra=body_of(Plan))
async def create(request: Request, plane: PlaneDep, who: AnyOperator) -> shapes.RolloutDetail:
    """Begin a rollout: a change (a merge patch of the desired state) goes to the selector's devices in waves, each judged by its gates."""
    body = await json_body(request, plane.config.limits.body_bytes)
    return views.rollout(await asyncio.to_thread(plane.rollouts.create, body, who))


@router.post("/rollouts/preview", tags=["rollouts"], openapi_extra=body_of(Plan))
async def preview(request: Request, plane: PlaneDep, who: AnyOperator) -> shapes.RolloutPreview:
    """What a rollout would reach, wave by wave, and every problem that would refuse it. Nothing is kept."""
    body = await json_body(request, plane.config.limits.body_bytes)
    return views.rollout_preview(await asyncio.to_thread(plane.rollouts.preview, body, who))


@router.get("/rollouts", tags=["rollouts"])
def rollouts(
    plane: PlaneDep, who: Anybody, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.RolloutView]:
    """Every rollout, the newest first, with devices by status."""
    rows = plane.rollouts.page(paging.decode(cursor, NEWEST), limit + 1)
    return paging.page(
        rows, limit, lambda row: views.rollout_row(*row), lambda row: (row[0].since, row[0].name)
    )


@router.get("/rollouts/{rollout}", tags=["rollouts"])
def show(rollout: RolloutName, plane: PlaneDep, who: Anybody) -> shapes.RolloutDetail:
    """A rollout with its plan."""
    return views.rollout(plane.rollouts.get(rollout))


@router.get("/rollouts/{rollout}/devices", tags=["rollouts"])
def members(
    rollout: RolloutName,
    plane: PlaneDep,
    who: Anybody,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.RolloutMemberView]:
    """Its devices that may be seen, each with how far it has come and why."""
    rows = plane.rollouts.members(rollout, paging.decode(cursor, ""), limit + 1, plane.roster.visible(who))
    return paging.page(rows, limit, views.rollout_member, lambda row: row.device)


@router.get("/rollouts/{rollout}/gates", tags=["rollouts"])
def gates(rollout: RolloutName, plane: PlaneDep, who: Anybody) -> shapes.Page[shapes.RolloutGateView]:
    """The gates of the wave at work, each with its figure, its limit and whether it holds; figures of up to 200 devices of each side."""
    return {"items": [views.rollout_gate(line) for line in plane.rollouts.gates(rollout)], "next": None}


@router.get("/rollouts/{rollout}/history", tags=["rollouts"])
def history(
    rollout: RolloutName, plane: PlaneDep, who: Anybody, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> shapes.Page[shapes.RolloutNoteView]:
    """What happened and why, the newest lines, the oldest of them first."""
    return {"items": [views.rollout_note(row) for row in plane.rollouts.notes(rollout, limit)], "next": None}


@router.post("/rollouts/{rollout}/retry", tags=["rollouts"])
def retry(rollout: RolloutName, wanted: Retried, plane: PlaneDep, who: AnyOperator) -> shapes.RolloutDetail:
    """Tell devices that have failed once more."""
    return views.rollout(plane.rollouts.retry(rollout, wanted.devices, who))


@router.post("/rollouts/{rollout}/{verb}", tags=["rollouts"])
def order(
    rollout: RolloutName,
    verb: Literal["pause", "resume", "approve", "abort", "roll-back"],
    plane: PlaneDep,
    who: AnyOperator,
) -> shapes.RolloutDetail:
    """Pause, resume, approve (an approver), abort (what has been taken stays), or roll back (everybody goes back)."""
    return views.rollout(plane.rollouts.order(rollout, verb, who))


@router.delete("/rollouts/{rollout}", tags=["rollouts"], status_code=204)
def remove(rollout: RolloutName, plane: PlaneDep, who: AnyOperator) -> Response:
    """Forget a rollout that has ended."""
    plane.rollouts.remove(rollout, who)
    return Response(status_code=204)
