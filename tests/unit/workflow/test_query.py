from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.workflow.fields import Report
from runtime.workflow.geometry import inside_polygon, iou_matrix, keep_after_nms
from runtime.workflow.query.conditions import BOX, compile_condition, compile_operations
from runtime.workflow.values import DetectionIds, Detections, ImageValue, from_result
from tests.unit.workflow.definitions import group, result, statement


def detections(*scores: float) -> Detections:
    image = ImageValue(np.zeros((48, 64, 3), np.uint8))
    return from_result(result(*scores), image, DetectionIds())


def run(operations: list[dict[str, Any]], value: Any) -> Any:
    report = Report()
    chain = compile_operations(operations, "o", report)
    assert not report.problems
    return chain(value, {})


STATEMENTS = st.sampled_from(
    [
        statement("confidence", "(Number) >", 0.5),
        statement("confidence", "(Number) in range", [0.2, 0.8]),
        statement("x_min", "(Number) <=", 12),
        statement("class_name", "==", "person"),
        statement("class_name", "!=", "person"),
        statement("class_name", "in (Sequence)", ["car"]),
        statement("class_name", "(String) startsWith", "per"),
        statement("center", "(Detection) in zone", [[0, 0], [30, 0], [30, 30], [0, 30]]),
        {**statement("size", "(Number) >=", 100), "negate": True},
        {
            "type": "UnaryStatement",
            "operand": statement("tracker_id", "==", 0)["left_operand"] | {"operations": []},
            "operator": {"type": "Exists"},
        },
    ]
)


@given(
    st.lists(STATEMENTS, min_size=1, max_size=4),
    st.sampled_from(["and", "or"]),
    st.lists(st.floats(0, 1, width=32), max_size=6),
)
def test_filtering_all_boxes_at_once_equals_filtering_box_by_box(
    statements: list[Any], operator: str, scores: list[float]
) -> None:
    boxes = detections(*scores)
    condition = compile_condition(group(*statements, operator=operator), "c", Report())
    single = [condition.test({BOX: boxes.select(np.array([i]))}) for i in range(len(boxes))]
    assert condition.mask(boxes, {BOX: boxes}).tolist() == single


def test_a_substring_without_an_end_drops_the_last_character() -> None:
    assert run([{"type": "StringSubSequence"}], "abc") == "ab"


def test_a_number_in_a_text_loses_its_fraction_as_an_integer() -> None:
    assert run([{"type": "ToNumber", "cast_to": "int"}], "3.9") == 3


def test_sorting_downwards_is_the_reverse_of_sorting_upwards() -> None:
    ordered = run(
        [{"type": "SortDetections", "mode": "x_min", "ascending": False}], detections(0.9, 0.8, 0.7)
    )
    assert ordered.xyxy[:, 0].tolist() == [24.0, 12.0, 0.0]


def test_a_box_in_the_middle_of_a_chain_keeps_its_id() -> None:
    boxes = detections(0.9, 0.2)
    last = run([{"type": "DetectionsSelection", "mode": "last"}], boxes)
    assert last.detection_id.tolist() == boxes.detection_id[1:].tolist()


def test_ids_of_detections_do_not_repeat() -> None:
    ids = DetectionIds()
    assert len({*ids.take(50).tolist(), *ids.take(50).tolist()}) == 100


def test_the_border_of_a_zone_is_outside_unless_asked() -> None:
    square = [[0, 0], [10, 0], [10, 10], [0, 10]]
    points = np.array([[5, 5], [10, 5], [0, 0], [11, 5]], float)
    assert inside_polygon(points, square).tolist() == [True, False, False, False]
    assert inside_polygon(points, square, border=True).tolist() == [True, True, True, False]


def test_nms_keeps_the_better_box_and_other_groups() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10]], float)
    scores = np.array([0.5, 0.9, 0.8])
    assert keep_after_nms(boxes, scores, np.array([0, 0, 1]), 0.5).tolist() == [1, 2]
    assert keep_after_nms(boxes, scores, None, 0.5).tolist() == [1]
    assert iou_matrix(boxes[:1], boxes[1:2])[0, 0] == 90 / 110
