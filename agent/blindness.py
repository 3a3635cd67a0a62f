"""The books of a camera across the processes that watched it: counters summed, blind time between them by cause. Pure.

Within a process the pipeline reports blind time itself. Between two processes the gap reaches from the last result of the one
to the first of the next; all processes of a boot share CLOCK_MONOTONIC, so the two can be subtracted. The cause of a gap is the
first that was told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wire.local import PipelineStats
from wire.reasons import Reason


@dataclass
class Totals:
    """Counters of the processes that have ended; `blind_s` seconds by reason code."""

    frames: int = 0
    results: int = 0
    events: int = 0
    events_dropped: int = 0
    no_answer: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    step_errors: dict[str, int] = field(default_factory=dict)
    blind_s: dict[str, float] = field(default_factory=dict)

    def plus(self, stats: PipelineStats) -> Totals:
        """The sum with a process' own counters; both are left as they are."""
        return Totals(
            self.frames + stats.frames,
            self.results + stats.results,
            self.events + stats.events,
            self.events_dropped + stats.events_dropped,
            _sum(self.no_answer, stats.no_answer),
            _sum(self.skipped, stats.skipped),
            _sum(self.step_errors, stats.step_errors),
            _sum_s(self.blind_s, stats.blind_s),
        )


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(a) + Counter(b))


def _sum_s(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in {*a, *b}}


class CameraLedger:
    """One camera since its pipeline was defined. Every time is an argument, in seconds of CLOCK_MONOTONIC."""

    def __init__(self, defined_mono: float) -> None:
        self._former = Totals()
        self._stats: PipelineStats | None = None
        self._gap_since_mono: float | None = defined_mono
        self._gap_cause = Reason.STARTING.value
        self._last_result_mono = 0.0

    def told(self, stats: PipelineStats) -> None:
        """The newest statistics of the running process."""
        self._stats = stats
        self._last_result_mono = max(self._last_result_mono, stats.last_result_mono)
        if self._gap_since_mono is None:
            return
        if stats.first_result_mono > 0:
            self._book(self._gap_cause, stats.first_result_mono - self._gap_since_mono)
            self._gap_since_mono = None
        elif stats.off_since_mono > 0:
            self._book(self._gap_cause, stats.off_since_mono - self._gap_since_mono)
            self._gap_since_mono = None
        elif not stats.blind_cause and stats.frames == 0:
            return
        elif stats.blind_cause and self._gap_cause == Reason.STARTING.value:
            self._gap_cause = stats.blind_cause

    def camera_ended(self) -> None:
        """A file has come to its end: there is nothing left to be blind for."""
        self._gap_since_mono = None

    def process_ended(self, cause: Reason, at_mono: float) -> None:
        """The process is gone: its counters are kept, a gap opens at its last result."""
        stats = self._stats
        if stats is None:
            self._gap_cause = self._later_cause(cause)
            self._gap_since_mono = self._gap_since_mono or at_mono
            return
        self._former = self._former.plus(stats)
        outcomes = stats.results + sum(stats.no_answer.values()) + sum(stats.skipped.values())
        if (unfinished := stats.frames - outcomes) > 0:
            self._former.no_answer = _sum(self._former.no_answer, {cause.value: unfinished})
        if self._gap_since_mono is None:
            since_mono = stats.blind_since_mono if stats.blind_cause else stats.last_result_mono
            self._gap_since_mono = since_mono or self._last_result_mono or at_mono
            if stats.off_since_mono > 0:
                self._gap_since_mono = at_mono
            self._gap_cause = stats.blind_cause or cause.value
        else:
            self._gap_cause = self._later_cause(cause)
        self._stats = None

    def succeed(self, former: CameraLedger) -> None:
        """Take over the books of the pipeline this one replaces; the time both ran counts as watched."""
        stats = self._stats
        self._former.blind_s.pop(Reason.STARTING.value, None)
        former.process_ended(Reason.STARTING, former._last_result_mono)
        since_mono, cause = former._gap_since_mono, former._gap_cause
        self._former = _joined(former._former, self._former)
        if stats is None or stats.first_result_mono <= 0:
            self._gap_since_mono = self._gap_since_mono if since_mono is None else since_mono
            if since_mono is not None and self._gap_cause == Reason.STARTING.value:
                self._gap_cause = cause
        elif since_mono is not None:
            self._book(cause, stats.first_result_mono - since_mono)

    def totals(self) -> Totals:
        """The counters of all processes, the running one included."""
        return self._former.plus(self._stats) if self._stats else self._former

    def blind_now(self, at_mono: float) -> tuple[str, float] | None:
        """Cause and seconds of the blind time that is still open."""
        if self._gap_since_mono is not None:
            return self._gap_cause, max(0.0, at_mono - self._gap_since_mono)
        if self._stats is not None and self._stats.blind_cause:
            return self._stats.blind_cause, max(0.0, at_mono - self._stats.blind_since_mono)
        return None

    def to_json(self) -> dict[str, Any]:
        """What is kept across the agent's own death."""
        open_cause = self.blind_now(0.0)
        return {
            "totals": vars(self.totals()),
            "last_result_mono": self._last_result_mono,
            "gap_since_mono": self._gap_since_mono,
            "open_cause": open_cause[0] if open_cause else "",
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], at_mono: float, *, same_boot: bool) -> CameraLedger:
        """The ledger after the agent was down; of another boot only the counters hold.

        :raises KeyError, TypeError, ValueError: not what `to_json` gives
        """
        ledger = cls(at_mono)
        ledger._former = Totals(**value["totals"])
        if not same_boot:
            return ledger
        last_mono = float(value["last_result_mono"])
        since = value["gap_since_mono"] if value["gap_since_mono"] is not None else last_mono or None
        ledger._last_result_mono = last_mono
        ledger._gap_since_mono = float(since) if since is not None else at_mono
        cause = str(value["open_cause"])
        ledger._gap_cause = cause if cause and cause != Reason.STARTING.value else Reason.AGENT_DOWN.value
        return ledger

    def _later_cause(self, cause: Reason) -> str:
        return cause.value if self._gap_cause == Reason.STARTING.value else self._gap_cause

    def _book(self, cause: str, blind_s: float) -> None:
        if blind_s > 0:
            self._former.blind_s[cause] = self._former.blind_s.get(cause, 0.0) + blind_s


