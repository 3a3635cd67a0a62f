"""Models as steps. `model_id` is bound to an engine by the executor; thresholds narrow what the package's own decoding gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from runtime.model.spec import ModelSpec
from runtime.results import Result
from runtime.workflow.block import ModelBlock
from runtime.workflow.fields import (
    BOOLEAN,
    FLOAT,
    INFERENCE_ID,
    INTEGER,
    LIST,
    MODEL_ID,
    OBJECT_DETECTION,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Either,
    Field,
    Flag,
    ListOf,
    Literal,
    Nothing,
    Number,
    Text,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.geometry import keep_after_nms
from runtime.workflow.values import Detections, ImageValue, from_result

SHARE = Number(0, 1)


def maybe(literal: Literal) -> Literal:
    return Either((Nothing(), literal))


COMMON = (
    image("images"),
    need("model_id", Text(256), MODEL_ID, STRING),
    option("class_agnostic_nms", maybe(Flag()), None, BOOLEAN),
    option("class_filter", maybe(ListOf(Text(256))), None, LIST),
    option("iou_threshold", maybe(SHARE), None, ZERO_TO_ONE, FLOAT),
    option("max_detections", maybe(Number(1, integer=True)), None, INTEGER),
    option("max_candidates", maybe(Number(1, integer=True)), None, INTEGER),
    option("disable_active_learning", Flag(), True, BOOLEAN),
    option("active_learning_target_dataset", maybe(Text(256)), None, "roboflow_project", STRING),
)
PEER_CONFIDENCE = 0.4
"""The threshold that a definition means when it names none (versions 1 and 2 of the block)."""


def narrow(
    result: Result,
    spec: ModelSpec,
    confidence: float | None,
    class_filter: Sequence[str] | None,
    iou_threshold: float | None,
    class_agnostic_nms: bool | None,
    max_detections: int | None,
) -> Result:
    """The detections that the step's own thresholds leave. The package's own thresholds have been applied before: what they
    took away does not come back."""
    if confidence is not None and confidence > spec.decode.score_threshold and len(result):
        result = result.select(result.scores >= confidence)
    if class_filter and len(result):
        wanted = set(class_filter)
        result = result.select(np.array([name in wanted for name in result.class_names], bool))
    result = _again(result, spec, iou_threshold, bool(class_agnostic_nms))
    if max_detections is not None and len(result) > max_detections:
        result = result.select(np.arange(max_detections))
    return result


def _again(result: Result, spec: ModelSpec, iou_threshold: float | None, agnostic: bool) -> Result:
    """NMS once more, where the step asks for a stricter one than the package's."""
    decode = spec.decode
    limit = decode.iou_threshold if iou_threshold is None else iou_threshold
    stricter = limit < decode.iou_threshold or (agnostic and decode.nms == "class")
    if decode.nms == "none" or not stricter or len(result) < 2:
        return result
    groups = None if agnostic or decode.nms == "agnostic" else result.class_ids
    return result.select(keep_after_nms(result.boxes, result.scores, groups, limit))


class ObjectDetectionV1(ModelBlock):
    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_object_detection_model@v1",
        "RoboflowObjectDetectionModel",
        "ObjectDetectionModel",
    )
    title = "Object detection model"
    fields: ClassVar[tuple[Field, ...]] = (
        *COMMON,
        option("confidence", maybe(SHARE), PEER_CONFIDENCE, ZERO_TO_ONE, FLOAT),
    )
    outputs = gives(inference_id=kinds(INFERENCE_ID), predictions=kinds(OBJECT_DETECTION))

    def answer(self, result: Result, **values: Any) -> tuple[Any, ...]:
        return self._inference_id(), self.detections(result, **values)

    def _inference_id(self) -> str:
        return str(self.around.ids.take(1)[0])

    def detections(
        self,
        result: Result,
        *,
        model: ModelSpec,
        images: ImageValue,
        confidence: float | None,
        class_filter: Sequence[str] | None,
        iou_threshold: float | None,
        class_agnostic_nms: bool | None,
        max_detections: int | None,
        **_: Any,
    ) -> Detections:
        """The detections in the picture, after the step's own thresholds."""
        left = narrow(
            result, model, confidence, class_filter, iou_threshold, class_agnostic_nms, max_detections
        )
        return replace(from_result(left, images, self.around.ids), prediction_type="object-detection")


class ObjectDetectionV2(ObjectDetectionV1):
    types = ("roboflow_core/roboflow_object_detection_model@v2",)
    outputs = gives(**ObjectDetectionV1.outputs, model_id=kinds(MODEL_ID))

    def answer(self, result: Result, **values: Any) -> tuple[Any, ...]:
        return self._inference_id(), self.detections(result, **values), values["model_id"]


class ObjectDetectionV3(ObjectDetectionV2):
    """`confidence_mode`: `best` and `default` leave the package's threshold, `custom` takes `custom_confidence`."""

    types = ("roboflow_core/roboflow_object_detection_model@v3",)
    fields = (
        *COMMON,
        option("confidence_mode", Choice(("best", "default", "custom")), "best", STRING),
        option("custom_confidence", maybe(SHARE), None, ZERO_TO_ONE, FLOAT),
        option("confidence", maybe(SHARE), None, ZERO_TO_ONE, FLOAT),
    )

    def answer(self, result: Result, **values: Any) -> tuple[Any, ...]:
        custom = values.pop("custom_confidence")
        if values.pop("confidence_mode") == "custom" and custom is not None:
            values["confidence"] = custom
        return super().answer(result, **values)


BLOCKS = (ObjectDetectionV1, ObjectDetectionV2, ObjectDetectionV3)
