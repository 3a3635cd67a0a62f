"""Has a second engine look at some of the camera's pictures, and compares its answers with those at work.

Never in the way of a frame: a picture is handed over once its own result is out, where no other frame waits; one request at a
time; an engine that is slow or gone only makes fewer comparisons. Its answers go nowhere but into the figures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.errors import RuntimeFault
from runtime.model.attachment import AttachedEngine
from runtime.model.engine import Ticket
from runtime.pipeline.likeness import LikenessBook
from runtime.results import Answer, Image, Result
from wire.local import Compare, Compared, ModelBinding

ANSWER_S = 5.0
"""Without an answer after this long the second engine has none."""
TELL_S = 1.0

Attach = Callable[[ModelBinding], AttachedEngine]


@dataclass
class _Second:
    """One of the second engines."""

    engine: AttachedEngine
    book: LikenessBook | None = None


@dataclass
class _Asked:
    """The request under way."""

    model_id: str
    live: Result
    ticket: Ticket
    asked_mono: float


class Comparison:
    """One order, from its start to its last figures. Of the pipeline's main thread; times in seconds of CLOCK_MONOTONIC."""

    def __init__(self, order: Compare, attach: Attach, at_mono: float) -> None:
        self.ticket = order.ticket
        self._order = order
        self._seconds = {model_id: _Second(attach(model)) for model_id, model in order.models.items()}
        self._end_mono = at_mono + order.for_s if order.for_s else float("inf")
        self._next_mono = self._next_tell_mono = at_mono
        self._turn = 0
        self._asked: _Asked | None = None
        self._compared = 0
        self._passed_over = 0

    @property
    def engines(self) -> list[AttachedEngine]:
        """To be polled and pumped by the loop."""
        return [second.engine for second in self._seconds.values()]

    @property
    def busy(self) -> bool:
        """Whether a second engine is at work now."""
        return self._asked is not None

    def over(self, at_mono: float) -> bool:
        """Whether what was ordered is done."""
        enough = bool(self._order.frames) and self._compared >= self._order.frames
        return not self.busy and (enough or at_mono >= self._end_mono)

    def offer(self, image: Image, answers: Mapping[str, Result], at_mono: float, *, idle: bool) -> None:
        """A picture whose result is out, with the answers by `model_id`; `idle`: no frame waits."""
        if at_mono < self._next_mono or at_mono >= self._end_mono:
            return
        if self.busy or not idle:
            self._passed_over += 1
            return
        wanted = [model_id for model_id in self._seconds if model_id in answers]
        if not wanted:
            return
        model_id = wanted[self._turn % len(wanted)]
        second = self._seconds[model_id]
        if not second.engine.attached:
            self._passed_over += 1
            return
        self._turn += 1
        self._next_mono = at_mono + 1.0 / self._order.per_s
        self._asked = _Asked(model_id, answers[model_id], second.engine.submit([image]), at_mono)

    def take(self, at_mono: float) -> None:
        """Book the answer, where there is one by now."""
        asked = self._asked
        if asked is None or not (asked.ticket.ready() or at_mono - asked.asked_mono > ANSWER_S):
            return
        self._asked = None
        (answer,) = asked.ticket.wait(0.0)
        self._book(asked, answer, at_mono)

    def told(self, at_mono: float, *, done: bool = False) -> Compared | None:
        """The figures, once a second and at the end."""
        if not done and at_mono < self._next_tell_mono:
            return None
        self._next_tell_mono = at_mono + TELL_S
        models = {
            model_id: second.book.told()
            for model_id, second in self._seconds.items()
            if second.book is not None
        }
        return Compared(self.ticket, done, self._passed_over, models, self._trouble())

    def close(self) -> None:
        """Let go of the engines."""
        self._asked = None
        for second in self._seconds.values():
            with contextlib.suppress(RuntimeFault, OSError):
                second.engine.close()

    def _book(self, asked: _Asked, answer: Answer, at_mono: float) -> None:
        second = self._seconds[asked.model_id]
        if second.book is None:
            second.book = LikenessBook(second.engine.spec.task.value)
        second.book.add(asked.live, answer, at_mono - asked.asked_mono)
        self._compared += 1

    def _trouble(self) -> str:
        troubles = [second.engine.problem for second in self._seconds.values() if not second.engine.attached]
        return "; ".join(troubles)[:500]


class Aside:
    """At most one comparison at a time, between the loop and the agent; a new order ends the one before."""

    def __init__(self, attach: Attach) -> None:
        self._attach = attach
        self._comparison: Comparison | None = None
        self._last: list[Compared] = []
        self._free_mono = 0.0

    @property
    def engines(self) -> list[AttachedEngine]:
        return self._comparison.engines if self._comparison else []

    def order(self, message: Compare, at_mono: float) -> None:
        self.end(at_mono)
        self._comparison = Comparison(message, self._attach, at_mono)

    def end(self, at_mono: float, ticket: str = "") -> None:
        """End the one under way, of this ticket where one is given."""
        comparison = self._comparison
        if comparison is None or ticket not in ("", comparison.ticket):
            return
        if (last := comparison.told(at_mono, done=True)) is not None:
            self._last.append(last)
        comparison.close()
        self._comparison = None

    def offer(self, image: Image, answers: Mapping[str, Result], at_mono: float, *, idle: bool) -> None:
        if self._comparison is not None:
            self._comparison.offer(image, answers, at_mono, idle=idle)

    def shared_machine(self, since_mono: float) -> bool:
        """Whether a second engine has been at work since then, so that times do not speak of the first alone."""
        return self._free_mono > since_mono or (self._comparison is not None and self._comparison.busy)

    def turn(self, at_mono: float) -> list[Compared]:
        """Once in each turn of the loop: book what has come; what there is to tell."""
        comparison = self._comparison
        if comparison is not None:
            if comparison.busy:
                self._free_mono = at_mono
            comparison.take(at_mono)
            if (news := comparison.told(at_mono)) is not None:
                self._last.append(news)
            if comparison.over(at_mono):
                self.end(at_mono)
        told, self._last = self._last, []
        return told
