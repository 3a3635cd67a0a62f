"""What model blocks put out, field by field, as the original engine wrote it for the same answers of a model.

`workflow_models.json` holds the original's outputs (`generated_by`): its own post-processing of a made answer, serialised. Ids are not
compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.masks import encode
from runtime.model.spec import DecodeSpec, ModelSpec, Task
from runtime.results import Result
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.serialise import to_json
from tests.unit.workflow.definitions import SPEC, FakeEngine, picture, result

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("workflow_models.json").read_text())["outputs"]
MADE_UP = {"detection_id", "inference_id"}


def square() -> Any:
    bitmap = np.zeros((48, 64), bool)
    bitmap[2:9, 3:8] = True
    return encode(bitmap)


def answer(block: str) -> tuple[Result, Task]:
    """What the model said in the recording."""
    one = result(0.9)
    if "object" in block:
        return result(0.9, 0.8, class_ids=[0, 1]), Task.DETECTION
    if "keypoint" in block:
        points = np.array([[[3, 4, 0.9], [6, 7, 0.2]]], np.float32)
        return Result(
            one.image_wh, one.labels, one.boxes, one.scores, one.class_ids, keypoints=points
        ), Task.KEYPOINTS
    if "segmentation" in block:
        return Result(
            one.image_wh, one.labels, one.boxes, one.scores, one.class_ids, (square(),)
        ), Task.INSTANCE_SEGMENTATION
    scores = [0.8, 0.3] if "multi" in block else [0.3, 0.7]
    task = Task.MULTI_LABEL if "multi" in block else Task.CLASSIFICATION
    return Result(one.image_wh, one.labels, classes=np.array(scores, np.float32)), task


def thresholds(block: str) -> dict[str, Any]:
    """The recorded answers had passed the original's thresholds, which its models apply; here the block does."""
    if "keypoint" in block:
        return {"keypoint_confidence": 0.0}
    if "multi" in block and block.endswith("v3"):
        return {"confidence_mode": "custom", "custom_confidence": 0.4}
    return (
        {"confidence": 0.1}
        if "_classification" in block and "multi" not in block and not block.endswith("v3")
        else {}
    )


def compare(want: Any, got: Any, at: str) -> None:
    if isinstance(want, dict):
        assert isinstance(got, dict), at
        assert set(got) == set(want), f"{at}: {sorted(got)} != {sorted(want)}"
        for name, value in want.items():
            if name not in MADE_UP:
                compare(value, got[name], f"{at}.{name}")
    elif isinstance(want, list):
        assert len(got) == len(want), at
        for i, (w, g) in enumerate(zip(want, got, strict=True)):
            compare(w, g, f"{at}[{i}]")
    elif isinstance(want, float):
        assert got == pytest.approx(want, abs=1e-4), at
    else:
        assert got == want, at


@pytest.mark.parametrize("block", list(RECORDED))
def test_a_model_block_puts_out_what_the_original_does(block: str) -> None:
    said, task = answer(block)
    engine = FakeEngine(said)
    options = {"keypoint_names": ["nose", "tail"]}
    engine.spec = ModelSpec(
        "fake", task, "any", SPEC.input, DecodeSpec(score_threshold=0.1, options=options), SPEC.labels
    )
    step = {"type": block, "name": "m", "images": "$inputs.image", "model_id": "acme/1", **thresholds(block)}
    document = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [step],
        "outputs": [{"type": "JsonField", "name": "all", "selector": "$steps.m.*"}],
    }
    outcome = Executor(compile_definition(document), {"acme/1": engine}).run({"image": picture()})
    assert outcome.errors == {}
    compare(RECORDED[block], json.loads(json.dumps(to_json(outcome.outputs[0]["all"]))), block)
