"""The books of a camera: every source frame ends as exactly one of result, no answer, skipped; blind time by cause.

Pure: every time is an argument, in seconds of CLOCK_MONOTONIC. A blind interval reaches from the last result (where there was
none yet, from the start) to the next one; its cause is the first that was told. Time before the first result is shown
as it runs, but booked by the agent, which knows when the process before this one gave its last.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wire.reasons import Reason

WINDOW_S = 10.0
"""Rates and latencies are told over this long."""
WINDOW_FRAMES = 1000


@dataclass(frozen=True)
class Rates:
    """Over the last `WINDOW_S`; latency is from capture to result."""

    fps: float
    latency_p50_ms: float
    latency_p95_ms: float


class Ledger:
    """Counters of one pipeline process."""

    def __init__(self, started_mono: float) -> None:
        self.frames = 0
        self.results = 0
        self.no_answer: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.blind_s: dict[str, float] = {}
        self.blind_cause: str = Reason.STARTING.value
        self.blind_since_mono = started_mono
        self.first_result_mono = 0.0
        self.last_result_mono = 0.0
        self._ended = False
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW_FRAMES)

    @property
    def in_flight(self) -> int:
        """Frames that have no outcome yet."""
        return self.frames - self.results - sum(self.no_answer.values()) - sum(self.skipped.values())

    def frames_seen(self, total: int, skipped: dict[str, int]) -> None:
        """The camera has delivered `total` frames so far, of which these were skipped since the last call."""
        self.frames = total
        for policy, count in skipped.items():
            self.skipped[policy] = self.skipped.get(policy, 0) + count

    def result(self, captured_mono: float, done_mono: float) -> None:
        """A frame has its result: whatever made the camera blind is over."""
        self.results += 1
        self._recent.append((done_mono, done_mono - captured_mono))
        if self.blind_cause and self.last_result_mono:
            self.blind_s[self.blind_cause] = (
                self.blind_s.get(self.blind_cause, 0.0) + done_mono - self.blind_since_mono
            )
        self.blind_cause, self.blind_since_mono = "", 0.0
        self.first_result_mono = self.first_result_mono or done_mono
        self.last_result_mono = done_mono

    def unanswered(self, cause: Reason, at_mono: float) -> None:
        """A frame has no answer, for this cause."""
        self.no_answer[cause.value] = self.no_answer.get(cause.value, 0) + 1
        self.blind(cause, at_mono)

    def blind(self, cause: Reason, at_mono: float) -> None:
        """The camera cannot be watched, for this cause, since its last result."""
        if self._ended:
            return
        if not self.blind_cause:
            self.blind_cause = cause.value
            self.blind_since_mono = self.last_result_mono or at_mono
        elif self.blind_cause == Reason.STARTING.value:
            self.blind_cause = cause.value

    def ended(self) -> None:
        """A file has come to its end: there is nothing left to be blind for, whatever becomes of its last frames."""
        self._ended = True
        self.blind_cause, self.blind_since_mono = "", 0.0

    def rates(self, at_mono: float) -> Rates:
        """Figures of the last `WINDOW_S` before this time."""
        while self._recent and self._recent[0][0] < at_mono - WINDOW_S:
            self._recent.popleft()
        latencies = sorted(latency_s for _, latency_s in self._recent)
        if not latencies:
            return Rates(0.0, 0.0, 0.0)
        span_s = min(
            WINDOW_S, max(at_mono - self.first_result_mono, self._recent[-1][0] - self._recent[0][0], 1e-3)
        )
        return Rates(
            round(len(latencies) / span_s, 2),
            round(latencies[len(latencies) // 2] * 1000, 2),
            round(latencies[min(len(latencies) - 1, int(len(latencies) * 0.95))] * 1000, 2),
        )
