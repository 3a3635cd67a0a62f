import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.model.nms import iou_matrix, nms


def naive(boxes, scores, class_ids, threshold, limit):
    """One box after another, as the textbook has it."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in order:
        rivals = [k for k in kept if class_ids is None or class_ids[k] == class_ids[i]]
        if all(one_iou(boxes[i], boxes[k]) <= threshold for k in rivals):
            kept.append(i)
    return kept[:limit]


def one_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


@st.composite
def detections(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.one_of(st.integers(0, 12), st.integers(55, 75), st.integers(120, 300)))
    random = np.random.default_rng(seed)
    corner = random.integers(-20, 200, (count, 2)).astype(np.float32)
    size = random.integers(0, 80, (count, 2)).astype(np.float32)
    scores = np.round(random.random(count), 2).astype(np.float32)
    return (
        np.concatenate([corner, corner + size], axis=1),
        scores,
        random.integers(0, 4, count).astype(np.int32),
    )


@given(detections(), st.sampled_from([0.3, 0.45, 0.7]), st.booleans(), st.sampled_from([5, 1000]))
def test_keeps_what_the_naive_rule_keeps(made, threshold, by_class, limit):
    boxes, scores, class_ids = made
    ids = class_ids if by_class else None
    kept = nms(boxes, scores, ids, iou_threshold=threshold, max_detections=limit)
    assert kept.tolist() == naive(boxes.astype(float), scores, ids, threshold, limit)


def test_boxes_of_different_classes_do_not_suppress_each_other():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    ids = np.array([0, 1], np.int32)
    assert len(nms(boxes, scores, ids, iou_threshold=0.5, max_detections=10)) == 2
    assert len(nms(boxes, scores, None, iou_threshold=0.5, max_detections=10)) == 1


def test_looks_at_no_more_candidates_than_allowed():
    boxes = np.arange(40, dtype=np.float32).reshape(10, 4) * 100
    boxes[:, 2:] = boxes[:, :2] + 1
    scores = np.linspace(0.1, 0.9, 10).astype(np.float32)
    kept = nms(boxes, scores, None, iou_threshold=0.5, max_detections=10, max_candidates=3)
    assert kept.tolist() == [9, 8, 7]


def test_iou_of_half_overlapping_boxes_is_a_third():
    a = np.array([[0.0, 0.0, 2.0, 1.0]])
    b = np.array([[1.0, 0.0, 3.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    assert np.allclose(iou_matrix(a, b), [[1 / 3, 0.0]])


@pytest.mark.parametrize("others", [0, 100])
def test_an_overlap_of_just_the_threshold_is_none(others):
    pair = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0]]
    far = [[10.0 * i, 50.0, 10.0 * i + 1, 51.0] for i in range(others)]  # more than are compared one by one
    boxes = np.array(pair + far, np.float32)
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    kept = [nms(boxes, scores, None, iou_threshold=t, max_detections=300) for t in (0.5, 0.49)]
    assert [len(indices) for indices in kept] == [others + 2, others + 1]


def test_boxes_without_an_area_overlap_with_nothing_in_single_precision_too() -> None:
    flat = np.array([[0, 48, 16, 48], [16, 16, 32, 32]], np.float32)
    assert iou_matrix(flat, flat).tolist() == [[0.0, 0.0], [0.0, 1.0]]
