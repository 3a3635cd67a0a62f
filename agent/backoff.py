"""Waiting longer after each failure, with jitter, so that many devices or children do not come back at once. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Backoff:
    """Doubles from `min_s` to `max_s`; `random` gives 0 ≤ x < 1 and spreads each delay over its upper half."""

    def __init__(self, min_s: float, max_s: float, random: Callable[[], float]) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        """It went well for a while."""
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait after one more failure."""
        whole_s = min(self._max_s, self._min_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return whole_s * (0.5 + 0.5 * self._random())


class Budget:
    """At most `most` failures in `window_s`; what fails more often is to be tried at long intervals only."""

    def __init__(self, most: int, window_s: float) -> None:
        self._window_s = window_s
        self._failures: deque[float] = deque(maxlen=most)

    def spend(self, at_mono: float) -> bool:
        """One more failure; whether it goes beyond the budget."""
        full = len(self._failures) == self._failures.maxlen
        beyond = full and at_mono - self._failures[0] < self._window_s
        self._failures.append(at_mono)
        return beyond
