"""The clocks and the random ids of the agent, as parameters. Liveness uses `mono`, always."""

from __future__ import annotations

import ctypes
import time
import uuid
from pathlib import Path
from typing import Protocol

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMEX_BYTES = 512
"""More than sizeof(struct timex) on every Linux; with modes 0 the kernel only writes to it."""
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""


class Clock(Protocol):
    """Where times come from."""

    def mono(self) -> float:
        """Seconds of CLOCK_MONOTONIC, which all processes of a boot share."""

    def wall(self) -> float:
        """Seconds since the epoch, as far as the machine knows."""

    def synced(self) -> bool:
        """Whether the wall clock is synchronised."""

    def boot_id(self) -> str:
        """The id of this boot; monotonic times of two boots cannot be compared."""


class SystemClock:
    """The clocks of the machine. `assume_synced` is for machines whose clock is kept right by other means than NTP."""

    def __init__(self, *, assume_synced: bool = False) -> None:
        self._assume_synced = assume_synced
        try:
            self._boot_id = BOOT_ID.read_text().strip()
        except OSError:
            self._boot_id = uuid.uuid4().hex

    def mono(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def synced(self) -> bool:
        return self._assume_synced or _kernel_synced()

    def boot_id(self) -> str:
        return self._boot_id


def _kernel_synced() -> bool:
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    state: int = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR


def unique_id() -> str:
    """An id that is never given twice."""
    return uuid.uuid4().hex
