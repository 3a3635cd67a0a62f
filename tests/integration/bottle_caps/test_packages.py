"""The committed detectors: whole packages that keep their promise, small, and with the classes of the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import outrider
from examples.bottle_caps.dataset import GAIN, INPUT_HEIGHT_PX, INPUT_WIDTH_PX, letterbox
from examples.bottle_caps.evaluate import iou
from examples.bottle_caps.scene import CLASSES, HEIGHT_PX, WIDTH_PX, Scene
from runtime.model import package
from runtime.model.geometry import place

PACKAGES = Path(__file__).resolve().parents[3] / "examples" / "bottle_caps" / "packages"
VERSIONS = ("v1", "v2")
MOST_BYTES = 2 * 1024 * 1024


@pytest.fixture(scope="module", params=VERSIONS)
def model(request: pytest.FixtureRequest) -> outrider.Model:
    return outrider.load(PACKAGES / request.param)


def test_the_golden_image_holds(model: outrider.Model) -> None:
    figures = model.check_golden()
    assert figures["present"]
    assert figures["detections"] >= 3


def test_the_classes_are_those_of_the_scene(model: outrider.Model) -> None:
    assert model.labels == CLASSES


def test_the_input_is_what_was_trained_on(model: outrider.Model) -> None:
    spec = model.spec.input
    geometry = place(spec, WIDTH_PX, HEIGHT_PX)
    assert (spec.width, spec.height) == (INPUT_WIDTH_PX, INPUT_HEIGHT_PX)
    assert (spec.colour, spec.resize, spec.anchor, spec.pad, spec.scale) == (
        "BGR",
        "letterbox",
        "top-left",
        114,
        1,
    )
    assert (geometry.gain_x, geometry.gain_y) == (GAIN, GAIN)
    assert letterbox(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8))[-1, -1].tolist() == [114] * 3


@pytest.mark.parametrize("version", VERSIONS)
def test_the_graph_is_small(version: str) -> None:
    directory = PACKAGES / version
    spec = package.read(directory)
    assert (directory / spec.onnx).stat().st_size <= MOST_BYTES


def test_only_the_second_version_sees_that_a_liner_is_missing() -> None:
    deck = ("good", "no_liner")
    scene = Scene(10_500, deck=deck)
    image, truth = scene.frame(30)
    whole = [cap for cap in truth if cap.visible == 1.0]
    for version, expected in (
        ("v1", {"good": "good", "no_liner": "good"}),
        ("v2", {name: name for name in deck}),
    ):
        found = outrider.load(PACKAGES / version).predict(image)
        overlaps = iou(found.boxes, np.array([cap.box for cap in whole], np.float32))
        assert (overlaps.max(axis=0) > 0.7).all()
        names = [found.class_names[int(i)] for i in overlaps.argmax(axis=0)]
        assert names == [expected[cap.name] for cap in whole]
    assert {cap.name for cap in whole} == set(deck)
