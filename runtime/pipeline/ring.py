"""The last seconds of a camera as compressed pictures, bounded in time and in bytes. Pure: every time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Still:
    """A picture as it may leave, JPEG; the times are of capture."""

    captured_mono: float
    captured_wall: float
    jpeg: bytes


class Ring:
    """Holds what is younger than `seconds`, as far as `max_bytes` reach; the oldest gives way. `squeezed` counts what gave way to
    the bytes before its time."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._stills: deque[Still] = deque()
        self.bytes = 0
        self.squeezed = 0

    def __len__(self) -> int:
        return len(self._stills)

    def add(self, still: Still) -> None:
        """Take in the newest picture; one that alone is too large is left out."""
        while self._stills and self._stills[0].captured_mono < still.captured_mono - self._seconds:
            self._drop()
        if len(still.jpeg) > self._max_bytes:
            self.squeezed += 1
            return
        self._stills.append(still)
        self.bytes += len(still.jpeg)
        while self.bytes > self._max_bytes:
            self._drop()
            self.squeezed += 1

    def between(self, from_mono: float, to_mono: float) -> list[Still]:
        """The pictures of this time, oldest first."""
        return [still for still in self._stills if from_mono <= still.captured_mono <= to_mono]

    def _drop(self) -> None:
        self.bytes -= len(self._stills.popleft().jpeg)
