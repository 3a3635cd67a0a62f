"""The pace of frames: when one of a file is due, which ones a limit lets pass, how the stream's own clock runs."""

from __future__ import annotations

import time
from collections.abc import Callable

FPS_LIMIT = "fps-limit"


class Schedule:
    """When each frame of a file is due. Falling behind by more than a second starts the schedule anew."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._due_mono = time.monotonic()

    @property
    def due_mono(self) -> float:
        """When the next frame is due."""
        return self._due_mono

    def next(self, pause: Callable[[float], None]) -> float:
        """Wait until the next frame is due; the time at which it was."""
        late_s = time.monotonic() - self._due_mono
        if late_s < 0:
            pause(-late_s)
        elif late_s > 1.0:
            self._due_mono += late_s
        due_mono = self._due_mono
        self._due_mono += self._period_s
        return due_mono


class RateLimit:
    """Lets at most `fps` frames a second pass, spread evenly, 0 all; of those a `share`, while the device needs relief."""

    def __init__(self, fps: float, share: float = 1.0, reason: str = "") -> None:
        self._fps = fps
        self._period_s = 1.0 / fps if fps > 0 else 0.0
        self._due_mono = 0.0
        self._share = share
        self._reason = reason
        self._credit = 1.0

    def relieved(self, share: float, reason: str) -> RateLimit:
        """The same limit for another share."""
        return RateLimit(self._fps, min(1.0, max(0.0, share)), reason)

    @property
    def period_s(self) -> float:
        """The least time between two frames, 0 where there is no limit."""
        return self._period_s

    def due(self, at_mono: float) -> bool:
        """Whether the rate lets a frame of this time pass. Asks only, changes nothing."""
        # A quarter of a period of tolerance keeps a camera at exactly the limit from losing every other frame to jitter.
        return at_mono + self._period_s * 0.25 >= self._due_mono

    def refuses(self, at_mono: float) -> str:
        """The policy that skips a frame of this time; empty where it may pass."""
        if not self.due(at_mono):
            return FPS_LIMIT
        on_grid_mono = self._due_mono + self._period_s
        self._due_mono = on_grid_mono if on_grid_mono > at_mono else at_mono + self._period_s
        if self._share >= 1.0:
            return ""
        self._credit += self._share
        if self._credit < 1.0:
            return self._reason
        self._credit -= 1.0
        return ""


class Drift:
    """How far the stream's own clock has run ahead of ours since it was opened, by frames that came without delay.

    A frame may come late, never early: the largest lead of a minute is the true one. Pure but for its state; written by the
    reader's thread, read by any.
    """

    WINDOW = 60

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._leads: list[float] = []
        self.ms: float | None = None

    def opened(self) -> None:
        """A stream has been opened; its clock starts anew."""
        self._first_s, self._leads, self.ms = None, [], None

    def at(self, position_s: float | None, at_mono: float) -> None:
        """A frame of this time of the stream came at this time of ours; None where the stream has no time."""
        if position_s is None:
            return
        self._leads = [*self._leads[-self.WINDOW + 1 :], position_s - at_mono]
        lead_s = max(self._leads)
        if len(self._leads) < 3:
            return
        if self._first_s is None:
            self._first_s = lead_s
        self.ms = round((lead_s - self._first_s) * 1000.0, 1)
