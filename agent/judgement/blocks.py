"""What one pipeline did in a span of time, from the figures it tells each second.

Frames that follow each other show the same scene, so nothing here treats them as independent: gates look at blocks of seconds,
and at stretches without a detection as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wire.local import Sight
from wire.local.pipeline import LATENCY_FIRST_MS, LATENCY_STEP, SCORE_BINS

BLOCK_S = 5.0
"""A block of the baseline: several frames at any rate, and shorter than what happens before a camera."""


@dataclass(frozen=True)
class Block:
    """`delivered`: frames the camera gave. `asked`: frames that ended in a result or without an answer (`unanswered`); of them
    `empty` had no detection. `stretches`: lengths in frames of the stretches without a detection that ended in it; `run`: of the
    one that lasted at its end. `counted`: whether the task knows detections."""

    span_s: float = 0.0
    delivered: int = 0
    asked: int = 0
    empty: int = 0
    unanswered: int = 0
    run: int = 0
    stretches: tuple[int, ...] = ()
    scores: tuple[int, ...] = (0,) * SCORE_BINS
    classes: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[int, int] = field(default_factory=dict)
    counted: bool = False

    @property
    def results(self) -> int:
        return self.asked - self.unanswered

    @property
    def objects(self) -> int:
        return sum(self.scores)


def between(before: Sight | None, after: Sight, span_s: float, delivered: int) -> Block:
    """What happened between two tellings of one binding; `before` None is its beginning."""
    before = before or Sight()
    asked = after.asked - before.asked
    ended = before.run > 0 and after.run < before.run + asked
    unanswered = sum(after.unanswered.values()) - sum(before.unanswered.values())
    return Block(
        span_s,
        delivered,
        asked,
        after.empty - before.empty,
        unanswered,
        after.run,
        (before.run,) if ended else (),
        tuple(b - a for a, b in zip(before.scores, after.scores, strict=True)),
        _more(before.classes, after.classes),
        {int(bin_): count for bin_, count in _more(before.latency, after.latency).items()},
        after.counted,
    )


def joined(blocks: Iterable[Block]) -> Block:
    """Blocks that follow each other, as one."""
    parts = list(blocks)
    if not parts:
        return Block()
    classes: dict[str, int] = {}
    latency: dict[int, int] = {}
    for block in parts:
        for name, count in block.classes.items():
            classes[name] = classes.get(name, 0) + count
        for bin_, count in block.latency.items():
            latency[bin_] = latency.get(bin_, 0) + count
    return Block(
        sum(block.span_s for block in parts),
        sum(block.delivered for block in parts),
        sum(block.asked for block in parts),
        sum(block.empty for block in parts),
        sum(block.unanswered for block in parts),
        parts[-1].run,
        tuple(length for block in parts for length in block.stretches),
        tuple(map(sum, zip(*(block.scores for block in parts), strict=True))),
        classes,
        latency,
        any(block.counted for block in parts),
    )


def recent(blocks: Sequence[Block], span_s: float, frames: int = 0) -> Block:
    """The newest blocks that cover this time and this many frames."""
    taken: list[Block] = []
    covered_s, covered = 0.0, 0
    for block in reversed(blocks):
        if covered_s >= span_s and covered >= frames:
            break
        taken.append(block)
        covered_s += block.span_s
        covered += block.asked
    return joined(reversed(taken))


def latency_ms(latency: Mapping[int, int], share: float) -> float | None:
    """The latency that this share of frames stays below, within a bin by its share of the bin's frames; None without frames."""
    total = sum(latency.values())
    if not total:
        return None
    left = share * total
    for bin_ in sorted(latency):
        count = latency[bin_]
        if left <= count:
            return float(LATENCY_FIRST_MS * LATENCY_STEP ** (bin_ + left / count))
        left -= count
    return float(LATENCY_FIRST_MS * LATENCY_STEP ** (max(latency) + 1))


def _more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """A name may leave the list of the most frequent ones: what is no longer told has not grown."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
