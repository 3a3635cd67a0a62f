"""Every model block, with an engine that answers at once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from runtime.masks import encode
from runtime.model.spec import DecodeSpec, ModelSpec, Task
from runtime.results import Result
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.serialise import to_json
from tests.unit.workflow.definitions import SPEC, FakeEngine, picture, result

NAMES = ("nose", "tail")


class Engine(FakeEngine):
    def __init__(self, answer: Result, task: Task, **options: Any) -> None:
        super().__init__(answer)
        decode = DecodeSpec(score_threshold=0.1, options=options)
        self.spec = ModelSpec("fake", task, "any", SPEC.input, decode, SPEC.labels)


def ask(block: str, engine: FakeEngine, **fields: Any) -> Outcome:
    """What the block gives, each output under its name."""
    step = {"type": f"roboflow_core/{block}", "name": "m", "images": "$inputs.image", **fields}
    document = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [step],
        "outputs": [{"type": "JsonField", "name": "all", "selector": "$steps.m.*"}],
    }
    model_id = fields.get("model_id", block.split("@")[0])
    return Executor(compile_definition(document), {model_id: engine}).run({"image": picture()})


def said(outcome: Outcome) -> dict[str, Any]:
    assert outcome.errors == {}
    told: dict[str, Any] = json.loads(json.dumps(to_json(outcome.outputs[0]["all"])))
    return told


def segmented() -> Result:
    bitmap = np.zeros((48, 64), bool)
    bitmap[2:9, 3:8] = True
    one = result(0.9)
    return Result(one.image_wh, one.labels, one.boxes, one.scores, one.class_ids, (encode(bitmap),))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_instance_segmentation_gives_masks(version: int) -> None:
    engine = Engine(segmented(), Task.INSTANCE_SEGMENTATION)
    told = said(ask(f"roboflow_instance_segmentation_model@v{version}", engine, model_id="m"))
    one = told["predictions"]["predictions"][0]
    assert ("model_id" in told) == (version > 1)
    if version == 4:
        assert one["rle_mask"]["size"] == [48, 64]
    else:
        assert one["points"] == [{"x": x, "y": y} for x, y in ((3, 2), (3, 8), (7, 8), (7, 2))]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_object_detection_gives_boxes_alone(version: int) -> None:
    told = said(
        ask(f"roboflow_object_detection_model@v{version}", Engine(segmented(), Task.DETECTION), model_id="m")
    )
    assert "points" not in told["predictions"]["predictions"][0]


def test_the_threshold_of_a_step_counts_in_mode_custom_alone() -> None:
    block, engine = "roboflow_object_detection_model@v3", Engine(result(0.9, 0.5), Task.DETECTION)
    for mode, count in (("best", 2), ("default", 2), ("custom", 1)):
        outcome = ask(block, engine, model_id="m", confidence_mode=mode, custom_confidence=0.7)
        assert len(said(outcome)["predictions"]["predictions"]) == count


@pytest.mark.parametrize("version", [1, 2, 3])
def test_keypoints_have_names_and_the_unsure_ones_are_left_out(version: int) -> None:
    one = result(0.9)
    points = np.array([[[5, 6, 0.9], [7, 8, 0.2]]], np.float32)
    engine = Engine(
        Result(one.image_wh, one.labels, one.boxes, one.scores, one.class_ids, keypoints=points),
        Task.KEYPOINTS,
        keypoint_names=NAMES,
    )
    block = f"roboflow_keypoint_detection_model@v{version}"
    found = said(ask(block, engine, model_id="m", keypoint_confidence=0.5))
    nose = found["predictions"]["predictions"][0]["keypoints"]
    assert [(p["class"], p["class_id"], p["x"], p["y"]) for p in nose] == [("nose", 0, 5.0, 6.0)]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_classification_names_the_classes_above_the_threshold_best_first(version: int) -> None:
    scores = np.array([0.3, 0.65], np.float32)
    engine = Engine(Result((64, 48), ("cat", "dog"), classes=scores), Task.CLASSIFICATION)
    found = said(ask(f"roboflow_classification_model@v{version}", engine, model_id="m"))["predictions"]
    assert (found["top"], found["confidence"]) == ("dog", 0.65)
    known = [("dog", 1, 0.65), ("cat", 0, 0.3)] if version == 3 else [("dog", 1, 0.65)]
    assert [(p["class"], p["class_id"], p["confidence"]) for p in found["predictions"]] == known
    assert found["image"] == {"width": 64, "height": 48}
    assert (found["prediction_type"], found["parent_id"]) == ("classification", "image")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_several_labels_give_every_score(version: int) -> None:
    scores = np.array([0.3, 0.05], np.float32)
    engine = Engine(Result((64, 48), ("cat", "dog"), classes=scores), Task.MULTI_LABEL)
    block = f"roboflow_multi_label_classification_model@v{version}"
    found = said(ask(block, engine, model_id="m"))["predictions"]
    assert found["predicted_classes"] == (["cat"] if version == 3 else [])
    assert found["predictions"]["dog"] == {"confidence": pytest.approx(0.05), "class_id": 1}


@pytest.mark.parametrize("version", [1, 2])
def test_semantic_segmentation_gives_a_mask_for_each_class_but_the_background(version: int) -> None:
    classes = np.zeros((48, 64), np.uint8)
    classes[4:10, 8:20] = 2
    engine = Engine(
        Result((64, 48), ("background", "road", "tree"), semantic=classes), Task.SEMANTIC_SEGMENTATION
    )
    found = said(ask(f"roboflow_semantic_segmentation_model@v{version}", engine, model_id="m"))
    (tree,) = found["predictions"]["predictions"]
    assert (tree["class"], tree["class_id"], tree["confidence"]) == ("tree", 2, 1.0)
    assert (tree["x"], tree["y"], tree["width"], tree["height"]) == (13.5, 6.5, 11.0, 5.0)
    assert tree["rle_mask"]["size"] == [48, 64]


@pytest.mark.parametrize("block", ["ocr_model@v1", "easy_ocr@v1", "pp_ocr@v1"])
def test_text_is_read_from_top_to_bottom(block: str) -> None:
    boxes = np.array([[0, 20, 9, 29], [0, 0, 9, 9]], np.float32)
    scores, ids = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32)
    read = Result((64, 48), ("text",), boxes, scores, ids, texts=("below", "above"))
    told = said(ask(block, Engine(read, Task.TEXT)))
    assert told["result"] == "above\nbelow"
    assert [p["class"] for p in told["predictions"]["predictions"]] == ["above", "below"]
    assert told["prediction_type"] == "ocr"


@pytest.mark.parametrize(
    "block",
    [
        "roboflow_instance_segmentation_model@v3",
        "roboflow_keypoint_detection_model@v3",
        "roboflow_classification_model@v3",
        "roboflow_multi_label_classification_model@v3",
        "roboflow_semantic_segmentation_model@v2",
    ],
)
def test_a_package_of_another_task_is_named(block: str) -> None:
    outcome = ask(block, Engine(result(0.9), Task.DETECTION), model_id="m")
    assert "is for detection" in outcome.errors["m"]
