"""The audit log, read; its end, signed."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from fleet import shapes
from fleet.api import paging, views
from fleet.api.body import Line
from fleet.api.context import Admin, PlaneDep
from fleet.api.route import Route

router = APIRouter(prefix="/api/v1", tags=["audit"], route_class=Route)

LAST = 2**62 - 1
Text = Annotated[Line | None, Query(max_length=128)]


@router.get("/audit")
def audit(
    plane: PlaneDep,
    who: Admin,
    limit: paging.Limit = 100,
    cursor: paging.Cursor = None,
    actor: Text = None,
    action: Annotated[
        Line | None, Query(max_length=64, description="`*` at the end stands for the rest")
    ] = None,
    subject: Text = None,
    order: Annotated[Literal["newest", "oldest"], Query(description="What comes first")] = "oldest",
) -> shapes.Page[shapes.AuditView]:
    """Rows in their order. Without filters they are a chain that the reader can check (`fleet.chain`)."""
    newest = order == "newest"
    after = paging.decode(cursor, LAST if newest else 0)
    rows = plane.audit.page(after, limit + 1, actor, action, subject, newest)
    return paging.page(rows, limit, views.audit, lambda row: row.seq)


@router.get("/audit/head")
def head(plane: PlaneDep, who: Admin) -> shapes.AuditHeadView:
    """How many rows there are and the hash of the last, signed. Kept elsewhere, it shows a log that was written anew."""
    end, at = plane.audit.head(), plane.clock.wall()
    signed = plane.signer.audit_head({"fleet": plane.fleet, "count": end.count, "hash": end.hash, "at": at})
    return {"count": end.count, "hash": end.hash, "at": at, "signed": signed}
