"""A clock that stands still until it is told to go on."""

from __future__ import annotations


class ManualClock:
    def __init__(self, mono: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._mono = mono
        self._wall = wall
        self.is_synced = True

    def advance(self, seconds: float) -> None:
        self._mono += seconds
        self._wall += seconds

    def mono(self) -> float:
        return self._mono

    def wall(self) -> float:
        return self._wall

    def synced(self) -> bool:
        return self.is_synced

    def boot_id(self) -> str:
        return "boot"
