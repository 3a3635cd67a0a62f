"""How old messages are when they are stored, as a histogram: from the device's own stamp to the commit.

A device whose clock is wrong shows as an age that is not real; what says that its clock is not synchronised is left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

BOUNDS_S = (
    0.02,
    0.05,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the buckets; what is older is in one more."""


class Lags:
    """Counts by bucket since the start, `counts[i]` of ages up to `BOUNDS_S[i]`; the last of anything older. One thread writes."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, ages_s: Iterable[float]) -> None:
        for age_s in ages_s:
            self.counts[bisect_left(BOUNDS_S, age_s)] += 1
            self.total_s += max(age_s, 0.0)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The upper bound of the bucket in which `share` (0 to 1) of all is reached, s; infinite in the last, None of nothing."""
    wanted = share * sum(counts)
    reached = 0
    for bound_s, count in zip((*BOUNDS_S, float("inf")), counts, strict=True):
        reached += count
        if count and reached >= wanted:
            return bound_s
    return None
