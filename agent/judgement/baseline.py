"""What is normal for one pipeline on this device: its blocks before the change, and those of the same hours of other days.

A limit is never only a share of a mean: it also lies beyond the worst window of the baseline itself, which is as long as the
window that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from agent.judgement.blocks import Block, joined

MIN_BLOCKS = 4
"""A baseline of less says too little."""


@dataclass(frozen=True)
class Baseline:
    """`recent` blocks, oldest first and one behind the other; `same_hours` are of other days. `pulled`: frames are taken as fast as
    they are worked on, so that their rate is the model's own. Both of the model that is replaced."""

    recent: tuple[Block, ...] = ()
    same_hours: tuple[Block, ...] = ()
    pulled: bool = False

    @property
    def enough(self) -> bool:
        return len(self.recent) + len(self.same_hours) >= MIN_BLOCKS

    @cached_property
    def whole(self) -> Block:
        return joined((*self.same_hours, *self.recent))

    @property
    def stretches(self) -> tuple[int, ...]:
        """Lengths in frames of the stretches without a detection, also of the one that lasts."""
        whole = self.whole
        return (*whole.stretches, *((whole.run,) if whole.run else ()))

    def worst(self, span_s: float, figure: Callable[[Block], float | None]) -> float | None:
        """The largest figure of any window of this length; None where no window has one."""
        figures = [figure(window) for window in self._windows(span_s)]
        return max((each for each in figures if each is not None), default=None)

    def _windows(self, span_s: float) -> Iterator[Block]:
        for row in (self.same_hours, self.recent):
            yield from _windows(row, span_s)


def _windows(blocks: Sequence[Block], span_s: float) -> Iterator[Block]:
    for first in range(len(blocks)):
        covered_s, last = 0.0, first
        while last < len(blocks) and covered_s < span_s:
            covered_s += blocks[last].span_s
            last += 1
        if covered_s < 0.8 * span_s and first:
            return
        yield joined(blocks[first:last])
