from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.camera.hours import Timetable
from runtime.errors import SourceRefused
from wire.camera import DAY_MIN, DAYS, ActiveHours, Window


def wall(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def test_hours_hold_in_the_time_zone_they_name() -> None:
    table = Timetable(ActiveHours("Europe/Berlin", [Window("08:00", "18:00", ["mon"])]))
    # 2026-06-01 is a Monday, Berlin two hours ahead; 2026-11-30 another one, one hour ahead.
    assert table.active(wall("2026-06-01T06:00"))
    assert not table.active(wall("2026-06-01T05:59"))
    assert not table.active(wall("2026-11-30T06:30"))
    assert table.active(wall("2026-11-30T07:00"))
    assert not table.active(wall("2026-12-01T07:00"))


def test_a_night_reaches_into_the_next_day() -> None:
    table = Timetable(ActiveHours("UTC", [Window("22:00", "06:00", ["fri"])]))
    assert table.active(wall("2026-06-05T23:00"))
    assert table.active(wall("2026-06-06T05:59"))
    assert not table.active(wall("2026-06-06T23:00"))


def test_without_windows_it_is_always_on() -> None:
    assert Timetable(ActiveHours()).active(0.0)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(SourceRefused, match="Mars"):
        Timetable(ActiveHours("Mars/Olympus", [Window("08:00", "18:00")]))


@pytest.mark.parametrize("text", ["8", "24:01", "12:60", "12:5", "-1:00", "a:b", ""])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM"):
        Window(text, "12:00")


@given(
    st.integers(0, DAY_MIN - 1), st.integers(0, DAY_MIN - 1), st.integers(0, 6), st.integers(0, DAY_MIN - 1)
)
def test_a_window_and_its_complement_never_hold_at_once(begin: int, end: int, day: int, minute: int) -> None:
    if begin == end:
        return
    text = [f"{m // 60:02}:{m % 60:02}" for m in (begin, end)]
    window, rest = Window(text[0], text[1], list(DAYS)), Window(text[1], text[0], list(DAYS))
    assert window.holds(day, minute) != rest.holds(day, minute)
