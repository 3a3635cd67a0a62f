"""The web application over a running control plane."""

from __future__ import annotations

from fastapi import FastAPI

from fleet.api import (
    alerts,
    audit,
    bundle,
    catalogue,
    clips,
    description,
    device,
    devices,
    events,
    exchange,
    faults,
    health,
    metrics,
    people,
    pictures,
    problems,
    records,
    registry,
    rollouts,
    running,
    tokens,
    trust,
    upkeep,
    workflows,
)
from fleet.api.requests import RequestIds
from fleet.metrics.page import MetricsPage
from fleet.metrics.requests import Requests, Timed
from fleet.plane import Plane


def make_app(plane: Plane) -> FastAPI:
    """The application. Its documentation pages load scripts from elsewhere, so only the OpenAPI document is served."""
    app = FastAPI(
        title="Outrider control plane",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.plane = plane
    problems.install(app)
    for part in (
        device,
        exchange,
        tokens,
        devices,
        records,
        events,
        pictures,
        clips,
        registry,
        catalogue,
        rollouts,
        faults,
        running,
        alerts,
        trust,
        bundle,
        upkeep,
        people,
        audit,
        health,
    ):
        app.include_router(part.router)
    for router in (
        registry.uploads,
        workflows.uploads,
        clips.uploads,
        pictures.uploads,
        trust.papers,
        events.streams,
        upkeep.uploads,
        people.door,
    ):
        app.include_router(router)
    app.add_middleware(RequestIds, ids=plane.ids)
    app.include_router(metrics.router)
    requests = Requests()
    app.state.metrics = MetricsPage(plane, requests, plane.config.metrics.label)
    app.add_middleware(Timed, requests=requests)
    description.install(app)
    return app