def _joined(a: Totals, b: Totals) -> Totals:
    return Totals(
        a.frames + b.frames,
        a.results + b.results,
        a.events + b.events,
        a.events_dropped + b.events_dropped,
        _sum(a.no_answer, b.no_answer),
        _sum(a.skipped, b.skipped),
        _sum(a.step_errors, b.step_errors),
        _sum_s(a.blind_s, b.blind_s),
    )


class LastHour:
    """Blind seconds by cause of the last 60 minutes, from the books read once a minute. Pure."""

    MINUTES = 60
    STEP_S = 60.0

    def __init__(self) -> None:
        self._marks: deque[tuple[float, dict[str, float]]] = deque(maxlen=self.MINUTES + 1)

    def begin(self, ledger: CameraLedger, at_mono: float) -> None:
        """Count from here; a gap that is open since before, while the agent was down, counts as if it had been read meanwhile."""
        cause, open_s = ledger.blind_now(at_mono) or ("", 0.0)
        closed = ledger.totals().blind_s
        back_s = min(open_s, self.MINUTES * self.STEP_S)
        while True:
            self._marks.append(
                (at_mono - back_s, {**closed, cause: closed.get(cause, 0.0) + open_s - back_s})
            )
            if back_s < self.STEP_S:
                return
            back_s -= self.STEP_S

    def read(self, ledger: CameraLedger, at_mono: float) -> dict[str, float]:
        """What was blind since the oldest mark that is not older than an hour, the open interval included."""
        now = _with_open(ledger, at_mono)
        if not self._marks or at_mono - self._marks[-1][0] >= self.STEP_S:
            self._marks.append((at_mono, now))
        hour_s = self.MINUTES * self.STEP_S
        _, before = next((mark for mark in self._marks if at_mono - mark[0] <= hour_s), (at_mono, now))
        # A cause may lose what it had: time before the first result is shown under one and booked under another.
        spans = {cause: blind_s - before.get(cause, 0.0) for cause, blind_s in now.items()}
        return {cause: round(span_s, 3) for cause, span_s in spans.items() if span_s > 0.0}


def _with_open(ledger: CameraLedger, at_mono: float) -> dict[str, float]:
    blind_s = dict(ledger.totals().blind_s)
    if (open_ := ledger.blind_now(at_mono)) is not None:
        blind_s[open_[0]] = blind_s.get(open_[0], 0.0) + open_[1]
    return blind_s
