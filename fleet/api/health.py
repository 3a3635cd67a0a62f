"""Whether the control plane works."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from fleet import shapes
from fleet.api.context import PlaneDep
from fleet.api.description import PUBLIC
from fleet.lags import BOUNDS_S

router = APIRouter(prefix="/api/v1", tags=["control plane"])


@router.get("/health", openapi_extra=PUBLIC)
async def health(plane: PlaneDep) -> shapes.PlaneHealth:
    """Whether the control plane works. Needs no token and tells no names."""
    counters, effort, keeper = plane.ingest.counters, plane.runner.effort, plane.keeping.figures
    count = await asyncio.to_thread(plane.devices.count)
    return {
        "ok": plane.link.connected.is_set(),
        "broker": {
            "kind": plane.broker.endpoint.kind,
            "connected": plane.link.connected.is_set(),
            "restarts": plane.broker.restarts,
        },
        "replica": {"name": plane.replica_name, "leads": plane.replica.leads},
        "keeper": {
            "process": keeper.process,
            "restarts": keeper.restarts,
            "behind_s": keeper.behind_s,
        },
        "devices": count,
        "rollouts": {
            "decisions": effort.decisions,
            "decision_mean_s": effort.mean_s,
            "decision_most_s": effort.most_s,
        },
        "ingest": {
            "received": counters.received,
            "events": counters.stored_events,
            "repeated": counters.repeated_events,
            "refused": dict(counters.refused),
            "write_retries": counters.write_retries,
            "lags": {"bounds_s": list(BOUNDS_S), "counts": list(counters.lags.counts)},
        },
    }
