"""The figures of a swap, from the results before and after it. Pure; times in seconds of CLOCK_MONOTONIC."""

from __future__ import annotations

from wire.local import Switched


class SwapRecord:
    """Watches the results from the moment a binding is being prepared until the first one it made."""

    def __init__(self, ticket: str, results_frame: int, last_result_mono: float, without_result: int) -> None:
        """`results_frame` is the last frame with a result, `without_result` the frames that had ended without one by then."""
        self._ticket = ticket
        self._last_frame = results_frame
        self._last_mono = last_result_mono
        self._longest_s = 0.0
        self._without_result = without_result

    def result(self, frame_seq: int, done_mono: float) -> float:
        """A result has been given; the time since the one before, in seconds."""
        gap_s = done_mono - self._last_mono if self._last_mono else 0.0
        self._longest_s = max(self._longest_s, gap_s)
        self._last_frame, self._last_mono = frame_seq, done_mono
        return gap_s

    def first_of_new(
        self, frame_seq: int, done_mono: float, without_result: int, frame_period_s: float
    ) -> Switched:
        """The new binding's first result."""
        last_frame_old = self._last_frame
        gap_s = self.result(frame_seq, done_mono)
        return Switched(
            self._ticket,
            last_frame_old,
            frame_seq,
            without_result - self._without_result,
            round(gap_s * 1000, 2),
            round(self._longest_s * 1000, 2),
            round(frame_period_s * 1000, 2),
        )
