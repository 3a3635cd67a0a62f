"""Python that a definition brings: only where it is allowed, and as the original engine runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import WorkflowRefused
from runtime.workflow.check import check_file
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.permits import Code, Permits
from tests.unit.workflow.definitions import FakeEngine, picture, result
from wire.reasons import Reason

RUN = Permits(code=Code.RUN)


def block(
    run: str, inputs: dict[str, Any], outputs: list[str], init: str = "", **manifest: Any
) -> dict[str, Any]:
    made = {name: {"type": "DynamicOutputDefinition", "kind": []} for name in outputs}
    entries = {name: {"type": "DynamicInputDefinition", **spec} for name, spec in inputs.items()}
    code: dict[str, Any] = {"type": "PythonCode", "run_function_code": run}
    if init:
        code["init_function_code"] = init
    return {
        "type": "DynamicBlockDefinition",
        "manifest": {
            "type": "ManifestDescription",
            "block_type": "Mine",
            "inputs": entries,
            "outputs": made,
            **manifest,
        },
        "code": code,
    }


ANY = {"selector_types": ["step_output", "input_parameter"]}


def workflow(definition: dict[str, Any], step: dict[str, Any], *outputs: str) -> dict[str, Any]:
    return {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowParameter", "name": "by", "default_value": 3},
        ],
        "steps": [
            {
                "type": "ObjectDetectionModel",
                "name": "model",
                "images": "$inputs.image",
                "model_id": "m",
                "confidence": 0.1,
            },
            {"type": "Mine", "name": "mine", **step},
        ],
        "outputs": [{"type": "JsonField", "name": o, "selector": f"$steps.mine.{o}"} for o in outputs],
        "dynamic_blocks_definitions": [definition],
    }


def run(document: dict[str, Any], **inputs: Any) -> Outcome:
    engine = FakeEngine(result(0.9, 0.8), result(0.7))
    executor = Executor(compile_definition(document, permits=RUN), {"m": engine})
    return executor.run({"image": picture(), **inputs})


COUNTING = """
def run(self, predictions, by) -> BlockResult:
    self._init_results["calls"] += 1
    kept = predictions[predictions.confidence > 0.85]
    return {"kept": kept, "sum": len(predictions) * by, "calls": self._init_results["calls"]}
