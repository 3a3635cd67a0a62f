"""How fast a download may be and has to be. Pure: the clock comes in."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import Transient
from wire.reasons import Reason


@dataclass(frozen=True)
class Speed:
    """`max_bytes_s` 0 is no limit. Below `min_bytes_s` over `slow_s` seconds a download is broken off."""

    max_bytes_s: float = 0.0
    min_bytes_s: float = 1024.0
    slow_s: float = 60.0


class Pace:
    """Of one transfer, begun at `at_mono`."""

    def __init__(self, speed: Speed, at_mono: float) -> None:
        self._speed = speed
        self._begun_mono = self._window_mono = at_mono
        self._bytes = self._window_bytes = 0

    def took(self, count: int, at_mono: float) -> float:
        """`count` bytes have come; for how many seconds to wait before more is read.

        :raises Transient: too little has come for too long
        """
        self._bytes += count
        self._window_bytes += count
        self._judge(at_mono)
        if not self._speed.max_bytes_s:
            return 0.0
        return max(0.0, self._bytes / self._speed.max_bytes_s - (at_mono - self._begun_mono))

    def _judge(self, at_mono: float) -> None:
        for_s = at_mono - self._window_mono
        if for_s < self._speed.slow_s:
            return
        wanted = min(self._speed.min_bytes_s, self._speed.max_bytes_s or self._speed.min_bytes_s) * for_s
        # A limit of ours makes the sender slow: half of it is enough.
        if self._window_bytes < wanted / 2:
            raise Transient(
                Reason.SLOW_RETRIEVAL,
                f"{self._window_bytes} bytes in {for_s:.0f} s, less than {self._speed.min_bytes_s:.0f} a second are wanted",
            )
        self._window_mono, self._window_bytes = at_mono, 0
