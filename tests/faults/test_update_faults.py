"""Models that go wrong once they serve: the device notices, goes back by itself, and says by which gate.

Real processes: the agent, a broker, an engine, a pipeline on a real video at live pace. What is planted lies in the candidate's engine
process alone (`tests/fakes/faulty.py`); the last good revision serves before and after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agent_rig import ROOT, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]
MODEL_ID = "people/1"
WORKFLOW = ROOT / "examples" / "workflows" / "count_people.json"
VIDEO = "video/one-by-one-person-detection.mp4"
ROLLBACK_BUDGET_S = 5.0
MIB = 1 << 20


def files(package: Path, fault: dict[str, Any] | None = None) -> dict[str, bytes]:
    """A package's files, with something planted."""
    found = {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
    return found | ({"fault.json": json.dumps(fault).encode()} if fault else {})


class Stand:
    """One camera on a detector that works, and pushes of others."""

    def __init__(self, made: Rig, package: Path, video: Path) -> None:
        self.made = made
        self.package = package
        self.video = video
        self.workflow = made.plane.add_workflow(json.loads(WORKFLOW.read_bytes()))
        self.good = made.plane.add_model(files(package))
        self.revision = 0

    def push(self, model: str, **gates: Any) -> int:
        self.revision += 1
        update = {"shadow_s": 0, "probation_s": 2, "gates": {"min_frames": 150, "patience_s": 60, **gates}}
        self.made.push(
            self.revision,
            cameras={"door": {"source": str(self.video), "pace": "realtime", "loop": True}},
            models={"m": {"digest": model}},
            workflows={"w": {"digest": self.workflow}},
            pipelines={"p": {"camera": "door", "workflow": "w", "models": {MODEL_ID: "m"}}},
            settings={"health_s": 1.0, "update": update},
        )
        return self.revision

    def serve(self, seconds: float = 0.0) -> None:
        """Have the good one at work for this long."""
        revision = self.push(self.good)
        self.made.observer.reported("COMMITTED", revision, 90.0)
        wanted = self.results() + 10 * seconds
        until(lambda: self.results() >= wanted, 60.0 + seconds)

    def results(self) -> int:
        return int(self.made.status()["health"]["cameras"]["door"]["results"])

    def planted(self, fault: dict[str, Any], **gates: Any) -> dict[str, Any]:
        """Push the same model with something planted; what is reported once it is taken back."""
        self.push(self.made.plane.add_model(files(self.package, fault)), **gates)
        return self.made.observer.reported("ROLLED_BACK", self.revision, 90.0)

    def rollback_s(self) -> float:
        """From the verdict until the former revision was at work again, as the device told."""
        at = {
            body["data"]["phase"]: body["at"]
            for topic, body in self.made.observer.messages
            if topic.endswith("/reported") and body["data"]["offered"] == self.revision
        }
        return float(at["ROLLED_BACK"] - at["ROLLING_BACK"])

    def check_back(self, reported: dict[str, Any]) -> None:
        """The former revision serves again, and the update's end is whole."""
        print(f"rolled back in {self.rollback_s():.2f} s")
        assert self.rollback_s() < ROLLBACK_BUDGET_S
        assert reported["reason"] == "probation-failed"
        assert reported["revision"] < self.revision
        assert reported["update"]["quarantined"]
        before = self.results()
        until(lambda: self.results() >= before + 5, 30.0)
        assert self.made.status()["health"]["cameras"]["door"]["models"] == {MODEL_ID: self.good}


@pytest.fixture
def stand(tmp_path: Path, packages: dict[str, Path], assets: Path) -> Iterator[Stand]:
    with rig(tmp_path, real=True, silent_s=10.0, stop_s=5.0, switch_deadline_s=20.0) as made:
        made.children_script = [str(ROOT / "tests/fakes/faulty.py")]
        made.start()
        stand = Stand(made, packages["nanodet_m_320"], assets / VIDEO)
        stand.serve()
        yield stand
        print(made.log.read_text()[-5000:])


def gate_of(reported: dict[str, Any]) -> tuple[str, float, float]:
    """Gate, figure and limit, as the control plane was told."""
    phase = reported["update"]["phases"]["probation"]
    return phase["gate"], phase["figure"], phase["limit"]


def test_an_engine_that_answers_no_numbers_or_dies_at_its_hundredth_run(stand: Stand) -> None:
    reported = stand.planted({"nan_from": 40})
    gate, figure, limit = gate_of(reported)
    assert gate == "inference-errors"
    assert figure > limit
    stand.check_back(reported)

    reported = stand.planted({"crash_at": 100})
    assert gate_of(reported) == ("engine-restarts", 1.0, 0.0)
    stand.check_back(reported)


@pytest.mark.long
def test_an_engine_that_leaks_or_is_slower_by_two_fifths(stand: Stand) -> None:
    stand.serve(25.0)
    reported = stand.planted({"slower": 0.6})
    gate, figure, limit = gate_of(reported)
    assert gate == "latency"
    assert figure > limit
    stand.check_back(reported)

    reported = stand.planted({"leak_bytes": 2 * MIB}, min_frames=600)
    gate, figure, limit = gate_of(reported)
    assert gate == "memory"
    assert figure > limit >= 64 * MIB
    stand.check_back(reported)


def test_the_same_model_again_is_taken(stand: Stand) -> None:
    """A package with another name for the same bytes: nothing of it is different."""
    twin = stand.made.plane.add_model(files(stand.package, {"nothing": 1}))
    revision = stand.push(twin, min_frames=60)
    reported = stand.made.observer.reported("COMMITTED", revision, 90.0)
    assert reported["swaps"][0]["frames_lost"] == 0
    assert reported["update"]["phases"]["probation"]["warnings"] == []
