"""What a result of each task offers, drawn and at the SDK's edge."""

import dataclasses

import numpy as np
import pytest

from outrider.commands.infer import detections, whole
from runtime import masks
from runtime.draw import annotate, colour
from runtime.results import Result

BOX = np.array([[2, 4, 10, 8]], np.float32)
SEEN = {"boxes": BOX, "scores": np.array([0.9], np.float32), "class_ids": np.array([1], np.int32)}
PAPER = np.full((32, 48, 3), 255, np.uint8)


def result(**parts):
    return Result((48, 32), ("background", "cat"), **parts)


def box_mask():
    return masks.encode(np.ones((4, 8)), size_hw=(32, 48), at_xy=(2, 4))


def test_the_best_classes_come_first_with_their_names():
    classes = result(classes=np.array([0.2, 0.7, 0.1], np.float32)).top(2)
    assert [(i, name) for i, name, _ in classes] == [(1, "cat"), (0, "background")]


def test_a_detector_has_no_best_class():
    assert result(**SEEN).top() == ()


def test_corners_go_clockwise_from_the_top_left():
    unturned = result(**SEEN, oriented=np.array([[6, 6, 8, 4, 0]], np.float32))
    np.testing.assert_allclose(unturned.corners[0], [[2, 4], [10, 4], [10, 8], [2, 8]])
    turned = result(**SEEN, oriented=np.array([[6, 6, 8, 4, np.pi / 2]], np.float32))
    np.testing.assert_allclose(turned.corners[0], [[8, 2], [8, 10], [4, 10], [4, 2]], atol=1e-5)


def test_a_mask_is_drawn_as_a_veil_within_and_nowhere_else():
    drawn = annotate(PAPER, result(**SEEN, masks=(box_mask(),)))
    assert drawn[6, 6].tolist() != [255, 255, 255]
    assert drawn[30, 40].tolist() == [255, 255, 255]


def test_a_class_map_is_drawn_but_its_background():
    semantic = np.zeros((32, 48), np.uint8)
    semantic[:16] = 1
    drawn = annotate(PAPER, result(semantic=semantic))
    assert drawn[2, 2].tolist() == pytest.approx([255 * 0.55 + 0.45 * c for c in colour(1)], abs=1.5)
    assert drawn[30, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    "parts",
    [
        {**SEEN, "keypoints": np.array([[[20, 20, 0.9]] * 17], np.float32)},
        {**SEEN, "oriented": np.array([[20, 20, 8, 4, 0.3]], np.float32)},
        {**SEEN, "texts": ("AUSFAHRT",)},
        {"classes": np.array([0.2, 0.8], np.float32)},
    ],
)
def test_every_task_leaves_ink_on_the_picture(parts):
    assert (annotate(PAPER, result(**parts)) != 255).any()


def test_a_result_as_json_holds_what_its_task_adds():
    seen = result(
        **SEEN,
        masks=(box_mask(),),
        keypoints=np.array([[[3, 4, 0.5]]], np.float32),
        oriented=np.array([[6, 6, 8, 4, 0.25]], np.float32),
        texts=("A",),
    )
    (entry,) = detections(seen)
    assert entry["mask"]["size"] == [32, 48]
    assert entry["keypoints"] == [[3, 4, 0.5]]
    assert entry["oriented"] == [6, 6, 8, 4, 0.25]
    assert entry["text"] == "A"
    assert whole(result(classes=np.array([0.25, 0.75], np.float32)))["classes"][0] == {
        "class": "cat",
        "class_id": 1,
        "score": 0.75,
    }


def test_selecting_detections_selects_all_that_belongs_to_them():
    both = {name: np.concatenate([value, value]) for name, value in SEEN.items()}
    seen = result(**both, masks=(box_mask(), box_mask()), texts=("A", "B"))
    left = seen.select(np.array([False, True]))
    assert (len(left), len(left.masks), left.texts) == (1, 1, ("B",))
    assert {f.name for f in dataclasses.fields(Result)} == {*vars(left)}
