"""Figures of a span of time put together: count, sum, least and most of what is measured, growth of what is counted. Pure.

Numbers are whole thousandths, so that adding is exact: whatever the order and however often a part is merged first, the sum is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleet.health.figures import numbers

MINUTE_S, QUARTER_S, DAY_S = 60, 900, 86_400
THOUSANDTHS = 1000
MOST = 1e12
"""No figure is that large; a device may say what it likes."""
AHEAD_S = 60.0
LATE_S = 7 * 86_400.0
"""A device's own time is believed between these around the time of arrival; else the time of arrival counts."""

Bucket = dict[str, dict[str, Any]]
"""`scope/name` → figure → growth (an int) or [count, sum, least, most]."""
Counts = dict[str, dict[str, int]]
"""The counters of a document, in thousandths."""


def time_of(at: float, received_at: float) -> float:
    """When a document was made, on the control plane's clock or one like it."""
    return at if received_at - LATE_S <= at <= received_at + AHEAD_S else received_at


def start_of(at: float, step_s: int) -> int:
    """The beginning of the span that a time is in."""
    return int(at // step_s) * step_s


def read(kept: Mapping[str, Any], before: Counts | None) -> tuple[Bucket, Counts]:
    """One document as a bucket, and its counters. `before`: the counters of the document before it of the same device; None where there is
    none, so that nothing is known to have grown. A counter that has fallen began anew."""
    made: Bucket = {}
    counts: Counts = {}
    for key, part, figures in numbers(kept):
        into: dict[str, Any] = {}
        counted: dict[str, int] = {}
        former = before.get(key, {}) if before is not None else {}
        for figure, value in part.items():
            kind = figures.get(figure)
            if kind is None or not isinstance(value, int | float) or not -MOST < value < MOST:
                continue
            number = round(value * THOUSANDTHS)
            if not kind.counter:
                into[figure] = [1, number, number, number]
                continue
            counted[figure] = number
            if before is not None:
                grown = number - former.get(figure, 0)
                into[figure] = grown if grown >= 0 else number
        made[key], counts[key] = into, counted
    return made, counts


def counts_of(kept: Mapping[str, Any]) -> Counts:
    """The counters of what was kept of a document, in thousandths."""
    return read(kept, None)[1]


def merge(into: Bucket, other: Mapping[str, Mapping[str, Any]]) -> Bucket:
    """Add the other bucket to the first one, which is changed and returned."""
    for key, figures in other.items():
        mine = into.setdefault(key, {})
        for figure, value in figures.items():
            former = mine.get(figure)
            if former is None:
                mine[figure] = value if isinstance(value, int) else [*value]
            elif isinstance(value, int):
                mine[figure] = former + value
            else:
                mine[figure] = [
                    former[0] + value[0],
                    former[1] + value[1],
                    min(former[2], value[2]),
                    max(former[3], value[3]),
                ]
    return into


def merged(parts: Iterable[Mapping[str, Mapping[str, Any]]]) -> Bucket:
    """All of them together."""
    made: Bucket = {}
    for part in parts:
        merge(made, part)
    return made


class Increments:
    """Documents of devices, one after the other as they came, as buckets of minutes.

    `tails` has for each device the time and the counters of its last document, and is brought up to date; a document that came a second
    time is passed over; one that is older than the last adds nothing to what is counted.
    """

    def __init__(self, tails: dict[str, tuple[float, Counts]], forget_s: float) -> None:
        """`forget_s`: a tail older than that is not believed."""
        self._tails = tails
        self._forget_s = forget_s
        self.minutes: dict[tuple[str, int], Bucket] = {}

    def add(self, device: str, at: float, kept: Mapping[str, Any]) -> None:
        tail = self._tails.get(device)
        if tail is not None and tail[0] == at:
            return
        before = tail[1] if tail is not None and 0 < at - tail[0] <= self._forget_s else None
        key = device, start_of(at, MINUTE_S)
        bucket, counts = read(kept, before)
        there = self.minutes.get(key)
        if there is None:
            self.minutes[key] = bucket
        else:
            merge(there, bucket)
        if tail is None or at > tail[0]:
            self._tails[device] = at, counts
