"""What a binding finds, as it is counted for the gates."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from runtime.pipeline.sight import MAX_CLASSES, SightBook, found, latency_bin
from runtime.results import Result
from wire.local.pipeline import LATENCY_BINS

LABELS = tuple(f"c{i}" for i in range(80))


def detections(*scores: float, class_id: int = 0) -> Result:
    n = len(scores)
    boxes = np.tile(np.float32([0, 0, 10, 10]), (n, 1))
    return Result((640, 480), LABELS, boxes, np.float32(scores), np.full(n, class_id, np.int32))


def test_frames_without_a_detection_are_counted_and_the_run_ends_with_one() -> None:
    book = SightBook()
    for result in (detections(0.9), detections(), detections()):
        book.result([result], 0.02)
    assert (book.told().asked, book.told().empty, book.told().run) == (3, 2, 2)
    book.result([detections(0.3)], 0.02)
    assert book.told().run == 0
    assert book.told().empty == 2


def test_scores_fall_into_sixteen_bins_and_classes_are_named() -> None:
    book = SightBook()
    book.result([detections(0.0, 0.5, 1.0), detections(0.99, class_id=3)], 0.02)
    told = book.told()
    assert (told.scores[0], told.scores[8], told.scores[15]) == (1, 1, 2)
    assert told.classes == {"c0": 3, "c3": 1}


def test_an_answer_about_the_whole_picture_is_never_empty() -> None:
    book = SightBook()
    book.result([Result((64, 64), ("a", "b"), classes=np.float32([0.2, 0.8]))], 0.02)
    assert (book.told().empty, book.told().classes, book.told().counted) == (0, {"b": 1}, True)
    silent = SightBook()
    silent.result([Result((64, 64), semantic=np.zeros((64, 64), np.uint8))], 0.02)
    assert (silent.told().empty, silent.told().counted) == (0, False)


def test_no_answer_is_not_an_empty_scene() -> None:
    book = SightBook()
    book.unanswered("model-nan")
    assert (book.told().asked, book.told().empty, book.told().unanswered) == (1, 0, {"model-nan": 1})


def test_many_classes_and_latencies_stay_a_short_message() -> None:
    book = SightBook()
    for i in range(80):
        book.result([detections(*([0.7] * (i + 1)), class_id=i)], 0.001 * 1.1**i)
    told = book.told()
    assert len(told.classes) <= MAX_CLASSES + 1
    assert sum(told.classes.values()) == sum(told.scores)
    assert len(json.dumps(asdict(told))) < 1500


def test_a_result_of_the_step_counts_before_that_of_the_model() -> None:
    narrowed, whole = detections(0.9), detections(0.9, 0.3)
    assert found({"model": whole, "other": whole}, {"model": narrowed}) == [narrowed, whole]


@pytest.mark.parametrize(("latency_ms", "bin_"), [(0.0, 0), (0.5, 0), (1e9, LATENCY_BINS - 1)])
def test_latencies_beyond_the_ends_lie_in_the_last_bins(latency_ms: float, bin_: int) -> None:
    assert latency_bin(latency_ms) == bin_
