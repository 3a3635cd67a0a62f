"""The console put on the application of a running control plane. Once a process: NiceGUI is one application a process."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from nicegui import core, ui
from starlette.routing import Match, Mount
from starlette.types import Scope

from fleet.console import assets, frame, pages, register, signin
from fleet.console.calls import Calls
from fleet.console.gate import Gate
from fleet.plane import Plane

RECONNECT_S = 15.0
"""A page whose connection is cut goes on where it was within this time."""


def install(app: FastAPI, plane: Plane) -> AbstractAsyncContextManager[Any]:
    """Add the console's routes; the pages live while the context is entered."""
    for found in pkgutil.walk_packages(pages.__path__, f"{pages.__name__}."):
        importlib.import_module(found.name)
    core.app.state.calls = Calls(app, plane)
    app.include_router(signin.router)
    app.mount(assets.PATH, assets.files())
    frame.prepare()
    ui.run_with(
        app,
        root=register.not_found,
        title="Outrider",
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    app.router.routes[-1] = _Pages(app=Gate(core.app, plane))
    return app.router.lifespan_context(app)


class _Pages(Mount):
    """Everything that is none of the API's paths: an unknown path there is a problem document, not a page.

    NiceGUI shows its own page for an unknown path only where it finds itself as the endpoint.
    """

    def __init__(self, app: Gate) -> None:
        super().__init__("", app)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get("path", "").startswith("/api/"):
            return Match.NONE, {}
        match, found = super().matches(scope)
        return match, {**found, "endpoint": core.app}
