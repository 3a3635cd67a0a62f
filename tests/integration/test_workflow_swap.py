"""A workflow is replaced in a real pipeline process: what is unchanged keeps its state, between two frames."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.rig import Rig
from wire import local
from wire.reasons import Reason

DEADLINE_S = 60.0
CODE = """
def run(self, image):
    n = image.video_metadata.frame_number % 400
    box = np.array([[20.0 + n, 50.0, 60.0 + n, 150.0]])
    return {"boxes": sv.Detections(xyxy=box, confidence=np.array([0.9]), class_id=np.array([0]),
            data={"class_name": np.array(["person"]), "image_dimensions": np.array([[200, 500]])})}
"""


def definition(length: int, note: str) -> dict[str, Any]:
    """A box that walks, tracked; a buffer that counts frames; a text that differs from one definition to the next."""
    boxes = {"type": "DynamicOutputDefinition", "kind": ["object_detection_prediction"]}
    picture = {"type": "DynamicInputDefinition", "selector_types": ["input_image"]}
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "dynamic_blocks_definitions": [
            {
                "type": "DynamicBlockDefinition",
                "manifest": {
                    "type": "ManifestDescription",
                    "block_type": "Walker",
                    "inputs": {"image": picture},
                    "outputs": {"boxes": boxes},
                },
                "code": {"type": "PythonCode", "run_function_code": CODE},
            }
        ],
        "steps": [
            {"type": "Walker", "name": "walker", "image": "$inputs.image"},
            {
                "type": "roboflow_core/byte_tracker@v3",
                "name": "tracker",
                "image": "$inputs.image",
                "detections": "$steps.walker.boxes",
            },
            {"type": "Buffer", "name": "seen", "data": "$inputs.image", "length": length},
            {
                "type": "roboflow_core/property_definition@v1",
                "name": "count",
                "data": "$steps.seen.output",
                "operations": [{"type": "SequenceLength"}],
            },
            {
                "type": "roboflow_core/property_definition@v1",
                "name": "ids",
                "data": "$steps.tracker.tracked_detections",
                "operations": [{"type": "DetectionsPropertyExtract", "property_name": "tracker_id"}],
            },
            {"type": "roboflow_core/string_template@v1", "name": "note", "template": note},
        ],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.{name}.output"}
            for name in ("count", "ids", "note")
        ],
    }


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 96))
    for _ in range(60):
        writer.write(np.zeros((96, 160, 3), np.uint8))
    writer.release()
    return path


def binding(folder: Path, revision: int, document: Any) -> local.Binding:
    path = folder / f"w{revision}.json"
    path.write_text(json.dumps(document))
    return local.Binding(revision, "w", f"sha256:{revision}", str(path), send="every", min_interval_s=0.0)


class Child:
    """A pipeline process; `seen` keeps every message of it."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.seen: list[local.Message] = []
        self._child = rig.spawn("runtime.pipeline", lambda message, _: self.seen.append(message))

    def send(self, message: local.Message) -> None:
        self._child.send(message)

    def until(self, done: Callable[[], bool]) -> None:
        end_mono = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < end_mono, self.seen[-3:]
            self._rig.pump(0.05)


@pytest.fixture
def child() -> Iterator[Child]:
    with Rig() as rig:
        yield Child(rig)


def start(child: Child, video: Path, folder: Path, document: Any, *, allow_code: bool) -> None:
    camera = local.CameraSource("door", str(video), "realtime", loop=True)
    child.send(local.Start("p", camera, binding(folder, 1, document), str(folder), allow_code))


def outputs(child: Child) -> list[dict[str, Any]]:
    return [m.body["outputs"] for m in child.seen if isinstance(m, local.Event)]


def swap(child: Child, folder: Path, document: Any) -> list[dict[str, Any]]:
    """Replace the workflow; the outputs from there on."""
    child.send(local.Prepare("t", binding(folder, 2, document)))
    child.until(lambda: any(isinstance(m, local.Prepared) for m in child.seen))
    child.send(local.Commit("t"))
    child.until(lambda: any(isinstance(m, local.Switched) for m in child.seen))
    child.until(lambda: sum(o["note"] == "second" for o in outputs(child)) > 5)
    return [o for o in outputs(child) if o["note"] == "second"]


def test_unchanged_steps_keep_their_state(child: Child, video: Path, tmp_path: Path) -> None:
    first = definition(4000, "first")
    start(child, video, tmp_path, first, allow_code=True)
    child.until(lambda: len(outputs(child)) > 20)
    after = swap(child, tmp_path, definition(4000, "second"))
    before = [o for o in outputs(child) if o["note"] == "first"]
    assert [o["count"] for o in after[:3]] == [before[-1]["count"] + i for i in (1, 2, 3)]
    assert before[-1]["ids"]
    assert after[0]["ids"] == before[-1]["ids"]


def test_a_changed_step_starts_anew(child: Child, video: Path, tmp_path: Path) -> None:
    start(child, video, tmp_path, definition(4000, "first"), allow_code=True)
    child.until(lambda: len(outputs(child)) > 20)
    after = swap(child, tmp_path, definition(3000, "second"))
    assert [o["count"] for o in after[:3]] == [1, 2, 3]


def test_times_of_steps_are_told(child: Child, video: Path, tmp_path: Path) -> None:
    start(child, video, tmp_path, definition(10, "first"), allow_code=True)

    def told() -> dict[str, local.StepStats]:
        stats = [m for m in child.seen if isinstance(m, local.PipelineStats) and m.results]
        return stats[-1].steps if stats else {}

    child.until(lambda: bool(told()))
    assert set(told()) == {"walker", "tracker", "seen", "count", "ids", "note"}
    assert all(step.runs and step.mean_us > 0 and step.max_us >= step.mean_us for step in told().values())


def test_code_is_refused_where_the_device_does_not_allow_it(
    child: Child, video: Path, tmp_path: Path
) -> None:
    document = copy.deepcopy(definition(10, "first"))
    start(child, video, tmp_path, document, allow_code=False)
    child.until(lambda: any(isinstance(m, local.NotPrepared) for m in child.seen))
    refused = next(m for m in child.seen if isinstance(m, local.NotPrepared))
    assert refused.reason == Reason.CODE_NOT_ALLOWED.value
