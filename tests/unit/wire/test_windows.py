"""Maintenance windows in the device's time zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.update import turn
from wire import windows

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = {"days": ["sat", "sun"], "start": "22:00", "end": "04:00"}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("window", "when", "open_"),
    [
        ({"start": "02:00", "end": "04:00"}, "2026-11-25T02:00", True),
        ({"start": "02:00", "end": "04:00"}, "2026-11-25T04:00", False),
        ({"days": ["wed"], "start": "02:00", "end": "04:00"}, "2026-11-25T03:00", True),
        ({"days": ["thu"], "start": "02:00", "end": "04:00"}, "2026-11-25T03:00", False),
        (NIGHT, "2026-11-28T23:00", True),  # Saturday
        (NIGHT, "2026-11-30T03:59", True),  # Monday morning belongs to Sunday's window
        (NIGHT, "2026-11-28T03:00", False),  # Saturday morning would be Friday's
        ({"days": ["sun"], "start": "00:00", "end": "00:00"}, "2026-11-29T17:00", True),
        ({"cron": "30 2 * * sat", "minutes": 90}, "2026-11-28T03:59", True),
        ({"cron": "30 2 * * sat", "minutes": 90}, "2026-11-28T04:00", False),
        ({"cron": "*/20 1-3 1,15 * *", "minutes": 5}, "2026-11-15T02:44", True),
        ({"cron": "*/20 1-3 1,15 * *", "minutes": 5}, "2026-11-15T02:46", False),
        (
            {"cron": "0 0 1 * 7", "minutes": 1},
            "2026-11-29T00:00",
            True,
        ),  # day or weekday, where both are limited
    ],
)
def test_a_window_is_open_when_it_says_so(window: dict[str, object], when: str, open_: bool) -> None:
    windows.check(window)
    assert windows.is_open([window], at(when), BERLIN) is open_


def test_without_a_window_it_is_always_time() -> None:
    assert windows.is_open([], at("2026-11-25T12:00"), BERLIN)


def test_the_window_follows_the_clocks_change() -> None:
    early = {"start": "02:00", "end": "03:00"}
    spring = datetime(
        2026, 3, 29, 0, 30, tzinfo=ZoneInfo("UTC")
    )  # 01:30 in Berlin; at 02:00 it becomes 03:00
    opened = [
        minute
        for minute in range(120)
        if windows.is_open([early], (spring + timedelta(minutes=minute)).timestamp(), BERLIN)
    ]
    assert opened == []
    assert windows.is_open([early], at("2026-10-25T02:30"), BERLIN)


def test_jitter_holds_a_device_back_and_spreads_devices() -> None:
    window = {"start": "02:00", "end": "04:00"}
    shares = [windows.delay_s(3600, f"device {n}") for n in range(200)]
    assert all(0 <= share < 3600 for share in shares)
    assert max(shares) - min(shares) > 3000
    assert windows.delay_s(3600, "device 7") == shares[7]
    assert not windows.is_open([window], at("2026-11-25T02:10"), BERLIN, delay_s=1200)
    assert windows.is_open([window], at("2026-11-25T02:20"), BERLIN, delay_s=1200)


@pytest.mark.parametrize(
    "window",
    [
        {"start": "2 o'clock", "end": "04:00"},
        {"start": "02:00", "end": "24:00"},
        {"days": ["someday"], "start": "02:00", "end": "04:00"},
        {"cron": "0 2 * *", "minutes": 5},
        {"cron": "61 2 * * *", "minutes": 5},
        {"cron": "0 2 * * someday", "minutes": 5},
        {"cron": "0 2 * * *", "minutes": 0},
        {"cron": "*/0 2 * * *", "minutes": 5},
    ],
)
def test_nonsense_is_no_window(window: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|is no|cron"):
        windows.check(window)


def test_a_zone_that_the_device_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="Nowhere/City"):
        turn.zone("Nowhere/City")
    assert turn.zone("") is not None
