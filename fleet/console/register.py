"""The pages there are. A page module registers its builder:

    @register.page("/devices/{device}", "Device")
    async def device(seat: Seat, device: str) -> None: ...

`menu` puts it into the navigation. The builder runs inside the frame; what the API refuses while it builds is shown in its place.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from nicegui import ui
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fleet.access.grants import Role
from fleet.console import frame
from fleet.console.calls import ApiProblem, Calls
from fleet.console.gate import door, prefix_of
from fleet.console.parts import problem
from fleet.console.parts.layout import empty
from fleet.console.seat import Seat, take

log = logging.getLogger(__name__)

BUILD_DEADLINE_S = 30.0
OWN = "/account"
"""The page that is there for who has no role, too."""
Builder = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Menu:
    """Where a page stands in the navigation. `role` is needed for the whole fleet to use it; `icon` is a file of the icon set."""

    group: str
    order: int
    icon: str
    role: Role | None = None


def page(path: str, title: str, menu: Menu | None = None, under: str = "") -> Callable[[Builder], Builder]:
    """Register the builder of a page. Its parameters beside `seat` are the path's and the query's, as in FastAPI. `under` is the page of the
    navigation to which it belongs, where its path does not say so."""
    if menu is not None:
        frame.add(frame.Entry(path, title, menu.group, menu.order, menu.icon, menu.role))

    def registered(build: Builder) -> Builder:
        async def shown(request: Request, **given: Any) -> Response | None:
            return await _show(request, under or path, title, build, given)

        own = inspect.signature(build, eval_str=True)
        asked = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
        rest = [p for p in own.parameters.values() if p.name != "seat"]
        shown.__signature__ = inspect.Signature([asked, *rest])  # type: ignore[attr-defined]
        shown.__annotations__ = {p.name: p.annotation for p in (asked, *rest)}
        ui.page(path, title=f"{title} · Outrider", response_timeout=BUILD_DEADLINE_S)(shown)
        return build

    return registered


async def _show(
    request: Request, path: str, title: str, build: Builder, given: dict[str, Any]
) -> Response | None:
    prefix = prefix_of(request)
    base = f"{request.url.scheme}://{request.url.netloc}{prefix}"
    try:
        seat = await take(_calls(request).of(request), base, prefix)
    except ApiProblem as e:
        if e.status == 401:
            return RedirectResponse(door(request), 303)
        raise
    with frame.around(seat, path, title):
        if seat.rights.somewhere is None and path != OWN:
            empty("Nothing to see here yet", "You have no role. An admin gives you one on the page Users.")
        else:
            await _build(seat, build, given)
    return None


def _calls(request: Request) -> Calls:
    return cast("Calls", request.app.state.calls)


async def _build(seat: Seat, build: Builder, given: dict[str, Any]) -> None:
    try:
        await build(seat, **given)
    except ApiProblem as e:
        ui.context.client.status_code = e.status
        problem.panel(e)
    except Exception:
        log.exception("a page failed")
        ui.context.client.status_code = 500
        problem.panel(ApiProblem(500, "This page failed", "The control plane's log has the details."))


async def not_found(request: Request) -> Response | None:
    """What is shown where there is no page."""

    async def build(seat: Seat) -> None:
        ui.context.client.status_code = 404
        detail = f"There is no page {request.url.path}."
        problem.panel(ApiProblem(404, "No such page", detail, remedy="Choose one from the navigation."))

    return await _show(request, "", "Not found", build, {})
