"""Kills from outside during updates, at random moments: of the executor as a process, and of whole devices. `--kills` and `--devices`
say how many, `--seed` plays a run again."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from typing import Any

from benchmarks.device_kills import kill_devices
from benchmarks.executor_kills import kill_executors

STARTED_SHARE = 0.03
"""Of the executors, so many are started as programs; the others are forked, which is faster."""


def measure(kills: int, devices: int, seed: int) -> dict[str, Any]:
    """Kill, look, count."""
    started = kill_executors(max(1, round(kills * STARTED_SHARE)), seed)
    forked = kill_executors(kills - started.kills, seed, forked=True)
    whole = kill_devices(devices, seed, real=True)
    broken = [*started.broken, *forked.broken, *whole.broken]
    return {
        "seed": seed,
        "executor_kills": started.kills + forked.kills,
        "executor_kills_started": started.kills,
        "device_kills": whole.kills,
        "broken": len(broken),
        "broken_words": broken[:10],
        "events_lost": whole.lost,
        "events": whole.events,
        "rollback_s": whole.rollback_s,
        "device_back_s_median": statistics.median(whole.back_s) if whole.back_s else None,
        "device_back_s_max": max(whole.back_s, default=None),
        "executor_phases": dict(started.where + forked.where),
        "device_phases": dict(whole.phases),
    }


def main() -> int:
    """:returns: 1 where a device broke or an event was lost"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--kills", type=int, default=10_000, help="of the executor")
    parser.add_argument("--devices", type=int, default=100, help="of whole devices")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", file=sys.stderr, flush=True)
    figures = measure(asked.kills, asked.devices, asked.seed)
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")
    return 1 if figures["broken"] or figures["events_lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
