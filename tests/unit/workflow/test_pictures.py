from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.workflow.block import StepFailed, Surroundings
from runtime.workflow.blocks.labels import LabelsV1 as Labels
from runtime.workflow.blocks.pictures import BoundingBoxes, CountingLine, colour
from runtime.workflow.fields import Field
from runtime.workflow.values import Detections, ImageValue, objects

AROUND = Surroundings(lambda: 0.0, lambda: 0.0)
GREY = 40


def picture() -> ImageValue:
    return ImageValue(np.full((60, 80, 3), GREY, np.uint8))


def detections() -> Detections:
    boxes = np.array([[10.0, 20.0, 30.0, 50.0], [40.0, 20.0, 70.0, 50.0]])
    return Detections(
        boxes, np.array([0.9, 0.5]), np.array([0, 1]), objects(["a", "b"]), objects(["1", "2"]), (80, 60)
    )


def draw(block: type[Any], **given: Any) -> ImageValue:
    """Run a block with its defaults."""
    fields: tuple[Field, ...] = block.fields
    values = {f.name: f.default for f in fields if not f.required}
    drawn: ImageValue = block(AROUND).run(**{**values, "image": picture(), **given})
    return drawn


def test_boxes_are_drawn_in_the_colour_of_their_class_on_a_picture_of_their_own() -> None:
    before = picture()
    drawn = draw(
        BoundingBoxes,
        image=before,
        predictions=detections(),
        color_palette="CUSTOM",
        custom_colors=["#ff0000", "#0000ff"],
    ).image
    assert drawn[35, 10].tolist() == [0, 0, 255]
    assert drawn[35, 40].tolist() == [255, 0, 0]
    assert drawn[35, 20].tolist() == [GREY] * 3
    assert (before.image == GREY).all()


def test_round_boxes_leave_their_corners_free() -> None:
    drawn = draw(BoundingBoxes, predictions=detections(), roundness=0.8, thickness=1).image
    assert drawn[20, 10].tolist() == [GREY] * 3
    assert drawn[35, 10].tolist() != [GREY] * 3


def test_custom_colours_have_to_be_named() -> None:
    with pytest.raises(StepFailed, match="at least one colour"):
        draw(BoundingBoxes, predictions=detections(), color_palette="CUSTOM")


def test_colours_by_track_need_a_tracker() -> None:
    with pytest.raises(StepFailed, match="tracker"):
        draw(BoundingBoxes, predictions=detections(), color_axis="TRACK")


@pytest.mark.parametrize(
    "text", ["Class", "Confidence", "Class and Confidence", "Index", "Area", "Dimensions"]
)
def test_a_label_lies_above_its_box_and_within_the_picture(text: str) -> None:
    drawn = draw(Labels, predictions=detections(), text=text, text_scale=0.3, text_padding=1).image
    changed = (drawn != GREY).any(axis=2)
    assert changed[12:20, 10:16].any()
    assert not changed[25:, :].any()


def test_a_label_ends_where_its_position_says() -> None:
    low = detections()
    drawn = draw(Labels, predictions=low, text_position="BOTTOM_RIGHT", text_scale=0.3, text_padding=2).image
    changed = (drawn != GREY).any(axis=2)
    assert changed[50:, 62:70].any()
    assert not changed[:, 72:].any()


def test_the_line_is_laid_over_and_its_counts_stand_around_its_first_point() -> None:
    drawn = draw(
        CountingLine, zone=[[40, 0], [40, 59]], color="#ffffff", opacity=0.5, count_in=3, text_scale=0.3
    ).image
    assert drawn[50, 40].tolist() == [min(255, round(255 * 0.5 + GREY))] * 3
    assert (drawn[:12, 41:79] != GREY).any()


def test_a_line_that_is_none_fails_the_step() -> None:
    with pytest.raises(StepFailed, match="two points"):
        draw(CountingLine, zone=[[1, 2]])


def test_nothing_to_draw_leaves_the_picture_as_it_was() -> None:
    nothing = detections().select(np.array([False, False]))
    for block in (BoundingBoxes, Labels):
        assert (draw(block, predictions=nothing).image == GREY).all()


def test_colours_are_read_in_each_form() -> None:
    assert colour("#f80") == (0, 136, 255)
    assert colour("#102030") == (48, 32, 16)
    assert colour("rgb(1, 2, 300)") == (255, 2, 1)
    assert colour("White") == (255, 255, 255)
    assert colour("#12") is None
