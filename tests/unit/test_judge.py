"""Holding counts against the truth of a rendered scene."""

from __future__ import annotations

from typing import Any

from outrider.demo.judge import Crossing, counted_crossings, judge, true_crossings


def cap(frame: int, name: str = "good", y_px: float = 100.0) -> Crossing:
    return Crossing(frame, y_px, name)


def test_a_cap_crosses_in_the_first_frame_in_which_its_centre_is_beyond_the_line() -> None:
    frames = [[{"id": 7, "class": "dented", "box": [x, 80, x + 20, 100]}] for x in (430, 450, 459, 461, 480)]
    assert true_crossings({"frames": frames}, 470.0) == [Crossing(3, 90.0, "dented")]


def test_counts_are_read_from_the_events_in_the_order_of_frames() -> None:
    def event(frame: int, crossed: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "frame_seq": frame,
            "models": {"caps/1": "d"},
            "outputs": {"crossed": {"predictions": crossed}},
        }

    events = [
        event(30, [{"y": 5.0, "class": "good"}]),
        event(20, [{"y": 6.0, "class": "dented"}]),
        event(25, []),
    ]
    assert [(c.frame, c.name, c.model) for c in counted_crossings(events, "caps/1")] == [
        (20, "dented", "d"),
        (30, "good", "d"),
    ]


def test_each_version_answers_for_the_caps_of_its_time_but_not_for_those_in_sight_at_the_swap() -> None:
    truth = [cap(50, "no_liner"), cap(110, "no_liner"), cap(170, "no_liner")]
    counted = [cap(51, "good"), cap(110, "good"), cap(171, "no_liner")]
    judgement = judge(truth, counted, 300, 100)
    first, second = judgement.versions
    assert (first.caps, first.missed()) == ({"no_liner": 1}, {"no_liner": 1})
    assert (second.caps, second.missed()) == ({"no_liner": 1}, {"no_liner": 0})
    assert second.recall("no_liner") == 1.0
    assert second.recall("dented") is None
    assert (judgement.true_caps, judgement.counted, judgement.count_error) == (3, 3, 0.0)


def test_a_cap_counted_twice_or_never_is_an_error_of_the_count() -> None:
    twice = judge([cap(50)], [cap(50), cap(54)], 200, None)
    assert twice.count_error == 1.0
    never = judge([cap(50), cap(80)], [cap(50)], 200, None)
    assert never.count_error == 0.5


def test_one_count_serves_one_cap_only_and_the_nearer_one() -> None:
    truth = [cap(50, "dented", 100.0), cap(50, "good", 250.0)]
    counted = [cap(51, "good", 250.0), cap(49, "dented", 100.0)]
    verdict = judge(truth, counted, 200, None).versions[0]
    assert verdict.rejected == {"dented": 1}


def test_good_caps_that_are_rejected_are_told() -> None:
    verdict = judge([cap(50)], [cap(50, "scratched")], 200, None).versions[0]
    assert verdict.rejected == {"good": 1}
    assert verdict.missed() == {}