"""
COUNTER = block(
    COUNTING,
    {"predictions": ANY, "by": {**ANY, "value_types": ["integer"]}},
    ["kept", "sum", "calls"],
    "def init() -> Dict[str, Any]:\n    return {'calls': 0}",
)
COUNTED = workflow(
    COUNTER, {"predictions": "$steps.model.predictions", "by": "$inputs.by"}, "kept", "sum", "calls"
)


def test_code_runs_on_detections_of_supervision_and_gives_them_back() -> None:
    outcome = run(COUNTED)
    assert outcome.errors == {}
    (out,) = outcome.outputs
    assert out["sum"] == 6
    assert out["kept"].class_name.tolist() == ["person"]
    assert out["kept"].image_wh == (64, 48)
    assert len(out["kept"].detection_id[0]) == 36


def test_state_of_code_outlives_a_frame_and_an_equal_definition() -> None:
    engine = FakeEngine(result(0.9))
    first = Executor(compile_definition(COUNTED, permits=RUN), {"m": engine})
    first.run({"image": picture()})
    second = Executor(compile_definition(COUNTED, permits=RUN), {"m": engine})
    assert "mine" in second.adopt(first)
    assert second.run({"image": picture()}).outputs[0]["calls"] == 2


def test_code_is_refused_unless_it_is_permitted() -> None:
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(COUNTED)
    assert refused.value.reason is Reason.CODE_NOT_ALLOWED


def test_code_cannot_take_the_place_of_a_block() -> None:
    definition = block("def run(self):\n    return {}", {}, [])
    definition["manifest"]["block_type"] = "Expression"
    document = workflow(definition, {})
    document["steps"].pop()
    with pytest.raises(WorkflowRefused, match="is a block already"):
        compile_definition(document, permits=RUN)


def test_looking_at_a_definition_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    code = f"import os\nos.mkdir({str(trap)!r})\ndef run(self, predictions):\n    return {{}}"
    document = workflow(block(code, {"predictions": ANY}, []), {"predictions": "$steps.model.predictions"})
    graph = compile_definition(document, permits=Permits(code=Code.READ))
    assert graph.code == ("Mine",)
    assert not trap.exists()
    compile_definition(document, permits=RUN)
    assert trap.exists()


def test_problems_of_code_are_located() -> None:
    bad = block("def run(self:\n  pass", {"a b": ANY, "c": {}}, [])
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(workflow(bad, {}), permits=RUN)
    paths = {p.path for p in refused.value.problems}
    at = "dynamic_blocks_definitions[0]"
    assert {
        f"{at}.manifest.inputs.a b",
        f"{at}.manifest.inputs.c",
        f"{at}.code.run_function_code",
    } <= paths


def test_code_that_fails_degrades_its_branch() -> None:
    code = "def run(self, predictions):\n    raise ValueError('no')"
    document = workflow(
        block(code, {"predictions": ANY}, ["x"]), {"predictions": "$steps.model.predictions"}, "x"
    )
    outcome = run(document)
    assert outcome.errors == {"mine": "ValueError: no"}
    assert outcome.outputs == [{"x": None}]


def test_code_may_take_the_whole_batch() -> None:
    code = (
        "def run(self, predictions, by):\n"
        "    total = sum(len(p) for p in predictions)\n"
        "    return [{'x': [total, len(p), by, i]} for i, p in predictions.iter_with_indices()]"
    )
    definition = block(
        code, {"predictions": ANY, "by": ANY}, ["x"], batch_oriented_parameters=["predictions"]
    )
    document = workflow(definition, {"predictions": "$steps.model.predictions", "by": "$inputs.by"}, "x")
    outcome = run(document, image=[picture(), picture()])
    assert outcome.errors == {}
    assert [o["x"] for o in outcome.outputs] == [[3, 2, 3, (0,)], [3, 1, 3, (1,)]]


def test_code_may_make_pictures_of_a_picture() -> None:
    code = (
        "def run(self, image):\n"
        "    flipped = WorkflowImageData.copy_and_replace(image, numpy_image=image.numpy_image[::-1])\n"
        "    part = WorkflowImageData.create_crop(image, 'p', image.numpy_image[4:9, 2:6], offset_x=2, offset_y=4)\n"
        "    return [{'x': flipped}, {'x': part}]"
    )
    definition = block(
        code, {"image": {"selector_types": ["input_image"]}}, ["x"], output_dimensionality_offset=1
    )
    document = workflow(definition, {"image": "$inputs.image"}, "x")
    (out,) = run(document).outputs
    whole, part = out["x"]
    assert whole.wh == (64, 48)
    assert part.image.shape == (5, 4, 3)
    assert part.placed.root_xy == (2, 4)
    assert isinstance(part.image, np.ndarray)


def test_a_definition_with_code_is_refused_by_a_check_that_does_not_read_it(tmp_path: Path) -> None:
    import json

    file = tmp_path / "w.json"
    file.write_text(json.dumps(COUNTED))
    assert check_file(file).reason == Reason.CODE_NOT_ALLOWED.value
    assert check_file(file, Permits(code=Code.READ)).card["code"] == ["Mine"]


def nested(inner: dict[str, Any], *outer: dict[str, Any]) -> dict[str, Any]:
    """The workflow as a step of another one, which may bring blocks itself."""
    return {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowParameter", "name": "by", "default_value": 3},
        ],
        "steps": [
            {
                "type": "roboflow_core/inner_workflow@v1",
                "name": "within",
                "workflow_definition": inner,
                "parameter_bindings": {"image": "$inputs.image", "by": "$inputs.by"},
            }
        ],
        "outputs": [{"type": "JsonField", "name": "sum", "selector": "$steps.within.sum"}],
        "dynamic_blocks_definitions": list(outer),
    }


def test_code_of_an_inner_workflow_runs_where_that_of_an_outer_one_does() -> None:
    outcome = run(nested(nested(COUNTED)))
    assert outcome.errors == {}
    assert outcome.outputs == [{"sum": 6}]


def test_code_of_an_inner_workflow_is_refused_unless_it_is_permitted() -> None:
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(nested(nested(COUNTED)))
    assert refused.value.reason is Reason.CODE_NOT_ALLOWED
    (problem,) = refused.value.problems
    assert problem.path == (
        "steps.within.workflow_definition.steps.within.workflow_definition.dynamic_blocks_definitions"
    )


def test_looking_at_an_inner_workflow_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    code = f"import os\nos.mkdir({str(trap)!r})\ndef run(self, predictions):\n    return {{'sum': 0}}"
    inner = workflow(
        block(code, {"predictions": ANY}, ["sum"]), {"predictions": "$steps.model.predictions"}, "sum"
    )
    graph = compile_definition(nested(inner), permits=Permits(code=Code.READ))
    assert graph.code == ("Mine",)
    assert not trap.exists()


def test_a_type_that_both_bring_is_the_outer_ones() -> None:
    outer = block("def run(self, predictions, by):\n    return {'kept': predictions, 'sum': -1, 'calls': 0}",
                  {"predictions": ANY, "by": ANY}, ["kept", "sum", "calls"])  # fmt: skip
    assert run(nested(COUNTED, outer)).outputs == [{"sum": -1}]
