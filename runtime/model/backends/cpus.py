"""How many processors this process may use: what an engine's threads are measured by where nobody named a number.

A container's quota and a service's affinity are below the machine's count, and an engine that does not know makes threads that
wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")


def usable(affinity: Iterable[int] | None = None, cgroup: Path = CGROUP, topology: Path = TOPOLOGY) -> int:
    """Physical cores among the processors of this process, not more than its quota; at least 1.

    Two hardware threads of one core share its arithmetic units, so that inference gains nothing from the second.
    """
    allowed = set(os.sched_getaffinity(0) if affinity is None else affinity)
    cores = {_siblings(topology, cpu) for cpu in allowed}
    quota = quota_cpus(cgroup)
    return max(1, len(cores) if quota is None else min(len(cores), math.ceil(quota)))


def quota_cpus(cgroup: Path = CGROUP) -> float | None:
    """Processors' worth of time a period that the control group allows (cgroup v2, then v1); None where it sets no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # `max`: no limit
        return None
    return share if share > 0 else None


def _siblings(topology: Path, cpu: int) -> str:
    try:
        return (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
