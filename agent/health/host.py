"""Figures of the machine, by psutil."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from agent.child import rss_bytes
from wire.health import Host

CPU_SENSORS = ("coretemp", "k10temp", "cpu_thermal", "soc_thermal", "cpu-thermal", "acpitz")
"""Names of the kernel's sensors that stand for the processor, best first."""
DAY_S = 86400.0


class HostFigures:
    """CPU load is over the time since the call before."""

    def __init__(self, state_dir: Path, started_mono: float) -> None:
        self._state_dir = state_dir
        self._started_mono = started_mono
        psutil.cpu_percent(interval=None)

    def read(self, at_mono: float, at_wall: float) -> Host:
        """:raises OSError: the kernel does not say"""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._state_dir))
        return Host(
            uptime_s=round(time.clock_gettime(time.CLOCK_BOOTTIME), 1),
            cpu_percent=psutil.cpu_percent(interval=None),
            cpu_count=psutil.cpu_count() or 1,
            load_1m=round(os.getloadavg()[0], 2),
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            temperature_celsius=temperature(),
            agent_rss_bytes=rss_bytes(os.getpid()),
            written_bytes_per_day=self._written_per_day(at_mono),
        )

    def _written_per_day(self, at_mono: float) -> float | None:
        """What the agent has written to disks, as a rate, once it has run for a minute."""
        ran_s = at_mono - self._started_mono
        if ran_s < 60.0:
            return None
        try:
            written = psutil.Process().io_counters().write_bytes
        except (psutil.Error, OSError):
            return None
        return float(round(written / ran_s * DAY_S))


def temperature() -> float | None:
    """Of the processor in degrees Celsius; None where no sensor tells."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError):
        return None
    for name in CPU_SENSORS:
        if readings := sensors.get(name):
            return float(max(reading.current for reading in readings))
    return None
