"""What waits for one sink: which parcel is next, when, and which are given up. Pure: every time is an argument.

A lane keeps order: while its first parcel waits to be tried again, the others wait behind it. It is bounded in number and in
bytes; when it is full the oldest that is not under way gives way, because the newest value is worth the most. Times are seconds
of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bounds of a lane. `max_age_s`: what is older is not delivered any more; `retry_*_s`: the back-off doubles between them."""

    max_waiting: int = 256
    max_bytes: int = 16 * 1024 * 1024
    max_attempts: int = 8
    max_age_s: float = 3600.0
    retry_min_s: float = 0.5
    retry_max_s: float = 60.0


NOTICE = Limits()
"""Messages to people and to other programs: late is better than never, for an hour."""
ACTION = Limits(
    max_waiting=8, max_bytes=65536, max_attempts=4, max_age_s=2.0, retry_min_s=0.05, retry_max_s=0.5
)
"""Signals to machines: an ejector that strikes late strikes the wrong part."""
RECORD = Limits(max_waiting=1024, max_attempts=8, max_age_s=600.0, retry_min_s=0.2, retry_max_s=10.0)
"""Rows and lines to be kept."""


@dataclass(eq=False)
class Parcel:
    """Something to deliver. `attempts` so far."""

    body: Any
    size_bytes: int
    offered_mono: float
    attempts: int = 0


@dataclass
class Figures:
    """Counters of a lane since it was made. accepted = delivered + dropped + expired + dead + waiting.

    `dropped`: gave way because the lane was full; `expired`: too old; `dead`: refused by the other side or tried too often.
    `throttled`: held back by the cool-down and never accepted. `failing`: the last attempt failed.
    """

    accepted: int = 0
    delivered: int = 0
    retried: int = 0
    throttled: int = 0
    dropped: int = 0
    expired: int = 0
    dead: int = 0
    waiting: int = 0
    failing: bool = False
    error: str = ""


class Lane:
    """The parcels of one sink. At most one is under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.figures = Figures()
        self._waiting: deque[Parcel] = deque()
        self._under_way: Parcel | None = None
        self._bytes = 0
        self._not_before_mono = 0.0

    def __len__(self) -> int:
        return len(self._waiting) + (self._under_way is not None)

    def offer(self, parcel: Parcel) -> list[Parcel]:
        """Accept a parcel; those that had to give way, which may be itself."""
        self.figures.accepted += 1
        self._waiting.append(parcel)
        self._bytes += parcel.size_bytes
        dropped = []
        while self._waiting and self._over():
            dropped.append(self._forget_oldest())
        self.figures.dropped += len(dropped)
        return self._told(dropped)

    def _over(self) -> bool:
        """One parcel alone may be larger than all together: a picture of many megapixels is delivered as well."""
        return len(self) > self.limits.max_waiting or (self._bytes > self.limits.max_bytes and len(self) > 1)

    def _forget_oldest(self) -> Parcel:
        parcel = self._waiting.popleft()
        self._bytes -= parcel.size_bytes
        return parcel

    def _told(self, parcels: list[Parcel]) -> list[Parcel]:
        self.figures.waiting = len(self)
        return parcels

    def due_mono(self) -> float | None:
        """When the next parcel may be taken; None while nothing waits, or one is under way."""
        if self._under_way is not None or not self._waiting:
            return None
        return self._not_before_mono

    def expire(self, at_mono: float) -> list[Parcel]:
        """Give up what has become too old."""
        expired = []
        while self._waiting and at_mono - self._waiting[0].offered_mono > self.limits.max_age_s:
            expired.append(self._forget_oldest())
        self.figures.expired += len(expired)
        return self._told(expired)

    def take(self, at_mono: float) -> Parcel | None:
        """The parcel to deliver now; it is under way until `delivered` or `failed` is called. Expire first."""
        due = self.due_mono()
        if due is None or due > at_mono:
            return None
        self._under_way = self._waiting.popleft()
        self._under_way.attempts += 1
        return self._under_way

    def delivered(self) -> None:
        """The parcel under way has arrived."""
        self._settle()
        self.figures.delivered += 1
        self.figures.failing, self.figures.error = False, ""

    def failed(self, at_mono: float, message: str, *, again: bool, spread: float) -> bool:
        """The parcel under way did not arrive; True where it waits to be tried `again`.

        `spread` is random, 0 to 1: the wait is that share of its upper half, so that many devices do not return as one.
        """
        parcel = self._under_way
        assert parcel is not None
        self.figures.failing, self.figures.error = True, message
        if not again or parcel.attempts >= self.limits.max_attempts:
            self._settle()
            self.figures.dead += 1
            return False
        self.figures.retried += 1
        self._under_way = None
        self._waiting.appendleft(parcel)
        self._not_before_mono = at_mono + self.wait_s(parcel.attempts) * (0.5 + spread / 2)
        return True

    def wait_s(self, attempts: int) -> float:
        """The longest wait after so many attempts."""
        return float(min(self.limits.retry_max_s, self.limits.retry_min_s * 2.0 ** (attempts - 1)))

    def abandon(self) -> list[Parcel]:
        """Give up all that waits: the process ends."""
        dropped = list(self._waiting)
        self._waiting.clear()
        self.figures.dropped += len(dropped)
        self._bytes = self._under_way.size_bytes if self._under_way else 0
        return self._told(dropped)

    def _settle(self) -> None:
        if self._under_way is not None:
            self._bytes -= self._under_way.size_bytes
        self._under_way = None
        self._not_before_mono = 0.0
        self.figures.waiting = len(self)


class Cooldown:
    """Lets one pass in so many seconds. The time may be a video's."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def passes(self, at_s: float, cooldown_s: float) -> bool:
        """Whether something may be sent now; if so the time runs anew. A clock that was set back does not block."""
        if self._last_s is not None and 0 <= at_s - self._last_s < cooldown_s:
            return False
        self._last_s = at_s
        return True
