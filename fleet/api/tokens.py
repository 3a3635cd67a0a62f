"""Enrolment tokens of devices, API tokens of people and programs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from fleet import shapes
from fleet.access.users import grant_of
from fleet.api import paging, views
from fleet.api.body import Body, Line
from fleet.api.context import Anybody, AnyOperator, PlaneDep
from fleet.api.route import Route
from fleet.auth import Principal, Role
from fleet.enrolment import MOST_USES, Wanted
from fleet.errors import NotAllowed
from fleet.plane import Plane
from wire.names import Name
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1", tags=["tokens"], route_class=Route)

HOUR_S = 3600.0
FIRST = (0.0, "")
TokenId = Annotated[str, Path(max_length=36)]


class NewEnrolmentToken(Body):
    """`device` binds the token to a name; `replace` lets an enrolled device of that name be enrolled anew."""

    device: Name | None = None
    replace: bool = False
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    lifetime_hours: float | None = Field(default=None, gt=0, le=8760)
    uses: int = Field(default=1, ge=1, le=MOST_USES)


class NewApiToken(Body):
    """`role` on the devices of `selector`; the empty selector is the whole fleet and what belongs to no device."""

    name: Name
    role: Literal["viewer", "operator", "approver", "admin"] = "viewer"
    selector: Line = Field(default="", max_length=2000)
    lifetime_days: float | None = Field(default=None, gt=0, le=36500)


@router.post("/enrolment-tokens", status_code=201)
def create_enrolment_token(
    body: NewEnrolmentToken, plane: PlaneDep, who: AnyOperator
) -> shapes.NewEnrolmentTokenView:
    """A token for one device or several; its text is in this answer only. The labels must lie within the rights of who makes it."""
    who.require_on(body.labels, Role.OPERATOR, f"devices with the labels {body.labels}")
    if body.replace and body.device is not None:
        _require_replaceable(plane, who, body.device)
    hours = body.lifetime_hours or plane.config.limits.enrolment_token_hours
    wanted = Wanted(hours * HOUR_S, body.device, body.replace, body.labels, body.uses)
    row, token = plane.devices.enrolment_tokens.create(wanted, who.actor)
    return {**views.enrolment_token(row), "token": token}


def _require_replaceable(plane: Plane, who: Principal, device: str) -> None:
    """A name that is not enrolled yet may be reserved; one that is must be the asker's to replace."""
    if who.rights.everywhere is None or who.rights.everywhere < Role.OPERATOR:
        plane.roster.require(who, device, Role.OPERATOR)


@router.get("/enrolment-tokens")
def enrolment_tokens(
    plane: PlaneDep, who: AnyOperator, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.EnrolmentTokenView]:
    """Tokens in the order they were made, without their text."""
    rows = plane.devices.enrolment_tokens.page(paging.decode(cursor, FIRST), limit + 1)
    shown = paging.page(rows, limit, views.enrolment_token, lambda row: (row.created_at, row.id))
    visible = [item for item in shown["items"] if who.rights.on(item["labels"]) is not None]
    return {"items": visible, "next": shown["next"]}


@router.delete("/enrolment-tokens/{token_id}", status_code=204)
def revoke_enrolment_token(token_id: TokenId, plane: PlaneDep, who: AnyOperator) -> Response:
    """No device is enrolled with it from now on; those that are stay."""
    row = plane.devices.enrolment_tokens.get(token_id)
    who.require_on(row.labels, Role.OPERATOR, f"devices with the labels {row.labels}")
    plane.devices.enrolment_tokens.revoke(token_id, who.actor)
    return Response(status_code=204)


@router.post("/tokens", status_code=201)
def create_token(body: NewApiToken, plane: PlaneDep, who: Anybody) -> shapes.NewApiTokenView:
    """A bearer token; its text is in this answer only. Nobody passes on more than it has, and a user's tokens end with the user."""
    grant = grant_of(body.role, body.selector)
    if not who.rights.covers(grant):
        raise NotAllowed(Reason.NOT_ALLOWED, f"{who.actor} may not pass on: {grant}")
    expires = plane.clock.wall() + body.lifetime_days * 24 * HOUR_S if body.lifetime_days else None
    owner = who.name if who.kind == "user" else who.owner
    row, token = plane.tokens.create(body.name, grant, who.actor, expires, owner)
    return {**views.api_token(row), "token": token}


@router.get("/tokens")
def tokens(
    plane: PlaneDep, who: Anybody, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.ApiTokenView]:
    """Tokens in the order they were made, without their text: an admin's all, another's own."""
    rows = plane.tokens.page(paging.decode(cursor, FIRST), limit + 1, _own(who))
    return paging.page(rows, limit, views.api_token, lambda row: (row.created_at, row.id))


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(token_id: TokenId, plane: PlaneDep, who: Anybody) -> Response:
    """End a token at once: an admin any, another its own."""
    plane.tokens.revoke(token_id, who.actor, _own(who))
    return Response(status_code=204)


def _own(who: Principal) -> str | None:
    """Whose tokens somebody may see; None is everybody's."""
    if who.rights.everywhere == Role.ADMIN:
        return None
    owner = who.name if who.kind == "user" else who.owner
    if owner is None:
        who.require(Role.ADMIN)
    return owner
