"""The jury over a device of fakes: what it collects, what it asks for, when it is content."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent import reconcile
from agent.jury import BASELINE_FILE, DeviceJury
from agent.observer import Observer
from agent.update.ground import Go, Refusal, Wait
from tests.unit.agent.clocks import ManualClock
from wire import local
from wire.desired import Desired

GOOD, OTHER, FLOW = ("sha256:" + digit * 64 for digit in "123")


def document(revision: int, model: str, **gates: Any) -> Desired:
    return Desired.model_validate(
        {
            "device": "d",
            "revision": revision,
            "issued_at": 1.0,
            "cameras": {"door": {"source": "/videos/door.mp4"}},
            "models": {"m": {"digest": model}},
            "workflows": {"w": {"digest": FLOW}},
            "pipelines": {"p": {"camera": "door", "workflow": "w", "models": {"any/1": "m"}}},
            "settings": {"update": {"probation_s": 2.0, "gates": {"min_frames": 30, **gates}}},
        }
    )


class Pipeline:
    """A pipeline unit that tells ten frames a second."""

    def __init__(self, spec: reconcile.PipelineSpec) -> None:
        self.spec = spec
        self.up = True
        self.refused = None
        self.state = "ok"
        self.camera = local.CameraState("streaming")
        self.relief = SimpleNamespace(share=1.0)
        self.compared: local.Compared | None = None
        self.keeper = SimpleNamespace(restarts=0, pid=7)
        self.ends_by_camera = 0
        self.ledger = SimpleNamespace(
            totals=lambda: SimpleNamespace(no_answer={}, results=self.frames, step_errors={})
        )
        self.stats: Any = None
        self.orders: list[local.Compare] = []
        self.ended: list[str] = []
        self.frames = 0
        self.asked = 0

    def second(self, revision: int, model: str, *, objects: int = 20) -> None:
        self.frames += 10
        self.asked += 10
        n = self.asked
        sight = local.Sight(
            n,
            0 if objects else n,
            0 if objects else n,
            {},
            [0] * 15 + [objects * n // 10],
            {},
            {"26": n},
            True,
        )
        self.stats = local.PipelineStats(
            self.frames, self.frames, {}, {}, 10.0, 20.0, 22.0, {}, "", 0.0, 1.0, 1.0, 0, 0, {}, {}, {},
            {"any/1": model}, FLOW, revision, sight=sight,
        )  # fmt: skip

    def compare(self, order: local.Compare) -> None:
        self.orders.append(order)

    def end_comparison(self, ticket: str) -> None:
        self.ended.append(ticket)


class Stand:
    """A device on the good model, and its jury; a second is a second of the fake clock."""

    def __init__(self, state_dir: Path) -> None:
        self.clock = ManualClock()
        self.running = document(1, GOOD)
        self.layout = reconcile.layout(self.running)
        self.pipeline = Pipeline(self.layout.pipelines["p"])
        self.device = SimpleNamespace(
            pipelines={"p": self.pipeline},
            engines={key: self.engine(spec) for key, spec in self.layout.engines.items()},
            model_bindings=lambda spec: {
                model_id: local.ModelBinding(use.name, use.digest, f"/run/e-{use.engine}")
                for model_id, use in spec.uses
            },
        )
        machine = SimpleNamespace(celsius=None, foreign_cpu=0.0, read=lambda *_: None)
        observer = Observer(
            cast("Any", self.device), cast("Any", self.clock), state_dir, cast("Any", machine)
        )
        self.jury = DeviceJury(cast("Any", self.device), observer, state_dir)

    def engine(self, spec: reconcile.EngineSpec) -> Any:
        keeper = SimpleNamespace(restarts=0, pid=8)
        return SimpleNamespace(spec=spec, state="ok", message="", keeper=keeper, stats=None)

    def run(self, seconds: int, revision: int, model: str, **more: Any) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.pipeline.second(revision, model, **more)
            self.jury.tick(self.clock.mono())

    def switch(self, desired: Desired) -> None:
        self.jury.before(desired, self.running)
        layout = reconcile.layout(desired)
        self.pipeline.spec = layout.pipelines["p"]
        self.pipeline.asked = 0
        self.device.engines |= {key: self.engine(spec) for key, spec in layout.engines.items()}

    def judged(self, desired: Desired, seconds: int, **more: Any) -> Go | Wait | Refusal:
        verdict: Go | Wait | Refusal = Wait()
        for second in range(1, seconds + 1):
            self.run(1, desired.revision, desired.models["m"].digest, **more)
            verdict = self.jury.judge(desired, float(second))
            if not isinstance(verdict, Wait):
                break
        return verdict


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    made = Stand(tmp_path)
    made.run(60, 1, GOOD)
    return made


def test_a_like_model_is_taken_once_enough_frames_are_judged(stand: Stand) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    first = stand.judged(desired, 2)
    assert isinstance(first, Wait)
    assert "frames are judged" in first.why
    assert isinstance(stand.judged(desired, 10), Go)
    assert stand.pipeline.ended == ["w2"]


def test_the_former_engine_is_asked_to_look_on(stand: Stand) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    stand.judged(desired, 1)
    (order,) = stand.pipeline.orders
    former = dict(stand.layout.pipelines["p"].uses)["any/1"]
    assert order.models["any/1"].digest == GOOD
    assert order.models["any/1"].socket.endswith(former.engine)


def test_a_blind_model_is_told_by_gate_figure_and_limit_and_it_alone_is_suspect(stand: Stand) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    stand.judged(desired, 1, objects=0)
    likeness = local.Likeness(compared=40, other_sure=30, live_blank=30, other_scores=[9] * 16)
    stand.pipeline.compared = local.Compared("w2", False, 0, {"any/1": likeness})
    refusal = stand.judged(desired, 10, objects=0)
    assert isinstance(refusal, Refusal)
    assert (refusal.gate, refusal.figure, refusal.limit) == ("empty-output", 1.0, 0.9)
    assert refusal.suspects == (OTHER,)
    assert "empty-output of p: 1 against a limit of 0.9" in refusal.message


def test_a_model_that_finds_nothing_is_waited_for_and_not_for_ever(stand: Stand) -> None:
    desired = document(2, OTHER, patience_s=20)
    stand.switch(desired)
    assert isinstance(stand.judged(desired, 9, objects=0), Wait)
    verdict = stand.judged(desired, 60, objects=0)
    assert isinstance(verdict, Go)
    assert "nothing has been found since the switch" in verdict.note


def test_a_camera_that_was_dark_before_and_is_dark_now_holds_nothing_up(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.pipeline.camera = local.CameraState("lost")
    stand.pipeline.second(1, GOOD)
    stand.pipeline.asked = -10
    desired = document(2, OTHER)
    stand.switch(desired)
    stand.pipeline.asked = -10
    stand.pipeline.second(2, OTHER)
    assert isinstance(stand.jury.judge(desired, 20.0), Go)
    watching = Stand(tmp_path / "watching")
    watching.run(60, 1, GOOD)
    watching.switch(desired)
    watching.pipeline.camera = local.CameraState("lost")
    assert isinstance(watching.jury.judge(desired, 20.0), Wait)


@pytest.mark.parametrize(("by_camera", "gate"), [(3, ""), (1, "pipeline-restarts")])
def test_a_camera_that_hangs_its_process_is_no_fault_of_the_change(
    stand: Stand, by_camera: int, gate: str
) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    stand.pipeline.keeper.restarts, stand.pipeline.ends_by_camera = 3, by_camera
    verdict = stand.judged(desired, 12)
    assert (verdict.gate if isinstance(verdict, Refusal) else "") == gate


def test_figures_of_another_revisions_comparison_are_passed_over(stand: Stand) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    likeness = local.Likeness(compared=40, other_sure=30, live_blank=30, other_scores=[9] * 16)
    stand.pipeline.compared = local.Compared("s2", True, 0, {"any/1": likeness})
    assert isinstance(stand.judged(desired, 10), Go)


def test_after_a_start_in_the_middle_the_baseline_is_read_again(stand: Stand, tmp_path: Path) -> None:
    desired = document(2, OTHER)
    stand.switch(desired)
    kept = json.loads((tmp_path / BASELINE_FILE).read_text())
    assert kept["revision"] == 2
    assert len(kept["baselines"]["p"]["recent"]) > 5
    again = Stand(tmp_path)
    again.pipeline.spec = reconcile.layout(desired).pipelines["p"]
    again.run(1, 2, OTHER)
    again.jury.judge(desired, 1.0)
    assert again.jury._subjects["p"].baseline.enough
    assert again.pipeline.orders == [], "the former engine is not there any more"
