"""Hot swaps at live pace between two families and input sizes; load, warm-up and golden check happen inside the window.

A 10 fps file is played as a live camera, whose newest frame wins: a frame that comes while nothing takes it is lost, and
counted. Every result is an event; its arrival at the agent's end is its time.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report, scene
from benchmarks.rig import Child, Rig
from wire import local

SWAPS = 20
SETTLE_S = 2.0
FPS = 10.0


class Results:
    """Frame numbers, models and times of the results as they arrive."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, float]] = []

    def note(self, message: local.Message, at_mono: float) -> None:
        if isinstance(message, local.Event):
            digest = message.body["models"][scene.MODEL_ID]
            self.rows.append((message.body["frame_seq"], digest, at_mono))

    def between(self, start_mono: float, end_mono: float) -> list[tuple[int, str, float]]:
        return [row for row in self.rows if start_mono <= row[2] <= end_mono]


def swap_once(
    rig: Rig, pipeline: Child, old: Child, package: scene.Package, number: int
) -> tuple[Child, local.Switched, float]:
    """One swap as the agent does it; the new engine, the pipeline's figures, and the time until the switch in seconds."""
    started = time.monotonic()
    engine, socket = rig.engine(package.name, package.digest, package.directory, socket_name=f"{number}.sock")
    rig.await_message(engine, local.EngineUp)
    ticket = f"swap-{number}"
    pipeline.send(local.Prepare(ticket, scene.binding(package, socket, revision=number + 2)))
    rig.await_message(pipeline, local.Prepared)
    pipeline.send(local.Commit(ticket))
    switched = rig.await_message(pipeline, local.Switched)
    took_s = time.monotonic() - started
    rig.await_message(pipeline, local.Drained)
    old.stop()
    return engine, switched, took_s


def measure() -> dict[str, Any]:
    """Twenty swaps, and what they cost."""
    results = Results()
    lost, gaps, took, switch_gaps = 0, [], [], []
    with tempfile.TemporaryDirectory() as folder, Rig() as rig:
        packages = [scene.pack(name, Path(folder)) for name in scene.DETECTORS]
        engine, socket = rig.engine(packages[0].name, packages[0].digest, packages[0].directory)
        rig.await_message(engine, local.EngineUp)
        pipeline = rig.pipeline(
            scene.camera("live", loop=True), scene.binding(packages[0], socket), results.note
        )
        for _ in rig.until(5.0):
            pass
        for number in range(SWAPS):
            window_start = time.monotonic()
            engine, switched, took_s = swap_once(rig, pipeline, engine, packages[(number + 1) % 2], number)
            for _ in rig.until(SETTLE_S):
                pass
            rows = results.between(window_start - SETTLE_S / 2, time.monotonic())
            frames = [row[0] for row in rows]
            lost += frames[-1] - frames[0] + 1 - len(set(frames))
            gaps.append(max(later[2] - earlier[2] for earlier, later in itertools.pairwise(rows)))
            took.append(took_s)
            switch_gaps.append(switched.gap_ms)
            assert rows[-1][1] == packages[(number + 1) % 2].digest
    return {
        "swaps": SWAPS,
        "frames_lost": lost,
        "longest_gap_periods": round(max(gaps) * FPS, 3),
        "median_gap_periods": round(statistics.median(gaps) * FPS, 3),
        "gap_at_the_switch_ms_median": round(statistics.median(switch_gaps), 1),
        "gap_at_the_switch_ms_max": round(max(switch_gaps), 1),
        "load_to_switch_s_median": round(statistics.median(took), 2),
        "frames_seen": len(results.rows),
    }


if __name__ == "__main__":
    report.run(measure, {"frames_lost": "0", "longest_gap_periods": "<= 2"})
