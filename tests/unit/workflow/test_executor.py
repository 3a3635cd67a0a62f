from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.results import NoAnswer
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.serialise import to_json
from runtime.workflow.values import VideoMetadata
from tests.unit.workflow.definitions import FakeEngine, counting, picture, result
from wire.reasons import Reason


def executor(engine: Any, document: dict[str, Any] | None = None) -> Executor:
    return Executor(compile_definition(document or counting()), {"m": engine})


def test_filter_count_and_expression_follow_the_model() -> None:
    engine = FakeEngine(result(0.9, 0.8, 0.7, 0.6, class_ids=[0, 0, 1, 0]))
    outcome = executor(engine).run({"image": picture()})
    assert outcome.errors == {}
    assert outcome.outputs[0]["count"] == 3
    assert outcome.outputs[0]["verdict"] == "crowd"
    assert set(outcome.step_times_us) == {"model", "people", "count", "crowd"}


def test_outputs_become_an_inference_response() -> None:
    outcome = executor(FakeEngine(result(0.5))).run({"image": picture()})
    people = to_json(outcome.outputs[0])["people"]
    assert people["image"] == {"width": 64, "height": 48}
    first = people["predictions"][0]
    assert (first["x"], first["y"], first["width"], first["height"]) == (5.0, 5.0, 10.0, 10.0)
    assert (first["class"], first["class_id"], first["confidence"]) == ("person", 0, 0.5)
    assert len(first["detection_id"]) == 36


def test_no_answer_of_the_model_is_not_an_empty_scene() -> None:
    outcome = executor(FakeEngine(NoAnswer(Reason.ENGINE_DOWN, "gone"))).run({"image": picture()})
    assert outcome.no_answer == NoAnswer(Reason.ENGINE_DOWN, "gone")
    assert outcome.outputs == [{"people": None, "count": None, "verdict": None}]
    empty = executor(FakeEngine(result())).run({"image": picture()})
    assert empty.no_answer is None
    assert empty.outputs[0]["count"] == 0


def test_the_model_is_asked_when_a_run_begins() -> None:
    engine = FakeEngine(result(0.9))
    one = executor(engine)
    first = one.begin({"image": picture()})
    second = one.begin({"image": picture()})
    assert engine.asked == [1, 1]
    assert first.ready()
    assert first.finish(1.0).outputs[0]["count"] == second.finish(1.0).outputs[0]["count"] == 1


def test_a_model_that_is_late_makes_the_frame_blind() -> None:
    run = executor(FakeEngine(result(0.9), held=True)).begin({"image": picture()})
    assert not run.ready()
    outcome = run.finish(0.0)
    assert outcome.no_answer is not None
    assert outcome.no_answer.reason is Reason.ENGINE_TIMEOUT


def test_a_batch_is_asked_about_together() -> None:
    engine = FakeEngine(result(0.9), result(0.9, 0.8))
    outcome = executor(engine).run({"image": [picture(), picture()]})
    assert engine.asked == [2]
    assert [o["count"] for o in outcome.outputs] == [1, 2]


def test_a_model_that_is_not_bound_is_told_and_blind() -> None:
    outcome = Executor(compile_definition(counting()), {}).run({"image": picture()})
    assert "no engine is bound to model 'm'" in outcome.errors["model"]
    assert outcome.no_answer is not None


def test_a_failing_step_degrades_its_own_branch_only() -> None:
    document = counting()
    document["steps"][2]["operations"] = [{"type": "StringToLowerCase"}]
    outcome = executor(FakeEngine(result(0.9)), document).run({"image": picture()})
    assert list(outcome.errors) == ["count"]
    assert outcome.outputs[0]["count"] is None
    assert len(outcome.outputs[0]["people"]) == 1


@pytest.mark.parametrize("given", [{}, {"image": "x"}, {"image": []}])
def test_wrong_inputs_are_told_and_do_not_raise(given: dict[str, Any]) -> None:
    outcome = executor(FakeEngine(result(0.9))).run(given)
    assert "$inputs.image" in outcome.errors


def test_predictions_for_drawing_are_those_of_the_step() -> None:
    document = counting()
    document["steps"][0]["confidence"] = 0.5
    outcome = executor(FakeEngine(result(0.9, 0.3)), document).run({"image": picture()})
    assert len(outcome.predictions["model"]) == 1
    assert outcome.predictions["model"].labels == ("person", "car")


def limiting(cooldown_s: float) -> dict[str, Any]:
    document = counting()
    document["steps"].append(
        {
            "type": "roboflow_core/rate_limiter@v1",
            "name": "limit",
            "cooldown_seconds": cooldown_s,
            "depends_on": "$steps.count.output",
            "video_reference_image": "$inputs.image",
            "next_steps": ["$steps.crowd"],
        }
    )
    return document


def frame(number: int) -> dict[str, Any]:
    metadata = VideoMetadata("door", number, 0.0, 10.0, True)
    return {"image": replace(picture(), metadata=metadata)}


def test_state_of_an_unchanged_step_outlives_a_new_definition() -> None:
    engine = FakeEngine(result(0.9))
    old = executor(engine, limiting(1.0))
    assert old.run(frame(1)).outputs[0]["verdict"] == "quiet"
    changed = limiting(1.0)
    changed["steps"][1]["operations"] = []
    new = executor(engine, changed)
    assert "limit" in new.adopt(old)
    assert "people" not in new.adopt(old)
    assert new.run(frame(2)).outputs[0]["verdict"] is None


def test_a_step_with_another_configuration_starts_anew() -> None:
    engine = FakeEngine(result(0.9))
    old = executor(engine, limiting(1.0))
    old.run(frame(1))
    new = executor(engine, limiting(2.0))
    assert "limit" not in new.adopt(old)
    assert new.run(frame(2)).outputs[0]["verdict"] == "quiet"
