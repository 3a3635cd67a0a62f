"""A long run: an agent with two cameras that restart again and again, and what grows meanwhile.

Every `--every` seconds one camera's process is restarted by its keeper and the other's source goes away and comes back. Memory,
descriptors, threads and processes are read before each; the slope is that of a straight line through the second half.
`python -m benchmarks.soak --minutes 30 --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.rig import assets
from tests.fakes.agent_rig import BASE, DEVICE, rig, until
from tests.faults.camera_yard import NO_MODEL, Server, programmes, why_not
from wire import command

CARE = {"deadlines": {"open_s": 5, "read_s": 5}, "clips": {"seconds": 10}}
FIGURES = ("agent_rss_mb", "children_rss_mb", "descriptors", "threads", "processes")


def reading(pid: int) -> dict[str, float]:
    """Of the agent and its children together."""
    agent = psutil.Process(pid)
    children = agent.children(recursive=True)
    everything = [agent, *children]
    return {
        "agent_rss_mb": agent.memory_info().rss / 1e6,
        "children_rss_mb": sum(child.memory_info().rss for child in children) / 1e6,
        "descriptors": sum(each.num_fds() for each in everything),
        "threads": sum(each.num_threads() for each in everything),
        "processes": len(everything),
    }


def slope_per_hour(at_s: list[float], values: list[float]) -> float:
    """Of a straight line through the second half: what a start takes is not a leak."""
    half = len(values) // 2
    if len(values) - half < 3:
        return 0.0
    return round(float(np.polyfit(at_s[half:], values[half:], 1)[0] * 3600.0), 3)


def measure(minutes: float, every_s: float) -> dict[str, Any]:
    """The whole run."""
    if reason := why_not():
        raise SystemExit(f"soak: {reason}")
    with tempfile.TemporaryDirectory() as name, rig(Path(name), real=True, silent_s=10.0) as made:
        files = programmes(assets() / "video" / "one-by-one-person-detection.mp4", Path(name))
        server = Server(files)
        server.start()
        made.start()
        workflow = made.plane.add_workflow(NO_MODEL)
        cameras = {n: {"source": server.url(n), **CARE} for n in ("a", "b")}
        pipelines = {n: {"camera": n, "workflow": "w"} for n in cameras}
        made.push(1, cameras=cameras, workflows={"w": {"digest": workflow}}, pipelines=pipelines)
        made.observer.reported("COMMITTED", 1, 60.0)
        try:
            return _run(made, server, minutes, every_s)
        finally:
            server.kill()


def _run(made: Any, server: Server, minutes: float, every_s: float) -> dict[str, Any]:
    began_mono, turn, stuck = time.monotonic(), 0, 0
    at_s: list[float] = []
    rows: list[dict[str, float]] = []
    while time.monotonic() - began_mono < minutes * 60.0:
        turn += 1
        due_mono = began_mono + turn * every_s
        request = command.Command(
            device=DEVICE,
            name="restart-camera",
            rid=f"r{turn}",
            issued_at=1.0,
            expires_at=4e9,
            arguments={"camera": "a"},
        )
        made.observer.publish(
            f"{BASE}/cmd/restart-camera", command.sign(request, made.plane.key), retain=False
        )
        server.kill()
        time.sleep(min(2.0, every_s / 4))
        server.start()
        try:
            until(lambda: all(_watched(made, n) for n in ("a", "b")), max(1.0, due_mono - time.monotonic()))
        except AssertionError:
            stuck += 1
        at_s.append(time.monotonic() - began_mono)
        rows.append(reading(made.pid))
        time.sleep(max(0.0, due_mono - time.monotonic()))
    figures: dict[str, Any] = {"turns": turn, "not_back_in_time": stuck, "every_s": every_s}
    for each in FIGURES:
        values = [row[each] for row in rows]
        figures[f"{each}_per_hour"] = slope_per_hour(at_s, values)
        figures[f"{each}_last"] = round(values[-1], 1)
    return figures


def _watched(made: Any, name: str) -> bool:
    camera = made.status()["health"]["cameras"][name]
    return camera["state"] == "streaming" and not camera["blind_now"]


def main() -> None:
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    figures = measure(arguments.minutes, arguments.every)
    if arguments.json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:32} {value}")


if __name__ == "__main__":
    main()
