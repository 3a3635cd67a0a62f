"""The lock by which an application on the device holds updates back: a lease that ends by itself, so that a crashed one holds nothing."""

from __future__ import annotations

from agent.clock import Clock
from agent.errors import Refused
from wire.reasons import Reason

MAX_LEASE_S = 3600.0
MAX_NAME_CHARS = 64


class Lease:
    """Held by one application at a time; whoever holds it may renew it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holder = ""
        self._until_mono = 0.0

    def take(self, holder: str, lease_s: float) -> float:
        """Hold updates back for so long, or longer by a renewal; the seconds until it ends.

        :raises Refused: another application holds it, or this is no lease
        """
        if not holder or len(holder) > MAX_NAME_CHARS or not holder.isprintable():
            raise Refused(
                Reason.INVALID_FIELD, f"holder: a name of 1 to {MAX_NAME_CHARS} characters is expected"
            )
        if not 0 < lease_s <= MAX_LEASE_S:
            raise Refused(
                Reason.INVALID_FIELD, f"seconds: more than 0 and at most {MAX_LEASE_S:.0f} are expected"
            )
        if (other := self.holder()) and other != holder:
            raise Refused(
                Reason.NAME_TAKEN,
                f"{other!r} holds the lock for {self.left_s():.0f} s more; wait, or let it give back",
            )
        self._holder, self._until_mono = holder, self._clock.mono() + lease_s
        return lease_s

    def give_back(self, holder: str) -> bool:
        """Whether it was held by this one."""
        if self.holder() != holder:
            return False
        self._until_mono = 0.0
        return True

    def holder(self) -> str:
        """Who holds it now; empty for nobody."""
        return self._holder if self.left_s() > 0 else ""

    def left_s(self) -> float:
        return max(0.0, self._until_mono - self._clock.mono())
