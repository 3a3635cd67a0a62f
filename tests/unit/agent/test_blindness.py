from __future__ import annotations

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from agent.blindness import CameraLedger, LastHour
from wire.local import PipelineStats
from wire.reasons import Reason


def stats(**changes: object) -> PipelineStats:
    zero = PipelineStats(
        0, 0, {}, {}, 0.0, 0.0, 0.0, {}, "", 0.0, 0.0, 0.0, 0, 0, {}, {}, {}, {}, "", 1
    )  # fmt: skip
    return dataclasses.replace(zero, **changes)  # type: ignore[arg-type]


def watched(first: float, last: float, **changes: object) -> PipelineStats:
    return stats(first_result_mono=first, last_result_mono=last, frames=10, results=10, **changes)


def test_time_until_the_first_result_is_starting() -> None:
    ledger = CameraLedger(100.0)
    assert ledger.blind_now(101.0) == ("starting", 1.0)
    ledger.told(watched(102.5, 103.0))
    assert ledger.totals().blind_s == {"starting": 2.5}
    assert ledger.blind_now(104.0) is None


def test_a_camera_that_cannot_be_opened_is_the_cause_of_its_start() -> None:
    ledger = CameraLedger(100.0)
    ledger.told(stats(blind_cause="camera-unreachable", blind_since_mono=100.5))
    ledger.told(watched(110.0, 110.0))
    assert ledger.totals().blind_s == {"camera-unreachable": 10.0}


def test_the_gap_between_processes_reaches_from_last_to_first_result() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 50.0))
    ledger.process_ended(Reason.PIPELINE_DOWN, 50.4)
    assert ledger.blind_now(51.0) == ("pipeline-down", 1.0)
    ledger.told(stats(frames=0))
    ledger.told(watched(52.0, 53.0))
    assert ledger.totals().blind_s == {"starting": 1.0, "pipeline-down": 2.0}


def test_the_first_cause_of_a_gap_stays() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 50.0, blind_cause="camera-lost", blind_since_mono=50.0))
    ledger.process_ended(Reason.PIPELINE_HUNG, 60.0)
    ledger.process_ended(Reason.PIPELINE_DOWN, 61.0)
    ledger.told(watched(70.0, 70.0))
    assert ledger.totals().blind_s["camera-lost"] == 20.0


def test_counters_are_summed_and_frames_cut_short_have_their_cause() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(
        stats(frames=12, results=9, skipped={"fps-limit": 1}, first_result_mono=1.0, last_result_mono=2.0)
    )
    ledger.process_ended(Reason.PIPELINE_DOWN, 3.0)
    ledger.told(watched(4.0, 5.0))
    totals = ledger.totals()
    assert (totals.frames, totals.results) == (22, 19)
    assert totals.no_answer == {"pipeline-down": 2}
    assert totals.frames == totals.results + sum(totals.no_answer.values()) + sum(totals.skipped.values())


def test_the_death_of_the_agent_is_counted_on_the_same_boot() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 50.0))
    back = CameraLedger.from_json(ledger.to_json(), 55.0, same_boot=True)
    back.told(watched(56.0, 57.0))
    assert back.totals().blind_s == {"starting": 1.0, "agent-down": 6.0}
    assert back.totals().results == 20


def test_of_another_boot_only_the_counters_hold() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 5000.0))
    back = CameraLedger.from_json(ledger.to_json(), 20.0, same_boot=False)
    back.told(watched(22.0, 23.0))
    assert back.totals().blind_s == {"starting": 3.0}


def test_a_file_at_its_end_is_not_blind() -> None:
    ledger = CameraLedger(0.0)
    ledger.camera_ended()
    assert ledger.blind_now(10.0) is None


def test_a_replacement_counts_only_the_gap_nobody_watched() -> None:
    old, new = CameraLedger(0.0), CameraLedger(40.0)
    old.told(watched(1.0, 50.0))
    new.told(watched(45.0, 50.0))
    new.succeed(old)
    assert new.totals().blind_s == {"starting": 1.0}
    assert new.totals().results == 20


def test_a_replacement_without_a_result_goes_on_from_the_last_of_the_old_one() -> None:
    old, new = CameraLedger(0.0), CameraLedger(40.0)
    old.told(watched(1.0, 50.0))
    new.succeed(old)
    new.told(watched(53.0, 54.0))
    assert new.totals().blind_s == {"starting": 4.0}


@given(st.lists(st.tuples(st.floats(0.1, 50), st.floats(0.1, 50), st.booleans()), min_size=1, max_size=8))
def test_watched_and_blind_time_add_up_whatever_happens(lives: list[tuple[float, float, bool]]) -> None:
    at = 0.0
    watched_s = 0.0
    ledger = CameraLedger(0.0)
    for wait_s, live_s, restart in lives:
        first = at + wait_s
        at = first + live_s
        ledger.told(watched(first, at))
        watched_s += live_s
        ledger.process_ended(Reason.PIPELINE_DOWN, at)
        if restart:
            ledger = CameraLedger.from_json(ledger.to_json(), at, same_boot=True)
    blind_s = sum(ledger.totals().blind_s.values())
    assert abs(watched_s + blind_s - at) < 1e-6


def test_a_replacement_of_a_camera_that_was_blind_ends_that_blindness_under_its_cause() -> None:
    old, new = CameraLedger(0.0), CameraLedger(40.0)
    old.told(stats(blind_cause="camera-password", blind_since_mono=1.0))
    new.told(watched(45.0, 50.0))
    new.succeed(old)
    assert new.totals().blind_s == {"camera-password": 45.0}
    later = CameraLedger(52.0)
    new.told(watched(45.0, 50.0, blind_cause="camera-lost", blind_since_mono=50.0))
    later.succeed(new)
    assert later.blind_now(70.0) == ("camera-lost", 20.0)


def test_an_hour_holds_what_was_blind_while_the_agent_was_down() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 10_000.0))
    ledger.process_ended(Reason.AGENT_RESTARTING, 10_000.4)
    back = CameraLedger.from_json(json.loads(json.dumps(ledger.to_json())), 10_006.0, same_boot=True)
    hour = LastHour()
    hour.begin(back, 10_006.0)
    assert hour.read(back, 10_008.0) == {"agent-restarting": 8.0}
    back.told(watched(10_009.0, 10_010.0))
    assert hour.read(back, 10_010.0) == {"agent-restarting": 9.0}
    assert back.totals().blind_s == {"starting": 1.0, "agent-restarting": 9.0}
    assert hour.read(back, 10_000.0 + 3700.0) == {}


def test_an_hour_holds_no_more_than_the_end_of_a_long_absence() -> None:
    ledger = CameraLedger(0.0)
    ledger.told(watched(1.0, 1000.0))
    back = CameraLedger.from_json(json.loads(json.dumps(ledger.to_json())), 21_000.0, same_boot=True)
    hour = LastHour()
    hour.begin(back, 21_000.0)
    assert hour.read(back, 21_000.0) == {"agent-down": 3600.0}
    back.told(watched(21_010.0, 21_020.0))
    assert 1740.0 <= hour.read(back, 21_010.0 + 1800.0)["agent-down"] <= 1800.0
