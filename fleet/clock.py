"""The clock and the random ids of the control plane, as parameters."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Where times come from."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def mono(self) -> float:
        """Seconds of a clock that never steps; for deadlines."""


class SystemClock:
    """The clocks of the machine."""

    def wall(self) -> float:
        return time.time()

    def mono(self) -> float:
        return time.monotonic()


class Ids(Protocol):
    """Where ids and secrets come from."""

    def unique(self) -> str:
        """An id that is never given twice; letters, digits and '-' only."""

    def secret(self) -> str:
        """256 random bits, URL-safe."""


class RandomIds:
    """Ids and secrets of the operating system's random generator."""

    def unique(self) -> str:
        return str(uuid.uuid4())

    def secret(self) -> str:
        return secrets.token_urlsafe(32)
