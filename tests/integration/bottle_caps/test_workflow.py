"""The example's workflow over a detector that sees the scene's truth with a flickering label: each cap counts once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.bottle_caps.scene import CLASSES, FPS, HEIGHT_PX, WIDTH_PX, Scene, Truth
from runtime.model.engine import Done
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Image, Result
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.values import ImageValue, VideoMetadata

WORKFLOW = Path(__file__).resolve().parents[3] / "examples" / "workflows" / "bottle_caps.json"
LINE_X_PX = 470
FRAMES = 170
FLICKER = 5
"""Every so many frames the detector takes every cap for a good one."""


class Seer:
    """An engine that knows the truth of each frame, in order. `blind_to`: a class that it takes for good."""

    spec = ModelSpec(
        "seer", Task.DETECTION, "yolox", InputSpec("images", WIDTH_PX, HEIGHT_PX), DecodeSpec(), CLASSES
    )
    digest = "sha256:" + "0" * 64

    def __init__(self, truths: Sequence[list[Truth]], blind_to: str = "") -> None:
        self._truths = truths
        self._blind_to = blind_to
        self._next = 0

    def submit(self, images: Sequence[Image]) -> Done:
        k, self._next = self._next, self._next + 1
        caps = self._truths[k]
        names = ["good" if k % FLICKER == 0 or cap.name == self._blind_to else cap.name for cap in caps]
        boxes = np.array([cap.box for cap in caps], np.float32).reshape(-1, 4)
        class_ids = np.array([CLASSES.index(name) for name in names], np.int32)
        scores = np.full(len(caps), 0.9, np.float32)
        return Done((Result((WIDTH_PX, HEIGHT_PX), CLASSES, boxes, scores, class_ids),))

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def truths() -> list[list[Truth]]:
    scene = Scene(7)
    return [scene.truth(k) for k in range(FRAMES)]


@pytest.fixture(scope="module")
def outputs(truths: list[list[Truth]]) -> list[dict[str, Any]]:
    return run(truths)


def run(truths: list[list[Truth]], blind_to: str = "") -> list[dict[str, Any]]:
    """The outputs of every frame."""
    graph = compile_definition(json.loads(WORKFLOW.read_text()))
    executor = Executor(graph, {"caps/1": Seer(truths, blind_to)})
    image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    outputs = []
    for k in range(len(truths)):
        outcome = executor.run({"image": ImageValue(image, VideoMetadata("belt", k, k / FPS, FPS, True))})
        assert not outcome.errors
        outputs.append(outcome.outputs[0])
    return outputs


def crossed(truths: list[list[Truth]]) -> Counter[str]:
    """Classes of the caps whose middle goes over the line."""
    sides: dict[int, set[bool]] = {}
    names: dict[int, str] = {}
    for caps in truths:
        for cap in caps:
            names[cap.cap_id] = cap.name
            sides.setdefault(cap.cap_id, set()).add((cap.box[0] + cap.box[2]) / 2 > LINE_X_PX)
    return Counter(names[cap] for cap, seen in sides.items() if len(seen) == 2)


def test_each_cap_is_counted_once_under_the_class_of_most_of_its_frames(
    truths: list[list[Truth]], outputs: list[dict[str, Any]]
) -> None:
    expected = crossed(truths)
    last = outputs[-1]
    assert last["passed"] == expected.total() > 15
    assert {name: last[f"count_{name}"] for name in CLASSES} == dict(expected)


def test_each_defective_cap_is_rejected_once(
    truths: list[list[Truth]], outputs: list[dict[str, Any]]
) -> None:
    rejected = Counter(name for output in outputs for name in output["reject_classes"])
    expected = crossed(truths)
    del expected["good"]
    assert rejected == expected
    assert [output["reject"] for output in outputs] == [bool(output["reject_classes"]) for output in outputs]


def test_a_detector_that_was_not_taught_a_defect_lets_it_pass_but_counts_it(
    truths: list[list[Truth]],
) -> None:
    expected = crossed(truths)
    last = run(truths, blind_to="no_liner")[-1]
    assert last["passed"] == expected.total()
    assert last["count_no_liner"] == 0
    assert last["count_good"] == expected["good"] + expected["no_liner"]


def test_the_picture_shows_the_line_and_the_boxes(
    truths: list[list[Truth]], outputs: list[dict[str, Any]]
) -> None:
    picture = outputs[29]["picture"].image
    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert picture[200:300, LINE_X_PX - 1 : LINE_X_PX + 2].any()
    x1, y1, x2, y2 = (round(v) for v in truths[29][1].box)
    assert picture[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2].any()
