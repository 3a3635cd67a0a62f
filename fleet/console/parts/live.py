"""Figures that stay new: read again every so often, and only while somebody looks at the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console.calls import ApiProblem

SLOWEST = 8
"""Where the control plane refuses or is slow, the interval grows up to this many times."""


class Every:
    """Calls `read` now and then while it is `on`; at once when a hidden page is looked at again."""

    def __init__(self, interval_s: float, read: Callable[[], Awaitable[None]], on: bool = True) -> None:
        self._interval_s = interval_s
        self._read = read
        self._seen = True
        self._on = on
        self._timer = ui.timer(interval_s, self._once, immediate=False, active=on)
        ui.on("seen", self._looked)

    @property
    def on(self) -> bool:
        return self._on

    @on.setter
    def on(self, wanted: bool) -> None:
        self._on = wanted
        self._timer.active = wanted and self._seen

    async def _once(self) -> None:
        try:
            await self._read()
            self._timer.interval = self._interval_s
        except ApiProblem as e:
            if e.status == 401:
                self.on = False
                ui.navigate.to("/sign-in")
            self._timer.interval = min(self._timer.interval * 2, self._interval_s * SLOWEST)

    async def _looked(self, event: GenericEventArguments) -> None:
        self._seen = bool(event.args)
        self.on = self._on
        if self._seen and self._on:
            await self._once()


def every(interval_s: float, read: Callable[[], Awaitable[None]]) -> Every:
    """From now on."""
    return Every(interval_s, read)
