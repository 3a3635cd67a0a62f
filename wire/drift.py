"""How far two distributions are apart: the population stability index.

Source: B. Yurdakul, "Statistical Properties of Population Stability Index", 2018. By its common rule 0.1 is a small change and
0.25 a large one; that rule is for independent samples, which frames are not, so a limit here also comes from the blocks of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

SMOOTH = 0.5
"""Added to every bin, so that an empty one costs something finite."""


def psi(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Of two histograms with the same bins; 0 where both are the same, or one of them is empty."""
    if not sum(expected) or not sum(actual):
        return 0.0
    bins = [(e, a) for e, a in zip(expected, actual, strict=True) if e or a]
    all_e, all_a = (sum(column) + SMOOTH * len(bins) for column in zip(*bins, strict=True))
    shares = [((e + SMOOTH) / all_e, (a + SMOOTH) / all_a) for e, a in bins]
    return float(sum((a - e) * math.log(a / e) for e, a in shares))


def class_psi(expected: Mapping[str, int], actual: Mapping[str, int]) -> float:
    """Of two counts by name."""
    names = sorted(set(expected) | set(actual))
    return psi([expected.get(n, 0) for n in names], [actual.get(n, 0) for n in names])
