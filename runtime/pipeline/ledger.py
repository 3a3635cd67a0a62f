"""The books of a camera: every source frame ends as exactly one of result, no answer, skipped; blind time by cause.

Pure: every time is an argument, in seconds of CLOCK_MONOTONIC. A blind interval reaches from the last result (where there was
none yet, from the start) to the next one; its cause is the first that was told. Time before the first result is shown
as it runs, but booked by the agent, which knows when the process before this one gave its last.

A veil is a picture that comes and shows nothing of what it should (frozen, black): results of it count as results, not as
watching. A camera that is off by plan is not blind.
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
        self.off_since_mono = 0.0
        self._ended = False
        self._veil = ""
        self._ours = False
        self._clear_mono = started_mono
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
        """A frame has its result: whatever made the camera blind is over, but for a veil."""
        self.results += 1
        self._recent.append((done_mono, done_mono - captured_mono))
        if self.blind_cause and self.blind_cause != self._veil:
            self._close(done_mono)
            if self._veil:
                self.blind_cause, self.blind_since_mono = self._veil, done_mono
        self._ours = True
        self.first_result_mono = self.first_result_mono or done_mono
        self.last_result_mono = done_mono

    def _close(self, at_mono: float) -> None:
        """Book the open interval; the one before the first result is the agent's."""
        if self.blind_cause and self._ours:
            blind_s = max(0.0, at_mono - self.blind_since_mono)
            self.blind_s[self.blind_cause] = self.blind_s.get(self.blind_cause, 0.0) + blind_s
        self.blind_cause, self.blind_since_mono = "", 0.0
        self._clear_mono = at_mono

    def unanswered(self, cause: Reason, at_mono: float) -> None:
        """A frame has no answer, for this cause."""
        self.no_answer[cause.value] = self.no_answer.get(cause.value, 0) + 1
        self.blind(cause, at_mono)

    def blind(self, cause: Reason, at_mono: float) -> None:
        """The camera cannot be watched, for this cause, since its last result."""
        if self._ended or self.off_since_mono:
            return
        if not self.blind_cause:
            self.blind_cause = cause.value
            self.blind_since_mono = max(self.last_result_mono, self._clear_mono) or at_mono
        elif self.blind_cause == Reason.STARTING.value:
            self.blind_cause = cause.value

    def veil(self, cause: Reason | None, since_mono: float, at_mono: float) -> None:
        """What comes shows nothing of what it should, since then; None: it shows something again."""
        if self._ended or self.off_since_mono:
            return
        if cause is None:
            if self._veil and self.blind_cause == self._veil:
                self._close(at_mono)
            self._veil = ""
            return
        self._veil = cause.value
        if not self.blind_cause:
            self.blind_cause, self.blind_since_mono = cause.value, max(since_mono, self._clear_mono)

    def off(self, at_mono: float) -> None:
        """The camera is off by plan: it is not blind."""
        self._close(at_mono)
        self._veil = ""
        self._ours = True
        self.off_since_mono = self.off_since_mono or at_mono

    def on(self, at_mono: float) -> None:
        """The camera is to be watched (again)."""
        if self.off_since_mono:
            self.off_since_mono = 0.0
            self.blind_cause, self.blind_since_mono = Reason.STARTING.value, at_mono

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
