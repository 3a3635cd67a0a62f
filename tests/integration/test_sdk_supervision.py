"""Results at the SDK's edge, as values of the library supervision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from outrider.interop import to_keypoints, to_supervision
from runtime import masks
from runtime.results import Result

SEEN: dict[str, Any] = {
    "boxes": np.array([[2, 4, 10, 8]], np.float32),
    "scores": np.array([0.9], np.float32),
    "class_ids": np.array([1], np.int32),
}


def result(**parts: Any) -> Result:
    return Result((48, 32), ("background", "cat"), **parts)


def test_masks_oriented_boxes_keypoints_and_texts_travel_with_the_detections() -> None:
    detections = to_supervision(
        result(
            **SEEN,
            masks=(masks.encode(np.ones((4, 8)), size_hw=(32, 48), at_xy=(2, 4)),),
            oriented=np.array([[6, 6, 8, 4, 0]], np.float32),
            keypoints=np.array([[[3, 4, 0.5]]], np.float32),
            texts=("A",),
        )
    )
    assert detections.mask.shape == (1, 32, 48)
    assert detections.mask.sum() == 32
    assert detections.data["xyxyxyxy"].tolist() == [[[2, 4], [10, 4], [10, 8], [2, 8]]]
    assert detections.data["text"].tolist() == ["A"]
    assert detections[detections.confidence > 0.5].data["class_name"].tolist() == ["cat"]


def test_keypoints_are_the_librarys_keypoints() -> None:
    points = to_keypoints(result(**SEEN, keypoints=np.array([[[3, 4, 0.5]]], np.float32)))
    assert points.xy.tolist() == [[[3, 4]]]
    with pytest.raises(ValueError, match="no keypoints"):
        to_keypoints(result(**SEEN))


def test_classes_are_classifications() -> None:
    ids, confidence = to_supervision(result(classes=np.array([0.2, 0.8], np.float32))).get_top_k(1)
    assert (ids.tolist(), confidence.tolist()) == ([1], [pytest.approx(0.8)])


def test_a_class_map_gives_a_detection_for_each_class_but_the_background() -> None:
    semantic = np.zeros((32, 48), np.uint8)
    semantic[4:8, 2:10] = 1
    detections = to_supervision(result(semantic=semantic))
    assert detections.class_id.tolist() == [1]
    assert detections.mask.sum() == 32
    assert len(to_supervision(result(semantic=np.zeros((32, 48), np.uint8)))) == 0


def test_an_embedding_is_in_the_metadata() -> None:
    detections = to_supervision(result(embedding=np.array([0.6, 0.8], np.float32)))
    assert detections.metadata["embedding"].tolist() == pytest.approx([0.6, 0.8])
