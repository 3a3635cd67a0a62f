"""Updates that go wrong by what they bring, and cuts in the middle of them: real agent, broker, engine and pipeline, a real video at live
pace.

Each test says how many frames have no result, how long there was none, which revision runs in the end, and what the control plane was
told. What is planted lies in the candidate's engine process alone (`tests/fakes/faulty.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device_kills import raising
from tests.fakes.agent_rig import until
from tests.fakes.mosquitto import PROGRAM
from tests.faults.device_stand import GATES, MODEL_ID, VIDEO, DeviceStand, at_work

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]
MIB = 1 << 20


@pytest.fixture(scope="module")
def stand(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path], assets: Path
) -> Iterator[DeviceStand]:
    directory = tmp_path_factory.mktemp("faults")
    with at_work(directory, packages["nanodet_m_320"], assets / VIDEO, silent_s=4.0) as stand:
        yield stand


def figures(reported: dict[str, Any]) -> tuple[float, float]:
    """Figure and limit of the gate, as the control plane was told."""
    phase = reported["update"]["phases"]["probation"]
    return phase["figure"], phase["limit"]


def test_an_engine_that_dies_at_its_load_is_refused_and_nothing_notices(stand: DeviceStand) -> None:
    stand.push(stand.model("dies", {"crash_at": 0}))
    reported = stand.ended("REJECTED", reason="engine-down", pause_s=1.5)
    assert "while loading" in reported["message"]


@pytest.mark.long
def test_an_engine_that_hangs_at_its_load_is_given_up_and_nothing_notices(stand: DeviceStand) -> None:
    stand.push(stand.model("hangs", {"hang_at": 0}), settings={"prepare_deadline_s": 3.0})
    stand.ended("REJECTED", reason="prepare-timeout", pause_s=1.5)
    until(lambda: len(stand.made.children("runtime.model.process")) == 1)


def test_an_engine_that_dies_at_its_hundredth_run_is_taken_back(stand: DeviceStand) -> None:
    model = stand.model("dies at 100", {"crash_at": 100})
    stand.push(model, gates={**GATES, "min_frames": 150})
    reported = stand.ended(
        "ROLLED_BACK", reason="probation-failed", gate="engine-restarts", lost=30, pause_s=5.0
    )
    assert figures(reported) == (1.0, 0.0)
    assert model in reported["update"]["quarantined"]
    assert stand.made.status()["health"]["cameras"]["door"]["models"] == {MODEL_ID: stand.good}


@pytest.mark.long
def test_an_engine_that_hangs_at_work_is_taken_back(stand: DeviceStand) -> None:
    stand.push(stand.model("hangs at 40", {"hang_at": 40}), gates={**GATES, "min_frames": 300})
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", lost=120, pause_s=12.0)
    assert reported["update"]["phases"]["probation"]["gate"] in ("engine-restarts", "inference-errors")


@pytest.mark.long
def test_an_engine_whose_outputs_are_no_numbers_is_taken_back(stand: DeviceStand) -> None:
    stand.push(stand.model("no numbers", {"nan_from": 40}), gates={**GATES, "min_frames": 150})
    reported = stand.ended(
        "ROLLED_BACK", reason="probation-failed", gate="inference-errors", lost=60, pause_s=6.0
    )
    assert figures(reported)[0] > figures(reported)[1]


@pytest.mark.long
def test_an_engine_that_finds_nothing_any_more_is_taken_back_and_no_frame_is_lost(stand: DeviceStand) -> None:
    """Its answers are there, and empty: no error tells of it, only what the former model sees in the same pictures."""
    stand.push(stand.model("finds nothing", {"nothing_from": 20}), gates={**GATES, "min_frames": 400})
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", gate="empty-output")
    assert figures(reported)[0] >= figures(reported)[1]


@pytest.mark.long
def test_an_engine_that_leaks_is_taken_back(stand: DeviceStand) -> None:
    gates = {**GATES, "min_frames": 300, "memory_bytes": 20 * MIB}
    stand.push(stand.model("leaks", {"leak_bytes": 3 * MIB}), gates=gates)
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", gate="memory")
    assert figures(reported)[0] > figures(reported)[1] >= 20 * MIB


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_engine_that_is_slower_by_two_fifths_is_taken_back_and_an_equal_one_is_not(
    stand: DeviceStand,
) -> None:
    """However busy the machine is: the processor's time of a run counts, against the former engine's in the same seconds."""
    gates = {"min_frames": 350, "patience_s": 90, "off": ["frame-rate"]}
    stand.push(stand.model("equal"), gates=gates)
    stand.ended("COMMITTED", timeout_s=150.0)
    stand.push(stand.model("slower", {"slower": 0.4}), gates=gates)
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", gate="latency", timeout_s=150.0)
    assert figures(reported)[0] > figures(reported)[1]


def test_a_workflow_that_fails_on_every_frame_is_taken_back_and_no_frame_is_lost(stand: DeviceStand) -> None:
    stand.push(workflow=raising(stand.workflow), gates={**GATES, "min_frames": 150})
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", gate="step-errors")
    assert figures(reported)[0] > figures(reported)[1]


@pytest.mark.long
def test_two_updates_that_race_end_with_the_newer_one_and_no_frame_is_lost(stand: DeviceStand) -> None:
    first = stand.push(stand.model("racing"))
    stand.push(stand.model("racing too"), again=True)
    stand.ended("COMMITTED")
    ends = {d["phase"] for d in stand.made.observer.of("reported") if d["offered"] == first}
    assert ends & {"REJECTED", "COMMITTED"}
    until(lambda: len(stand.made.children("runtime.model.process")) == 1)


@pytest.mark.long
def test_a_downgrade_is_a_new_revision_that_fetches_nothing_it_has(stand: DeviceStand) -> None:
    former = stand.model("before the downgrade")
    stand.commits(former)
    stand.commits(stand.model("newer"))
    requests = len(stand.made.plane.requests)
    stand.push(former)
    reported = stand.ended("COMMITTED")
    assert [swap["frames_lost"] for swap in reported["swaps"]] == [0]
    assert len(stand.made.plane.requests) == requests


@pytest.mark.long
def test_power_lost_three_times_in_probation_brings_the_former_revision_back(stand: DeviceStand) -> None:
    model = stand.model("cut")
    stand.push(model, probation_s=600.0, probation_deadline_s=3600.0)
    stand.phase("PROBATION")
    for start in range(3):
        stand.made.kill()
        stand.made.start()
        stand.phase("ROLLED_BACK" if start == 2 else "PROBATION")
    reported = stand.ended("ROLLED_BACK", reason="starts-without-commit", lost=3, pause_s=60.0)
    assert model in reported["update"]["quarantined"]


def test_the_same_model_under_another_name_is_taken(stand: DeviceStand) -> None:
    stand.push(stand.model("the same"), gates={"min_frames": 60, "off": ["latency", "frame-rate"]})
    reported = stand.ended("COMMITTED")
    assert reported["swaps"][0]["frames_lost"] == 0
    assert reported["swaps"][0]["gap_ms"] > 0
    assert reported["update"]["phases"]["probation"]["warnings"] == []
