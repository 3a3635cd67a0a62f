"""One model, workflow or release: its versions, notes, aliases, who uses it; two versions compared; the clean-up of the registry."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, JsonValue

from fleet import etag, shapes
from fleet.aliases import tag_of
from fleet.api import paging, views
from fleet.api.body import Body
from fleet.api.context import Admin, Anybody, DeviceName, Operator, PlaneDep
from fleet.api.devices import IfMatch
from fleet.api.route import Route
from fleet.errors import Refused
from fleet.garbage import Plan, Rules
from fleet.plane import Plane
from fleet.registry import INT32_MOST
from fleet.tables import Version
from fleet.workflow_diff import diff
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1/registry", tags=["registry"], route_class=Route)

Kind = Literal["model", "workflow", "release"]
Reference = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Number or alias")]
ReferenceQuery = Annotated[str, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class NewAlias(Body):
    """The version that the alias is to point to."""

    version: int = Field(ge=1, le=INT32_MOST)


class Notes(Body):
    """What people know of a version: words, and figures such as its mAP on their own pictures."""

    description: str = Field(default="", max_length=4000, pattern=r"^[^\x00]*$")
    metrics: dict[str, float] = Field(default_factory=dict, max_length=64)


class Collection(Body):
    """Without `plan` a dry run. The plan it names can then be carried out, as long as nothing has changed."""

    keep_newest: int = Field(default=2, ge=1, le=1000)
    older_than_days: float = Field(default=30.0, ge=0, le=36500)
    plan: str | None = Field(default=None, max_length=80)


@router.get("/{kind}/{name}/versions")
def versions(
    kind: Kind,
    name: DeviceName,
    plane: PlaneDep,
    who: Anybody,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.VersionView]:
    """Versions of one name, newest first."""
    rows = plane.registry.of_name(kind, name, paging.decode(cursor, INT32_MOST), limit + 1)
    aliases = plane.registry.aliases_of(kind)
    return paging.page(
        rows, limit, lambda row: views.version(row, aliases.get((row.name, row.version), ())), lambda row: row.version
    )  # fmt: skip


@router.get("/{kind}/{name}/versions/{reference}")
def version(
    kind: Kind, name: DeviceName, reference: Reference, plane: PlaneDep, who: Anybody, response: Response
) -> shapes.VersionView:
    """One version with its card, by number or alias; the tag is that of its notes."""
    row = plane.registry.get(kind, name, reference)
    response.headers["ETag"] = etag.etag_of(_seen(plane, row))
    return _seen(plane, row)


@router.get("/workflow/{name}/versions/{reference}/definition")
async def definition(name: DeviceName, reference: Reference, plane: PlaneDep, who: Anybody) -> dict[str, Any]:
    """The definition of a workflow's version, as it was uploaded."""
    return await _definition(plane, await asyncio.to_thread(plane.registry.get, "workflow", name, reference))


@router.put("/{kind}/{name}/versions/{reference}/notes")
def set_notes(
    kind: Kind,
    name: DeviceName,
    reference: Reference,
    body: Notes,
    plane: PlaneDep,
    who: Operator,
    if_match: IfMatch = None,
) -> shapes.VersionView:
    """Other notes instead. The version itself never changes."""
    row = plane.registry.get(kind, name, reference)
    etag.check(if_match, etag.etag_of(_seen(plane, row)))
    return _seen(plane, plane.registry.set_notes(kind, name, row.version, body.model_dump(), who.actor))


def _seen(plane: Plane, row: Version) -> shapes.VersionView:
    return views.version(row, plane.registry.aliases_of(row.kind).get((row.name, row.version), ()))


@router.get("/{kind}/{name}/versions/{reference}/devices")
def devices(
    kind: Kind,
    name: DeviceName,
    reference: Reference,
    plane: PlaneDep,
    who: Anybody,
    selected: paging.Selected,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.UseView]:
    """Which devices are told to run it, run it, or may go back to it."""
    row = plane.registry.get(kind, name, reference)
    visible = plane.roster.visible(who, selected)
    after = paging.decode(cursor, "")
    uses = [use for use in plane.registry.uses(row.digest) if use.device in visible and use.device > after]
    return paging.page(uses, limit, lambda use: views.use(use, row.digest), lambda use: use.device)


@router.get("/{kind}/{name}/aliases")
def aliases(
    kind: Kind,
    name: DeviceName,
    plane: PlaneDep,
    who: Anybody,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
) -> shapes.Page[shapes.AliasView]:
    """The aliases of a name, with what they point to."""
    after = paging.decode(cursor, "")
    rows = [pair for pair in plane.aliases.of(kind, name) if pair[0].alias > after]
    return paging.page(rows, limit, lambda pair: views.alias(*pair), lambda pair: pair[0].alias)


@router.put("/{kind}/{name}/aliases/{alias}")
def set_alias(
    kind: Kind,
    name: DeviceName,
    alias: DeviceName,
    body: NewAlias,
    plane: PlaneDep,
    who: Operator,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.AliasView:
    """Make an alias or move it. Desired states that were set with it keep what it pointed to then."""
    row, target = plane.aliases.set(kind, name, alias, body.version, who.actor, if_match)
    response.headers["ETag"] = tag_of(row)
    return views.alias(row, target)


@router.delete("/{kind}/{name}/aliases/{alias}", status_code=204)
def remove_alias(
    kind: Kind, name: DeviceName, alias: DeviceName, plane: PlaneDep, who: Operator, if_match: IfMatch = None
) -> Response:
    """The version stays; nothing names it so any more."""
    plane.aliases.remove(kind, name, alias, who.actor, if_match)
    return Response(status_code=204)


@router.get("/workflow/{name}/diff")
async def workflow_diff(
    name: DeviceName,
    plane: PlaneDep,
    who: Anybody,
    before: ReferenceQuery,
    after: ReferenceQuery,
) -> shapes.WorkflowDiff:
    """Steps, inputs and outputs that were added, removed or changed, with the fields."""
    rows = [await asyncio.to_thread(plane.registry.get, "workflow", name, ref) for ref in (before, after)]
    one, two = [await _definition(plane, row) for row in rows]
    names = (f"{name}@{rows[0].version}", f"{name}@{rows[1].version}")
    return diff(one, two, names)


async def _definition(plane: Plane, row: Version) -> dict[str, Any]:
    content = b"".join([chunk async for chunk in plane.objects.stream(row.digest, 0, row.size_bytes)])
    found: JsonValue = json.loads(content)
    if not isinstance(found, dict):
        raise Refused(Reason.WORKFLOW_INVALID, f"{row.name}@{row.version} is no JSON object")
    return found


@router.post("/collection", responses={412: {}})
async def collect(body: Collection, plane: PlaneDep, who: Admin) -> shapes.CollectionPlan:
    """What nothing needs; and, with the `plan` of a dry run, its removal."""
    rules = Rules(body.keep_newest, body.older_than_days)
    if body.plan is None:
        return _plan(await asyncio.to_thread(plane.garbage.plan, rules), done=False)
    plan = await asyncio.to_thread(plane.garbage.collect, rules, body.plan, who.actor)
    await plane.refresh_trust()
    return _plan(plan, done=True)


def _plan(plan: Plan, done: bool) -> shapes.CollectionPlan:
    return {
        "plan": plan.name,
        "done": done,
        "versions": [views.collectable(row) for row in plan.versions],
        "objects": len(plan.objects),
        "bytes": sum(plan.objects.values()),
    }
