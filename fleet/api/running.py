"""What runs where, at a glance."""

from __future__ import annotations

from fastapi import APIRouter

from fleet import shapes
from fleet.api import paging, views
from fleet.api.context import Anybody, PlaneDep
from fleet.api.route import Route

router = APIRouter(prefix="/api/v1", route_class=Route)


@router.get("/running", tags=["control plane"])
def running(plane: PlaneDep, who: Anybody, selected: paging.Selected) -> shapes.Page[shapes.RunningView]:
    """Models and workflows that devices report to run, with how many do; some seconds old at most. What most run comes first."""
    found = plane.running.artifacts(who.rights, selected)
    return {"items": [views.running(each) for each in found[:1000]], "next": None}
