"""The candidates of an update whose new engines do not fit in memory beside those they replace.

Nothing is ready before the switch. Then the former engines end, the new ones load, and the pipelines go over to them: until then their
cameras have no answer, which is told as the swap's gap. Where the new ones do not load, the way back loads the former ones again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agent.device import Device
from agent.reconcile import Plan
from agent.swap import Candidates
from wire.reported import SwapFigures

log = logging.getLogger(__name__)


class StopThenLoad(Candidates):
    """As `Candidates`. `on_loaded` is called when the new engines are up, before the switch; `gap_s`: what the loading took."""

    def __init__(self, device: Device, plan: Plan, revision: int, on_loaded: Callable[[], None]) -> None:
        super().__init__(device, plan, revision, beside=False)
        self._on_loaded = on_loaded
        self._load_deadline_s = 0.0
        self.gap_s = 0.0

    async def prepare(self, deadline_s: float) -> None:
        """The deadline is that of the loading."""
        self._load_deadline_s = deadline_s

    async def switch(self, deadline_s: float) -> tuple[SwapFigures, ...]:
        """:raises UpdateRefused: an engine or a pipeline cannot, or not in time; the former engines do not run"""
        began_mono = time.monotonic()
        log.info("engines end before others are loaded", extra={"engines": len(self._plan.engine_stops)})
        await self._device.end_engines(self._plan.engine_stops)
        await super().prepare(self._load_deadline_s)
        self.gap_s = round(time.monotonic() - began_mono, 2)
        self._on_loaded()
        return await super().switch(deadline_s)
