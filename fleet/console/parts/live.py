"""Figures that stay new: read again every so often, and only while somebody looks at the page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console.calls import ApiProblem

log = logging.getLogger(__name__)

SLOWEST = 8
"""Where the control plane refuses or is slow, the interval grows up to this many times."""


def every(interval_s: float, read: Callable[[], Awaitable[None]]) -> ui.timer:
    """Call it now and then; at once when a hidden page is looked at again."""

    async def once() -> None:
        try:
            await read()
            timer.interval = interval_s
        except ApiProblem as e:
            if e.status == 401:
                ui.navigate.to("/sign-in")
                timer.deactivate()
            timer.interval = min(timer.interval * 2, interval_s * SLOWEST)

    async def seen(event: GenericEventArguments) -> None:
        timer.active = bool(event.args)
        if timer.active:
            await once()

    timer = ui.timer(interval_s, once, immediate=False)
    ui.on("seen", seen)
    return timer
