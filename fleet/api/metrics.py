"""`/metrics`, for Prometheus: by an API token, or from this machine alone, as the configuration has it."""

from __future__ import annotations

import asyncio
import ipaddress

from fastapi import APIRouter, Request, Response

from fleet.api.context import PlaneDep, asking
from fleet.auth import Role
from fleet.errors import NotAllowed, NotFound
from fleet.metrics.page import CONTENT_TYPE
from wire.reasons import Reason

router = APIRouter(tags=["control plane"])


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, plane: PlaneDep) -> Response:
    """Figures of the fleet and of this process. They are of the whole fleet, so that a viewer of a part gets none."""
    access = plane.config.metrics.access
    if access == "off":
        raise NotFound("page", "metrics", "metrics.access is off in fleet.toml")
    if access == "token" or not (access == "open" or _local(request)):
        who = await asyncio.to_thread(asking, request, plane)
        who.require(Role.VIEWER)
    page = await request.app.state.metrics.text()
    return Response(page, headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE)


def _local(request: Request) -> bool:
    """Whether it comes from this machine and through no proxy.

    :raises NotAllowed: a proxy has passed it on, and whence nobody can tell
    """
    host = request.client.host if request.client else ""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        raise NotAllowed(Reason.NOT_ALLOWED, "metrics behind a proxy need metrics.access token")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
