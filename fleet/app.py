"""The web application over a running control plane."""

from __future__ import annotations

from fastapi import FastAPI

from fleet.api import device, operator, page, problems, registry, trust
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
    for part in (device, operator, registry, trust, page):
        app.include_router(part.router)
    return app
