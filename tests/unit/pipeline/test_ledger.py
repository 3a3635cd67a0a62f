"""The books of a camera: exactly one outcome a frame, blind time with its cause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.pipeline.ledger import Ledger
from wire.reasons import Reason

OUTCOMES = st.lists(st.sampled_from(["result", "engine-down", "engine-timeout", "skip"]), max_size=60)


@given(OUTCOMES)
def test_every_frame_has_exactly_one_outcome(outcomes: list[str]) -> None:
    ledger = Ledger(0.0)
    for number, outcome in enumerate(outcomes, 1):
        ledger.frames_seen(number, {"latest-frame-wins": 1} if outcome == "skip" else {})
        if outcome == "result":
            ledger.result(number - 0.05, number)
        elif outcome != "skip":
            ledger.unanswered(Reason(outcome), number)
    assert ledger.in_flight == 0
    assert ledger.results + sum(ledger.no_answer.values()) + sum(ledger.skipped.values()) == len(outcomes)


@given(OUTCOMES)
def test_booked_blind_time_never_exceeds_the_time_since_the_first_result(outcomes: list[str]) -> None:
    ledger = Ledger(0.0)
    for number, outcome in enumerate(outcomes, 1):
        if outcome == "result":
            ledger.result(number, number)
        elif outcome != "skip":
            ledger.unanswered(Reason(outcome), number)
    assert sum(ledger.blind_s.values()) <= len(outcomes)


def test_blind_time_reaches_from_the_last_result_to_the_next_under_its_first_cause() -> None:
    ledger = Ledger(0.0)
    ledger.result(0.9, 1.0)
    ledger.unanswered(Reason.ENGINE_DOWN, 1.5)
    ledger.blind(Reason.CAMERA_LOST, 3.0)
    ledger.result(3.9, 4.0)
    assert ledger.blind_s == {"engine-down": 3.0}
    assert ledger.blind_cause == ""


def test_time_before_the_first_result_is_shown_but_not_booked() -> None:
    ledger = Ledger(10.0)
    assert (ledger.blind_cause, ledger.blind_since_mono) == ("starting", 10.0)
    ledger.blind(Reason.CAMERA_UNREACHABLE, 11.0)
    assert (ledger.blind_cause, ledger.blind_since_mono) == ("camera-unreachable", 10.0)
    ledger.result(11.9, 12.0)
    assert ledger.blind_s == {}
    assert ledger.first_result_mono == 12.0


def test_a_file_at_its_end_is_not_blind() -> None:
    ledger = Ledger(0.0)
    ledger.result(0.9, 1.0)
    ledger.ended()
    assert ledger.blind_cause == ""


def test_rates_cover_the_last_ten_seconds_only() -> None:
    ledger = Ledger(0.0)
    for i in range(300):
        ledger.result(i / 10, i / 10 + (0.2 if i < 100 else 0.02))
    rates = ledger.rates(30.0)
    assert 9.5 <= rates.fps <= 10.5
    assert rates.latency_p95_ms == 20.0


def test_the_last_frames_of_an_ended_file_leave_nobody_blind() -> None:
    ledger = Ledger(0.0)
    ledger.result(1.0, 1.0)
    ledger.ended()
    ledger.unanswered(Reason.ENGINE_DOWN, 2.0)
    assert ledger.no_answer == {"engine-down": 1}
    assert ledger.blind_cause == ""


def test_results_of_a_frozen_picture_do_not_count_as_watching() -> None:
    ledger = Ledger(0.0)
    ledger.result(1.0, 1.0)
    ledger.result(5.0, 5.0)
    ledger.veil(Reason.PICTURE_FROZEN, 2.0, 5.5)
    ledger.result(6.0, 6.0)
    assert (ledger.blind_cause, ledger.blind_since_mono) == ("picture-frozen", 2.0)
    ledger.veil(None, 0.0, 8.0)
    assert ledger.blind_s == {"picture-frozen": 6.0}
    assert ledger.blind_cause == ""


def test_a_veil_after_a_loss_has_its_own_time() -> None:
    ledger = Ledger(0.0)
    ledger.result(1.0, 1.0)
    ledger.blind(Reason.CAMERA_LOST, 3.0)
    ledger.veil(Reason.PICTURE_BLACK, 2.0, 3.0)
    ledger.result(4.0, 4.0)
    ledger.veil(None, 0.0, 9.0)
    assert ledger.blind_s == {"camera-lost": 3.0, "picture-black": 5.0}


def test_off_by_plan_ends_blind_time_and_on_begins_it_anew() -> None:
    ledger = Ledger(0.0)
    ledger.result(1.0, 1.0)
    ledger.blind(Reason.CAMERA_LOST, 2.0)
    ledger.off(5.0)
    ledger.blind(Reason.CAMERA_LOST, 6.0)
    assert ledger.blind_s == {"camera-lost": 4.0}
    assert ledger.blind_cause == ""
    ledger.on(20.0)
    ledger.result(21.0, 22.0)
    assert ledger.blind_s == {"camera-lost": 4.0, "starting": 2.0}


@given(st.lists(st.sampled_from(["result", "lost", "freeze", "thaw", "off", "on"]), max_size=60))
def test_blind_time_never_overlaps(events: list[str]) -> None:
    ledger, at = Ledger(0.0), 0.0
    for at, event in enumerate(events, 1):
        if event == "result":
            ledger.result(at, at)
        elif event == "lost":
            ledger.blind(Reason.CAMERA_LOST, at)
        elif event == "freeze":
            ledger.veil(Reason.PICTURE_FROZEN, at - 3.0, at)
        elif event == "thaw":
            ledger.veil(None, 0.0, at)
        elif event == "off":
            ledger.off(at)
        else:
            ledger.on(at)
    open_s = at - ledger.blind_since_mono if ledger.blind_cause else 0.0
    assert sum(ledger.blind_s.values()) + open_s <= at + 1e-9
