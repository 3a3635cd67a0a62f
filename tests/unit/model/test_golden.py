import json

import numpy as np
import pytest

from runtime import masks
from runtime.model import goldentasks
from runtime.model.golden import compare
from runtime.model.spec import GoldenSpec
from runtime.results import Result

GOLDEN = GoldenSpec(box_tolerance=0.01, score_tolerance=0.02)
THRESHOLD = 0.5


def result(*rows):
    """Rows of x1, y1, x2, y2, score, class; on a picture of 100 x 100."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Result(
        (100, 100), ("cat", "dog"), table[:, :4], table[:, 4], table[:, 5].astype(np.int32)
    )  # fmt: skip


PROMISE = result((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1), (5, 5, 9, 9, 0.49, 0))


def against(*rows):
    return compare(PROMISE, result(*rows), GOLDEN, THRESHOLD)


def test_the_same_result_holds():
    figures = against((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1))
    assert figures.holds
    assert (figures.expected, figures.matched, figures.worst_box) == (2, 2, 0.0)


def test_small_differences_hold_and_are_told():
    figures = against((10, 10.5, 50, 50, 0.91, 0), (60, 60, 90, 90, 0.7, 1))
    assert figures.holds
    assert abs(figures.worst_box - 0.005) < 1e-6
    assert abs(figures.worst_score - 0.01) < 1e-6


def test_order_does_not_matter():
    assert against((60, 60, 90, 90, 0.7, 1), (10, 10, 50, 50, 0.9, 0)).holds


def test_a_missing_detection_breaks_it_and_is_named():
    figures = against((10, 10, 50, 50, 0.9, 0))
    assert not figures.holds
    assert "dog 0.70 at [60, 60, 90, 90]" in str(figures)


def test_another_class_breaks_it():
    assert not against((10, 10, 50, 50, 0.9, 1), (60, 60, 90, 90, 0.7, 1)).holds


def test_a_moved_box_breaks_it():
    assert not against((12, 10, 52, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1)).holds


def test_one_detection_does_not_answer_for_two():
    twice = result((10, 10, 50, 50, 0.9, 0), (10, 10, 50, 50, 0.9, 0))
    figures = compare(twice, result((10, 10, 50, 50, 0.9, 0)), GOLDEN, THRESHOLD)
    assert len(figures.missing) == 1


def test_a_score_at_the_threshold_may_fall_on_either_side():
    both = [(10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1)]
    assert against(*both, (5, 5, 9, 9, 0.505, 0)).holds
    at_threshold = result(*both, (5, 5, 9, 9, 0.51, 0))
    assert compare(at_threshold, result(*both), GOLDEN, THRESHOLD).holds


def test_an_extra_detection_well_above_the_threshold_breaks_it():
    assert not against((10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.7, 1), (0, 0, 30, 30, 0.6, 1)).holds


PARTS = {
    "masks": (masks.encode(np.ones((10, 10)), size_hw=(80, 100), at_xy=(10, 10)),),
    "keypoints": np.array([[[20, 20, 0.9], [1, 1, 0.1]]], np.float32),
    "oriented": np.array([[30, 30, 20, 10, 0.2]], np.float32),
    "texts": ("EXIT",),
}
WHOLE = {
    "classes": np.array([0.25, 0.75], np.float32),
    "semantic": np.arange(8000, dtype=np.uint8).reshape(80, 100) % 3,
    "embedding": np.array([0.6, 0.8], np.float32),
}
CHANGED = {
    "masks": (masks.encode(np.ones((10, 10)), size_hw=(80, 100), at_xy=(12, 10)),),
    "keypoints": np.array([[[22, 20, 0.9], [1, 1, 0.1]]], np.float32),
    "oriented": np.array([[30, 30, 20, 10, 0.5]], np.float32),
    "texts": ("EXLT",),
    "classes": np.array([0.3, 0.7], np.float32),
    "semantic": np.zeros((80, 100), np.uint8),
    "embedding": np.array([0.8, 0.6], np.float32),
}


def with_part(name, value):
    seen = {} if name in WHOLE else {"boxes": [[10, 10, 50, 50]], "scores": [0.9], "class_ids": [0]}
    types = {"boxes": np.float32, "scores": np.float32, "class_ids": np.int32}
    arrays = {key: np.array(values, types[key]) for key, values in seen.items()}
    return Result((100, 80), ("a", "b"), **arrays, **{name: value})


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_what_a_task_adds_is_promised_and_compared(name):
    promised = with_part(name, {**PARTS, **WHOLE}[name])
    body = {"scores": promised.scores.tolist(), **json.loads(json.dumps(goldentasks.to_json(promised)))}
    restored = with_part(name, goldentasks.from_json(body, promised.image_wh)[name])
    assert compare(restored, promised, GOLDEN, THRESHOLD).holds
    changed = compare(restored, with_part(name, CHANGED[name]), GOLDEN, THRESHOLD)
    assert not changed.holds
    assert "wrong otherwise" in str(changed)


def test_a_keypoint_that_is_not_seen_may_lie_anywhere():
    promised = with_part("keypoints", PARTS["keypoints"])
    moved = PARTS["keypoints"].copy()
    moved[0, 1, :2] = 70
    assert compare(promised, with_part("keypoints", moved), GOLDEN, THRESHOLD).holds
