"""Definitions and values that several tests use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.model.engine import Done, Ticket
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Image, NoAnswer, Result
from runtime.workflow.values import ImageValue
from wire.reasons import Reason

SPEC = ModelSpec(
    "fake",
    Task.DETECTION,
    "yolox",
    InputSpec("images", 64, 64),
    DecodeSpec(score_threshold=0.1),
    ("person", "car"),
)


class FakeEngine:
    """Answers at once, or when `release` is called; counts what it was asked."""

    def __init__(self, *answers: Answer, held: bool = False) -> None:
        self.spec = SPEC
        self.digest = "sha256:" + "0" * 64
        self.asked: list[int] = []
        self._answers = list(answers)
        self._held = held

    def submit(self, images: Sequence[Image]) -> Ticket:
        self.asked.append(len(images))
        given = [self._answers[i % len(self._answers)] for i in range(len(images))]
        return _Held(given) if self._held else Done(tuple(given))

    def close(self) -> None:
        pass


class _Held:
    def __init__(self, answers: list[Answer]) -> None:
        self._answers = answers

    def ready(self) -> bool:
        return False

    def wait(self, timeout_s: float) -> list[Answer]:
        return [NoAnswer(Reason.ENGINE_TIMEOUT, "late") for _ in self._answers]


def result(*scores: float, class_ids: Sequence[int] | None = None) -> Result:
    """Boxes of 10 × 10 px side by side, one for each score."""
    lefts = np.arange(len(scores), dtype=np.float32) * 12
    boxes = np.stack([lefts, np.zeros_like(lefts), lefts + 10, np.full_like(lefts, 10)], axis=1)
    ids = np.array(class_ids if class_ids is not None else [0] * len(scores), np.int32)
    return Result((64, 48), SPEC.labels, boxes, np.array(scores, np.float32), ids)


def picture() -> ImageValue:
    return ImageValue(np.zeros((48, 64, 3), np.uint8))


def statement(property_name: str, comparator: str, value: Any) -> dict[str, Any]:
    return {
        "type": "BinaryStatement",
        "left_operand": {
            "type": "DynamicOperand",
            "operand_name": "_",
            "operations": [{"type": "ExtractDetectionProperty", "property_name": property_name}],
        },
        "comparator": {"type": comparator},
        "right_operand": {"type": "StaticOperand", "value": value},
    }


def group(*statements: Any, operator: str = "and") -> dict[str, Any]:
    return {"type": "StatementGroup", "operator": operator, "statements": list(statements)}


def detections_filter(*statements: Any, operator: str = "and") -> list[dict[str, Any]]:
    return [{"type": "DetectionsFilter", "filter_operation": group(*statements, operator=operator)}]


def counting(model: str = "m") -> dict[str, Any]:
    """Model → filter → count → expression."""
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [
            {
                "type": "roboflow_core/roboflow_object_detection_model@v2",
                "name": "model",
                "images": "$inputs.image",
                "model_id": model,
            },
            {
                "type": "roboflow_core/detections_filter@v1",
                "name": "people",
                "predictions": "$steps.model.predictions",
                "operations": detections_filter(statement("class_name", "==", "person")),
                "operations_parameters": {},
            },
            {
                "type": "roboflow_core/property_definition@v1",
                "name": "count",
                "data": "$steps.people.predictions",
                "operations": [{"type": "SequenceLength"}],
            },
            crowd("$steps.count.output"),
        ],
        "outputs": [
            {"type": "JsonField", "name": "people", "selector": "$steps.people.predictions"},
            {"type": "JsonField", "name": "count", "selector": "$steps.count.output"},
            {"type": "JsonField", "name": "verdict", "selector": "$steps.crowd.output"},
        ],
    }


def crowd(selector: str) -> dict[str, Any]:
    many = {
        "type": "BinaryStatement",
        "left_operand": {"type": "DynamicOperand", "operand_name": "n", "operations": []},
        "comparator": {"type": "(Number) >"},
        "right_operand": {"type": "StaticOperand", "value": 2},
    }
    case = {
        "type": "CaseDefinition",
        "condition": group(many),
        "result": {"type": "StaticCaseResult", "value": "crowd"},
    }
    return {
        "type": "roboflow_core/expression@v1",
        "name": "crowd",
        "data": {"n": selector},
        "switch": {
            "type": "CasesDefinition",
            "cases": [case],
            "default": {"type": "StaticCaseResult", "value": "quiet"},
        },
    }
