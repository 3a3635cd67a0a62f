"""Maintenance windows: whether now is a time for updates, in the device's time zone. Pure; standard
library only.

A window is `{"days": ["sat", "sun"], "start": "02:00", "end": "04:00"}` (over midnight where the end is before the start; the day is
the one it starts on) or `{"cron": "30 2 * * sat", "minutes": 90}`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CRON_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
MAX_MINUTES = 24 * 60

Window = Mapping[str, Any]


def is_open(windows: Sequence[Window], at_wall: float, zone: tzinfo, delay_s: float = 0.0) -> bool:
    """Whether one of them is open, and has been for `delay_s`; without any it always is."""
    if not windows:
        return True
    return any(_open(window, at_wall, zone) and _open(window, at_wall - delay_s, zone) for window in windows)


def delay_s(jitter_s: float, key: str) -> float:
    """This device's share of the jitter: the same for a key each time it is asked, evenly spread over keys."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return jitter_s * share


def check(window: Window) -> None:
    """:raises ValueError: what is wrong with it"""
    if window.get("cron"):
        cron_fields(str(window["cron"]))
        if not 1 <= int(window.get("minutes") or 0) <= MAX_MINUTES:
            raise ValueError(f"minutes of a cron window are 1 to {MAX_MINUTES}")
        return
    _minutes(str(window.get("start", "")))
    _minutes(str(window.get("end", "")))
    if unknown := set(window.get("days") or DAYS) - set(DAYS):
        raise ValueError(f"{sorted(unknown)} are no days; expected some of {', '.join(DAYS)}")


def length_s(window: Window) -> float:
    """How long it is open."""
    if window.get("cron"):
        return float(window["minutes"]) * 60
    start, end = _minutes(window["start"]), _minutes(window["end"])
    return float((end - start) % MAX_MINUTES or MAX_MINUTES) * 60


def _open(window: Window, at_wall: float, zone: tzinfo) -> bool:
    at = datetime.fromtimestamp(at_wall, timezone.utc)
    if cron := window.get("cron"):
        fields = cron_fields(cron)
        starts = (at - timedelta(minutes=back) for back in range(int(window["minutes"])))
        return any(_matches(fields, start.astimezone(zone)) for start in starts)
    local = at.astimezone(zone)
    days = {DAYS.index(day) for day in window.get("days") or DAYS}
    start, end = _minutes(window["start"]), _minutes(window["end"])
    now = local.hour * 60 + local.minute
    if start == end:
        return local.weekday() in days
    if start < end:
        return local.weekday() in days and start <= now < end
    yesterday = (local.weekday() - 1) % 7
    return (local.weekday() in days and now >= start) or (yesterday in days and now < end)


def _minutes(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
        raise ValueError(f"{text!r} is no time of day; expected e.g. 02:30")
    return int(hour) * 60 + int(minute)


def cron_fields(text: str) -> tuple[frozenset[int], ...]:
    """The values that each of the five fields allows; in a sixth place whether day and weekday are both limited.

    :raises ValueError: it is no cron expression
    """
    parts = text.split()
    if len(parts) != len(CRON_FIELDS):
        raise ValueError(f"{text!r} has {len(parts)} fields; a cron expression has five, e.g. '0 2 * * sat'")
    allowed = [
        _field(part, low, high, name) for part, (name, low, high) in zip(parts, CRON_FIELDS, strict=True)
    ]
    allowed[4] = frozenset(day % 7 for day in allowed[4])
    both = parts[2] != "*" and parts[4] != "*"
    return (*allowed, frozenset({1}) if both else frozenset())


def _field(text: str, low: int, high: int, name: str) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _number(first, name)
            end = _number(last, name) if dash else (high if slash else start)
        if not (low <= start <= end <= high) or (slash and not (step.isdigit() and int(step))):
            raise ValueError(f"{item!r} is no {name} of a cron expression ({low} to {high})")
        values.update(range(start, end + 1, int(step) if slash else 1))
    return frozenset(values)


def _number(text: str, name: str) -> int:
    if name == "weekday" and text.lower() in CRON_DAYS:
        return CRON_DAYS.index(text.lower())
    return int(text) if text.isdigit() else -1


def _matches(fields: tuple[frozenset[int], ...], at: datetime) -> bool:
    minute, hour, day, month, weekday, both = fields
    if at.minute not in minute or at.hour not in hour or at.month not in month:
        return False
    by_day, by_weekday = at.day in day, (at.weekday() + 1) % 7 in weekday
    return (by_day or by_weekday) if both else (by_day and by_weekday)
