"""Whether a camera is to be watched now: its active hours in its time zone."""

from __future__ import annotations

from datetime import datetime, tzinfo

from runtime.errors import SourceRefused
from wire.camera import ActiveHours
from wire.reasons import Reason


class Timetable:
    """Without windows every minute is active."""

    def __init__(self, hours: ActiveHours) -> None:
        """:raises SourceRefused: the time zone is not known here"""
        self._windows = hours.windows
        self._zone = _zone(hours.timezone) if hours.timezone and hours.windows else None

    def active(self, at_wall: float) -> bool:
        """Whether the minute of this time (seconds since the epoch) is an active one."""
        if not self._windows:
            return True
        local = datetime.fromtimestamp(at_wall, self._zone)
        minute = local.hour * 60 + local.minute
        return any(window.holds(local.weekday(), minute) for window in self._windows)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as e:
        raise SourceRefused(
            Reason.INVALID_FIELD,
            f"hours.timezone {name!r} is not known on this device; name one such as Europe/Berlin, or install tzdata",
        ) from e
