"""Whether it is an update's turn: its maintenance windows, and the lock that an application on the device may hold for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.update.ground import Time
from agent.update.journal import Document
from agent.update.wishes import wishes
from wire import windows

WINDOW_S = 5.0
LOCK_S = 0.5
"""How often the windows and the lock are looked at."""


class Turn:
    """Of one update. `held` names the application whose lock holds updates back, or is empty."""

    def __init__(self, document: Document, time: Time, held: Callable[[], str], device: str) -> None:
        self._wishes = wishes(document.json())
        self._time = time
        self._held = held
        self._late_s = windows.delay_s(self._wishes.jitter_s, f"{device} {document.revision}")
        self._deferred_s = 0.0

    def is_now(self) -> bool:
        """Whether a window is open and no lock counts."""
        return self._in_window() and not self._locked()

    async def until_now(self) -> None:
        """Wait for both; the caller sets the deadline."""
        while not self.is_now():
            await self._pause(LOCK_S if self._in_window() else WINDOW_S)

    async def until_free(self) -> None:
        """Wait for the lock only, at most as long as it may still defer."""
        while self._locked():
            await self._pause(LOCK_S)

    def _in_window(self) -> bool:
        asked = self._wishes
        if not asked.windows:
            return True
        if not self._time.synced():
            return False
        return windows.is_open(asked.windows, self._time.wall(), zone(asked.time_zone), self._late_s)

    def _locked(self) -> bool:
        return bool(self._held()) and self._deferred_s < self._wishes.lock_deferral_s

    async def _pause(self, pause_s: float) -> None:
        before_mono, held = self._time.mono(), bool(self._held())
        await self._time.pause(pause_s)
        if held:
            self._deferred_s += self._time.mono() - before_mono


def zone(name: str) -> tzinfo:
    """The zone called so; the device's own where the name is empty.

    :raises ValueError: no zone is called so on this device
    """
    if not name:
        local = datetime.now().astimezone().tzinfo
        try:
            return ZoneInfo("localtime")
        except (ZoneInfoNotFoundError, ValueError):
            return local or timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(
            f"no time zone is called {name!r} on this device; expected e.g. Europe/Berlin"
        ) from e
