"""How hot, hungry and busy the device is, read every few seconds and turned into relief for its cameras."""

from __future__ import annotations

import logging

import psutil

from agent.config import Limits
from agent.device import Device
from agent.health.host import temperature
from agent.health.nvidia import Gpus
from agent.stress import Reading, Stress, StressLimits

log = logging.getLogger(__name__)

READ_S = 5.0


class Strain:
    """To be ticked by the supervisor. The hottest of processor and accelerators counts, and their powers together."""

    def __init__(self, device: Device, gpus: Gpus, limits: Limits) -> None:
        self._device = device
        self._gpus = gpus
        self._stress = Stress(
            StressLimits(limits.stress_celsius, limits.stress_watts, limits.stress_cpu_percent)
        )
        self._next_mono = 0.0
        self._before = psutil.cpu_times()

    def tick(self, at_mono: float) -> None:
        """Read, where it is time to, and have the cameras relieved where a limit is passed."""
        if at_mono < self._next_mono:
            return
        self._next_mono = at_mono + READ_S
        relief = self._stress.read(self._reading(), at_mono)
        if relief is None:
            return
        reason = relief.reason.value if relief.reason else ""
        log.warning("cameras are relieved", extra={"share": round(relief.share, 2), "reason": reason})
        self._device.ease(relief)

    def _reading(self) -> Reading:
        gpus = self._gpus.read()
        celsius = [temperature(), *(gpu.temperature_celsius for gpu in gpus)]
        watts = [gpu.power_watts for gpu in gpus if gpu.power_watts is not None]
        hot = [each for each in celsius if each is not None]
        return Reading(max(hot, default=None), sum(watts) if watts else None, self._cpu_percent())

    def _cpu_percent(self) -> float:
        """Since the reading before; psutil's own figure of this kind belongs to the health document."""
        before, now = self._before, psutil.cpu_times()
        self._before = now
        all_s = sum(now) - sum(before)
        idle_s = now.idle + getattr(now, "iowait", 0.0) - before.idle - getattr(before, "iowait", 0.0)
        # The kernel's figures of waiting and of guests are not exact: the sum may step back.
        return 100.0 * min(1.0, max(0.0, 1.0 - idle_s / all_s)) if all_s > 0 else 0.0
