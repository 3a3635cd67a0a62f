"""What of a picture leaves the process."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import Degraded
from runtime.pipeline.privacy import check, hide
from runtime.results import Image, Result
from wire.camera import Privacy
from wire.reasons import Reason

RNG = np.random.default_rng(3)


def picture() -> Image:
    return RNG.integers(0, 255, (120, 160, 3), np.uint8)


def found(labels: tuple[str, ...], *boxes: tuple[float, float, float, float]) -> dict[str, Result]:
    count = len(boxes)
    return {
        "detector": Result(
            (160, 120),
            labels,
            np.array(boxes, np.float32).reshape(count, 4),
            np.ones(count, np.float32),
            np.zeros(count, np.int32),
        )
    }


def blocks(part: Image) -> int:
    """How many different colours: few where it has been made unrecognisable."""
    return len(np.unique(part.reshape(-1, 3), axis=0))


def test_an_object_is_hidden_with_its_margin_and_nothing_else_changes() -> None:
    image = picture()
    before = image.copy()
    hidden = hide(image, Privacy(blurred_classes=["face"]), found(("face",), (40, 40, 80, 80)))
    assert blocks(hidden[38:82, 38:82]) <= 64
    assert np.array_equal(hidden[:30], before[:30])
    assert np.array_equal(image, before), "the frame itself is not written to"


def test_boxes_are_scaled_to_a_picture_of_another_size() -> None:
    image = np.repeat(np.repeat(picture(), 2, 0), 2, 1)
    hidden = hide(image, Privacy(blurred_classes=["face"]), found(("face",), (40, 40, 80, 80)))
    assert blocks(hidden[80:160, 80:160]) <= 64


def test_a_region_is_hidden_whatever_is_found() -> None:
    half = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    hidden = hide(picture(), Privacy(blurred=[half]), {})
    assert blocks(hidden[:, :80]) <= 64
    assert blocks(hidden[:, 84:]) > 5000


def test_a_class_that_no_model_finds_lets_no_picture_out() -> None:
    with pytest.raises(Degraded, match="face") as withheld:
        hide(picture(), Privacy(blurred_classes=["face"]), found(("person",)))
    assert withheld.value.reason.value == "picture-withheld"


def test_without_a_policy_the_picture_is_the_frame() -> None:
    image = picture()
    assert hide(image, Privacy(), {}) is image


@pytest.mark.parametrize(
    ("pictures", "purpose", "may"),
    [
        ("none", "device", False), ("none", "fleet", False), ("device", "device", True), ("device", "fleet", False),
        ("fleet", "fleet", True), ("fleet", "device", True), ("device", "somebody", False),
    ],
)  # fmt: skip
def test_a_picture_leaves_for_what_the_policy_names_only(pictures: str, purpose: str, may: bool) -> None:
    if may:
        check(Privacy(pictures=pictures), purpose)
        return
    with pytest.raises(Degraded, match="privacy policy"):
        check(Privacy(pictures=pictures), purpose)


def test_faces_are_hidden_by_what_a_model_of_their_own_finds_and_nothing_leaves_without_its_answer() -> None:
    image = np.random.default_rng(1).integers(0, 255, (100, 100, 3), np.uint8)
    privacy = Privacy(faces="ultraface")
    with pytest.raises(Degraded) as withheld:
        hide(image, privacy, {})
    assert withheld.value.reason is Reason.PICTURE_WITHHELD
    found = Result(
        (50, 50), ("face",), boxes=np.array([[10, 10, 20, 20]], np.float32), scores=np.ones(1, np.float32)
    )
    hidden = hide(image, privacy, {}, faces=found)
    assert len(np.unique(hidden[19:41, 19:41].reshape(-1, 3), axis=0)) <= 36
    assert np.array_equal(hidden[50:], image[50:])
    assert np.array_equal(hide(image, privacy, {}, faces=Result((50, 50))), image)
