"""Sinks send pictures in which what the camera's policy names is hidden, and none where that cannot be done. Real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.pipeline.privacy import veil_of
from runtime.results import Image, NoAnswer, Result
from runtime.sinks.desk import Desk
from runtime.sinks.pictures import Pictures
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.values import ImageValue, VideoMetadata
from tests.unit.workflow.definitions import FakeEngine
from wire.camera import Privacy
from wire.reasons import Reason

R = "roboflow_core/"
FACES = Privacy(blurred_classes=["face"], pictures="device")
CORNER = Privacy(blurred=[[[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]], pictures="device")
FACE = (40, 30, 80, 70)


def noise(seed: int = 1) -> Image:
    """Blocks of 4 px, so that JPEG keeps them."""
    small = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    return np.repeat(np.repeat(small, 4, 0), 4, 1)


def faces(*boxes: tuple[float, float, float, float], labels: tuple[str, ...] = ("face",)) -> Result:
    count = len(boxes)
    rows = np.array(boxes, np.float32).reshape(count, 4)
    return Result((160, 120), labels, rows, np.ones(count, np.float32), np.zeros(count, np.int32))


class Line:
    """A detector, then `steps`; the last one's picture, or `image`, goes to a file."""

    def __init__(
        self, folder: Path, privacy: Privacy, *steps: dict[str, Any], image: str, answer: Any = None
    ) -> None:
        model = {
            "type": R + "roboflow_object_detection_model@v3",
            "name": "model",
            "images": "$inputs.image",
            "model_id": "m",
        }
        # The sink stands before the model: the order of the definition must not matter.
        sink = {
            "type": "outrider/file_sink@v1",
            "name": "sink",
            "format": "jpeg",
            "directory": "shots",
            "image": image,
        }
        definition = {
            "version": "1.0",
            "inputs": [{"type": "WorkflowImage", "name": "image"}],
            "steps": [*steps, sink, model],
            "outputs": [{"type": "JsonField", "name": "sink", "selector": "$steps.sink.*"}],
        }
        self.folder = folder / "shots"
        self.desk = Desk(files=folder, pictures=Pictures(privacy.pictures, veil_of(privacy)))
        engine = FakeEngine(*[faces(FACE) if answer is None else answer] * 3)
        around = Surroundings(lambda: 1767225600.0, lambda: 0.0, desk=self.desk)
        self.executor = Executor(compile_definition(definition), {"m": engine}, around)

    def run(self, number: int = 1) -> Outcome:
        image = ImageValue(noise(number), VideoMetadata("cam", number), in_place=True)
        return self.executor.run({"image": image})

    def pictures(self) -> list[Image]:
        assert self.desk.close(10.0) == {}
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [cv2.imread(str(path)) for path in found]  # type: ignore[misc]


def detail(part: Image) -> float:
    """Mean difference between blocks that lie beside each other: large in noise, small where it was made coarse."""
    grey = part.astype(np.float64).mean(axis=2)
    return float(np.abs(grey[2::4, 6::4] - grey[2::4, 2:-4:4]).mean())


def test_a_face_is_hidden_in_the_picture_and_the_rest_is_not(tmp_path: Path) -> None:
    line = Line(tmp_path, FACES, image="$inputs.image")
    assert line.run().outputs[0]["sink"]["error_status"] is False
    (shot,) = line.pictures()
    assert detail(shot[32:68, 40:80]) < 15
    assert detail(shot[76:, :]) > 30


def test_in_a_crop_it_is_hidden_where_it_lies_there(tmp_path: Path) -> None:
    crop = {"type": R + "absolute_static_crop@v1", "name": "crop", "images": "$inputs.image",
            "x_center": 100, "y_center": 70, "width": 120, "height": 80}  # fmt: skip
    line = Line(tmp_path, FACES, crop, image="$steps.crop.crops")
    line.run()
    (shot,) = line.pictures()
    assert shot.shape[:2] == (80, 120)
    assert detail(shot[4:36, 4:40]) < 25, "the face, 40 px to the left and 30 up"
    assert detail(shot[48:, 8:]) > 30


def test_regions_are_hidden_in_pictures_that_were_drawn_over(tmp_path: Path) -> None:
    blur = {"type": R + "polygon_zone_visualization@v1", "name": "drawn", "image": "$inputs.image",
            "zone": [[90, 70], [150, 70], [150, 110]], "opacity": 0.2}  # fmt: skip
    line = Line(tmp_path, CORNER, blur, image="$steps.drawn.image")
    line.run()
    (shot,) = line.pictures()
    assert detail(shot[:60, :80]) < 15
    assert detail(shot[64:, :]) > 25


ELSEWHERE = {
    "turned": ({"type": R + "image_preprocessing@v1", "image": "$inputs.image", "task_type": "flip"}, "image"),
    "pasted": ({"type": R + "crop_visualization@v1", "image": "$inputs.image", "predictions": "$steps.model.predictions"}, "image"),
    "kept": ({"type": R + "frame_delay@v1", "image": "$inputs.image", "data": "$inputs.image", "offset": -1}, "output"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ELSEWHERE))
def test_a_picture_in_which_things_lie_elsewhere_stays(tmp_path: Path, name: str) -> None:
    step, output = ELSEWHERE[name]
    line = Line(tmp_path, FACES, {**step, "name": "other"}, image=f"$steps.other.{output}")
    line.run(1)
    told = line.run(2).outputs[0]["sink"]
    assert told["error_status"]
    assert "where they lie" in told["message"]
    assert line.pictures() == []


@pytest.mark.parametrize("answer", [NoAnswer(Reason.ENGINE_DOWN, "gone"), faces(labels=("person",))])
def test_a_picture_stays_where_nobody_could_look_for_faces(tmp_path: Path, answer: Any) -> None:
    line = Line(tmp_path, FACES, image="$inputs.image", answer=answer)
    told = line.run().outputs[0]["sink"]
    assert told["error_status"]
    assert "face" in told["message"]
    assert line.pictures() == []


def test_a_picture_that_was_encoded_before_stays(tmp_path: Path) -> None:
    encoded = {"type": R + "property_definition@v1", "name": "encoded", "data": "$inputs.image",
               "operations": [{"type": "ConvertImageToBase64"}]}  # fmt: skip
    send = {
        "type": "outrider/file_sink@v1",
        "name": "lines",
        "directory": "lines",
        "data": {"x": "$steps.encoded.output"},
    }
    line = Line(tmp_path, CORNER, encoded, send, image="$inputs.image")
    line.run()
    assert len(line.pictures()) == 1
    assert sorted(os.listdir(tmp_path)) == ["shots"]
