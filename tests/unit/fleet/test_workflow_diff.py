"""Two versions of a workflow compared."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleet.workflow_diff import diff

NAMES = ("count@1", "count@2")
STEPS: list[dict[str, Any]] = [
    {"type": "model@v1", "name": "detect", "model_id": "a", "options": {"confidence": 0.4, "classes": ["x"]}},
    {"type": "count@v1", "name": "count", "of": "$steps.detect.predictions"},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.lists(st.dictionaries(st.sampled_from(["name", "type", "x"]), JSON, max_size=3) | JSON, max_size=4)


def test_fields_of_a_changed_step_are_told_by_path() -> None:
    options = {"confidence": 0.5, "classes": ["x"], "iou": 0.3}
    after = [{**STEPS[0], "options": options}, {"type": "draw@v1", "name": "draw"}]
    found = diff({"steps": STEPS}, {"steps": after}, NAMES)["steps"]
    assert (found["added"], found["removed"]) == (["draw"], ["count"])
    assert found["changed"] == [
        {
            "name": "detect",
            "fields": [
                {"path": "options.confidence", "before": 0.4, "after": 0.5},
                {"path": "options.iou", "after": 0.3},
            ],
        }
    ]


def test_order_and_the_wrapping_of_the_editor_are_no_difference() -> None:
    assert diff({"steps": STEPS}, {"specification": {"steps": STEPS[::-1]}}, NAMES)["same"]


def test_true_is_not_one() -> None:
    one, two = ({"outputs": [{"name": "a", "flag": flag}]} for flag in (True, 1))
    assert not diff(one, two, NAMES)["same"]


@given(PARTS, PARTS)
def test_any_two_documents_are_compared_and_a_document_equals_itself(one: Any, two: Any) -> None:
    assert diff({"steps": one}, {"steps": one}, NAMES)["same"]
    there = diff({"steps": one}, {"steps": two}, NAMES)["steps"]
    back = diff({"steps": two}, {"steps": one}, NAMES)["steps"]
    assert (there["added"], there["removed"]) == (back["removed"], back["added"])
    assert len(there["changed"]) == len(back["changed"])
