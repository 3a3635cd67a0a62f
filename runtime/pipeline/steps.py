"""Time and errors of each step of the workflow, for health. Pure; times in seconds of CLOCK_MONOTONIC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wire.local import StepStats

WINDOW_S = 10.0
"""Times are told over the window that runs and the one before."""
MAX_TOLD = 64
"""So many steps are told, the slowest first: a health document is bounded."""


@dataclass
class _Window:
    count: int = 0
    sum_us: float = 0.0
    max_us: float = 0.0


@dataclass
class _Step:
    runs: int = 0
    errors: int = 0
    older: _Window = field(default_factory=_Window)
    newer: _Window = field(default_factory=_Window)

    def stats(self) -> StepStats:
        count = self.older.count + self.newer.count
        mean_us = (self.older.sum_us + self.newer.sum_us) / count if count else 0.0
        max_us = max(self.older.max_us, self.newer.max_us)
        return StepStats(self.runs, self.errors, round(mean_us, 1), round(max_us, 1))


class StepBook:
    """Counts since the process started, by step name; a new workflow's steps join, those that are gone are forgotten."""

    def __init__(self, start_mono: float) -> None:
        self._steps: dict[str, _Step] = {}
        self._turn_mono = start_mono + WINDOW_S

    def add(self, times_us: Mapping[str, float], failed: Iterable[str], at_mono: float) -> None:
        """One frame."""
        if at_mono >= self._turn_mono:
            self._turn(at_mono)
        steps = self._steps
        for name, spent_us in times_us.items():
            step = steps.get(name)
            if step is None:
                step = steps[name] = _Step()
            step.runs += 1
            window = step.newer
            window.count += 1
            window.sum_us += spent_us
            if spent_us > window.max_us:
                window.max_us = spent_us
        for name in failed:
            if name in steps:
                steps[name].errors += 1

    def keep(self, names: Iterable[str]) -> None:
        """Forget all other steps."""
        known = set(names)
        self._steps = {name: step for name, step in self._steps.items() if name in known}

    def stats(self) -> dict[str, StepStats]:
        """The slowest steps."""
        told = {name: step.stats() for name, step in self._steps.items()}
        slowest = sorted(told, key=lambda name: -told[name].mean_us)[:MAX_TOLD]
        return {name: told[name] for name in slowest}

    def _turn(self, at_mono: float) -> None:
        self._turn_mono = at_mono + WINDOW_S
        for step in self._steps.values():
            step.older, step.newer = step.newer, _Window()
