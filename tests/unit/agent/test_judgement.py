"""The gates and the verdict, on figures made by hand; how they do on real scenes is measured by `benchmarks/gates.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.judgement.baseline import Baseline
from agent.judgement.blocks import Block, between, joined, latency_ms, recent
from agent.judgement.evidence import Evidence, Machine, Memory, Pairs, of_witness
from agent.judgement.gates import Measure, blind_limit, doubt, empty_limit, measure
from agent.judgement.verdict import Judge
from agent.observer import EngineBook
from wire.drift import class_psi, psi
from wire.gates import Gates
from wire.local import Likeness, Sight

SCORES = (0,) * 12 + (5, 5, 5, 5)
MIB = 1 << 20


def block(span_s: float = 1.0, asked: int = 10, **changes: object) -> Block:
    """A good second: ten frames, two objects in each, 20 ms."""
    usual = Block(
        span_s, asked, asked, scores=SCORES, classes={"person": 20}, latency={26: asked}, counted=True
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


BASELINE = Baseline(tuple(block(5.0, 50) for _ in range(24)))


def gates(
    evidence: Evidence, baseline: Baseline = BASELINE, limits: Gates | None = None
) -> dict[str, Measure]:
    return {each.gate: each for each in measure(evidence, baseline, limits or Gates()) if each.breached}


def seconds(count: int, **changes: object) -> tuple[Block, ...]:
    return tuple(block(**changes) for _ in range(count))  # type: ignore[arg-type]


def test_the_same_again_breaks_no_gate() -> None:
    assert (
        gates(
            Evidence(seconds(40), {"m": Pairs(90, 90, 0, SCORES, SCORES)}, memory={"e": Memory((MIB,) * 20)})
        )
        == {}
    )


def test_frames_without_an_answer() -> None:
    assert set(gates(Evidence(seconds(2, unanswered=5)))) == {"inference-errors"}
    assert gates(Evidence(seconds(1, unanswered=10))) == {}, "ten frames are too few"
    careless = Baseline(tuple(block(5.0, 50, unanswered=20) for _ in range(24)))
    assert gates(Evidence(seconds(2, unanswered=5)), careless) == {}, "the former model did no better"


def test_an_engine_that_ended_once_is_enough() -> None:
    assert set(gates(Evidence(seconds(1), restarts=1))) == {"engine-restarts"}


def test_a_model_that_sees_nothing_where_the_former_is_sure() -> None:
    blind = Pairs(25, 20, 20, SCORES, (0,) * 16)
    assert gates(Evidence(seconds(5), {"m": blind}))["empty-output"].figure == 1.0
    assert "empty-output" not in gates(Evidence(seconds(5), {"m": replace(blind, former_sure=19)}))
    assert "empty-output" not in gates(Evidence(seconds(5), {"m": replace(blind, new_blank=10)})), (
        "it misses some"
    )


def test_a_witness_is_read_the_right_way_round() -> None:
    pairs = of_witness(
        Likeness(compared=9, other_sure=7, live_blank=6, live_scores=[1] * 16, other_scores=[2] * 16)
    )
    assert (pairs.former_sure, pairs.new_blank, sum(pairs.new_scores), sum(pairs.former_scores)) == (
        7,
        6,
        16,
        32,
    )


def test_without_the_former_model_an_empty_scene_is_measured_by_the_stretches_of_the_baseline() -> None:
    walks = Baseline(tuple(block(5.0, 50, empty=20, stretches=(20,)) for _ in range(24)))
    limit = empty_limit(walks)
    assert limit is not None
    assert 100 <= limit <= 200
    long = Baseline(tuple(block(5.0, 50, empty=40, stretches=(40 * 3,)) for _ in range(24)))
    assert (empty_limit(long) or 0) > 3 * limit
    assert empty_limit(Baseline(tuple(block(5.0, 50) for _ in range(24)))) is None, "it never was empty"


def test_nothing_from_the_first_frame_on_is_caught_where_the_scene_never_was_empty() -> None:
    limit = blind_limit(BASELINE)
    assert limit == 100
    blind = tuple(replace(b, run=10 * (n + 1)) for n, b in enumerate(seconds(11, scores=(0,) * 16, empty=10)))
    assert set(gates(Evidence(blind))) == {"empty-output"}
    assert gates(Evidence(blind[:10])) == {}
    short = Baseline(tuple(block(5.0, 50) for _ in range(6)))
    assert blind_limit(short) is None, "half a minute says too little"


def test_a_model_that_has_found_nothing_yet_is_in_doubt_where_something_was_found_before() -> None:
    empty = tuple(replace(b, run=10 * (n + 1)) for n, b in enumerate(seconds(3, scores=(0,) * 16, empty=10)))
    assert doubt(Evidence(empty), BASELINE)
    assert doubt(Evidence(empty), Baseline()) == ""
    assert doubt(Evidence(empty, {"m": Pairs(9, 5, 5, SCORES)}), Baseline())
    assert doubt(Evidence((*empty, block())), BASELINE) == ""


def test_a_lower_rate_is_the_models_doing_only_where_the_camera_gives_frames() -> None:
    assert set(gates(Evidence(seconds(20, asked=7, delivered=10)))) == {"frame-rate"}
    assert gates(Evidence(seconds(20, asked=7, delivered=7))) == {}, "the camera itself gives less"
    pulled = replace(BASELINE, pulled=True)
    assert set(gates(Evidence(seconds(20, asked=7, delivered=7)), pulled)) == {"frame-rate"}


def test_slower_by_two_fifths_is_caught_and_by_a_tenth_is_not() -> None:
    slow = {"latency": {28: 5, 29: 5}}  # 1.15 ** 2.5 = 1.42
    assert set(gates(Evidence(seconds(14, **slow)))) == {"latency"}
    assert gates(Evidence(seconds(14, latency={26: 4, 27: 6}))) == {}
    assert gates(Evidence(seconds(14, **slow)), limits=Gates(latency_ratio=2.0)) == {}
    busy = Machine(foreign_cpu_before=0.1, foreign_cpu=0.5)
    assert gates(Evidence(seconds(14, **slow), machine=busy)) == {}, "other programs took the processor"
    dear = Evidence(seconds(14, **slow), machine=busy, run_cpu_ms=28.0, former_run_cpu_ms=20.0)
    assert set(gates(dear)) == {"latency"}, "a run takes more of the processor's own time"
    assert gates(replace(dear, run_cpu_ms=24.0)) == {}
    always = Machine(foreign_cpu_before=0.8, foreign_cpu=0.8)
    assert gates(Evidence(seconds(14, **slow), machine=always)) == {}


def test_a_device_whose_latency_varies_by_itself_has_a_wider_limit() -> None:
    uneven = Baseline(tuple(block(5.0, 50, latency={26 + 6 * (n % 6 < 2): 50}) for n in range(24)))
    assert gates(Evidence(seconds(14, latency={28: 5, 29: 5})), uneven) == {}


def test_memory_that_grows_and_grows() -> None:
    leak = Memory(tuple(100 * MIB + 10 * MIB * n for n in range(9)))
    assert set(gates(Evidence(seconds(9), memory={"e": leak}))) == {"memory"}
    settled = Memory((100 * MIB, *((190 * MIB,) * 20)))
    assert gates(Evidence(seconds(9), memory={"e": settled})) == {}, "it has grown once"
    large = Memory(tuple(1000 * MIB + 10 * MIB * n for n in range(9)))
    assert gates(Evidence(seconds(9), memory={"e": large})) == {}, "less than a quarter"


def test_a_device_that_was_hot_before_is_not_the_models_fault() -> None:
    assert set(gates(Evidence(seconds(3), machine=Machine(60.0, 90.0)))) == {"temperature"}
    assert gates(Evidence(seconds(3), machine=Machine(84.0, 90.0))) == {}


def test_a_device_that_is_relieved_since_the_switch() -> None:
    assert set(gates(Evidence(seconds(3), machine=Machine(relief_before=1.0, relief=0.7)))) == {"throttling"}
    assert gates(Evidence(seconds(3), machine=Machine(relief_before=0.7, relief=0.7))) == {}


def test_drift_is_told_and_rolls_back_only_where_that_is_asked_for() -> None:
    shifted = Pairs(
        60, 60, 0, SCORES, (0,) * 6 + (10, 10) + (0,) * 8, {"person": 20, "dog": 9}, {"person": 20}
    )
    told = gates(Evidence(seconds(20), {"m": replace(shifted, former_scores=tuple(9 * s for s in SCORES))}))
    assert told == {}, "twenty objects are too few"
    many = replace(
        shifted, former_scores=tuple(9 * s for s in SCORES), new_scores=(0,) * 6 + (50, 50) + (0,) * 8
    )
    told = gates(Evidence(seconds(20), {"m": many}))
    assert set(told) == {"confidence", "class-mix"}
    assert not any(each.hard for each in told.values())
    strict = gates(Evidence(seconds(20), {"m": many}), limits=Gates(drift="roll-back"))
    assert all(each.hard for each in strict.values())


def test_gates_can_be_turned_off_by_name() -> None:
    assert gates(Evidence(seconds(1), restarts=1), limits=Gates(off=("engine-restarts",))) == {}


# --- the verdict ----------------------------------------------------------------------------------------------------------


def test_a_breach_has_to_last() -> None:
    judge = Judge()
    bad, good = Measure("frame-rate", 0.5, 0.8, True), Measure("frame-rate", 0.9, 0.8, False)
    assert judge.look("door", [bad], 0.0) is None
    assert judge.wavers
    assert judge.look("door", [good], 4.0) is None
    assert not judge.wavers
    assert judge.look("door", [bad], 5.0) is None
    breach = judge.look("door", [bad], 10.0)
    assert breach is not None
    assert str(breach).startswith("frame-rate of door: 0.5 against a limit of 0.8")


def test_a_soft_breach_is_a_warning_and_a_hard_one_goes_first() -> None:
    judge = Judge()
    soft, hard = (
        Measure("confidence", 3.0, 0.25, True, hard=False),
        Measure("engine-restarts", 1.0, 0.0, True),
    )
    for at_s in (0.0, 5.0):
        assert judge.look("door", [soft], at_s) is None
    assert [warning.gate for warning in judge.warnings] == ["confidence"]
    assert not judge.wavers
    breach = judge.look("door", [soft, hard], 6.0)
    assert breach is not None
    assert breach.gate == "engine-restarts"
    assert judge.figures()["door"]["confidence"] == {"figure": 3.0, "limit": 0.25}


# --- blocks and drift -----------------------------------------------------------------------------------------------------

HISTOGRAM = st.lists(st.integers(0, 500), min_size=16, max_size=16)


@given(HISTOGRAM, HISTOGRAM)
def test_psi_is_nothing_between_equals_and_never_negative(a: list[int], b: list[int]) -> None:
    assert psi(a, a) == 0.0
    assert psi(a, b) >= 0.0
    assert psi(a, b) == pytest.approx(psi(b, a))


def test_a_class_that_has_gone_is_a_large_change() -> None:
    assert class_psi({"a": 80, "b": 20}, {"a": 100}) > 0.25
    assert class_psi({"a": 80, "b": 20}, {"a": 79, "b": 21}) < 0.01


def test_between_two_tellings_is_what_happened_and_a_stretch_that_ended() -> None:
    before = Sight(10, 4, 4, {"model-nan": 1}, [1] * 16, {"a": 2}, {"3": 9}, True)
    after = Sight(20, 6, 1, {"model-nan": 3}, [2] * 16, {"a": 2, "b": 1}, {"3": 12, "4": 7}, True)
    seen = between(before, after, 1.0, 10)
    assert (seen.asked, seen.empty, seen.unanswered, seen.run, seen.stretches) == (10, 2, 2, 1, (4,))
    assert (seen.classes, seen.latency, sum(seen.scores)) == ({"b": 1}, {3: 3, 4: 7}, 16)
    assert between(before, replace(after, run=14), 1.0, 10).stretches == (), "the stretch goes on"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_blocks_joined_hold_what_they_held(counts: list[int]) -> None:
    whole = joined([block(1.0, count, classes={"a": count}) for count in counts])
    assert whole.asked == sum(counts)
    assert sum(whole.classes.values()) == sum(counts)
    assert whole.span_s == len(counts)


def test_the_newest_blocks_cover_the_time_and_the_frames_asked_for() -> None:
    row = seconds(10)
    assert recent(row, 3.0).span_s == 3.0
    assert recent(row, 1.0, frames=45).asked == 50


def test_a_latency_lies_within_its_bin() -> None:
    assert latency_ms({}, 0.95) is None
    low, high = latency_ms({26: 100}, 0.01), latency_ms({26: 100}, 1.0)
    assert low is not None
    assert high is not None
    assert 18.9 < low < high < 21.9


# --- what the observer makes of it ----------------------------------------------------------------------------------------


def test_processor_time_of_a_run_is_of_one_process_and_of_enough_runs() -> None:
    book = EngineBook()
    book.read(1, 10.0, 100)
    book.read(1, 10.4, 120)
    assert book.run_cpu_ms() is None, "twenty runs are too few"
    book.read(1, 11.0, 150)
    assert book.run_cpu_ms() == pytest.approx(20.0)
    book.read(2, 0.5, 10)
    assert book.run_cpu_ms() is None, "another process"


def test_on_a_busy_machine_the_processors_time_tells_against_the_former_models_in_the_same_seconds() -> None:
    busy = Machine(foreign_cpu_before=0.6, foreign_cpu=0.6)
    dear = Evidence(seconds(25), machine=busy, run_cpu_ms=28.0, witness_cpu_ms=20.0)
    breach = gates(dear)["latency"]
    assert (breach.figure, breach.limit) == (28.0, 26.0)
    assert gates(replace(dear, run_cpu_ms=25.0)) == {}
    assert gates(replace(dear, witness_cpu_ms=None)) == {}, "nobody looks on"
    assert gates(replace(dear, run_cpu_ms=1.9, witness_cpu_ms=1.0)) == {}, "a GPU does the work"
