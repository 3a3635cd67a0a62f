"""Models as steps. `model_id` is bound to an engine by the executor; thresholds narrow what the package's own decoding gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from runtime.model.spec import ModelSpec, Task
from runtime.results import Result
from runtime.workflow.block import ModelBlock, StepFailed
from runtime.workflow.fields import (
    BOOLEAN,
    INFERENCE_ID,
    INSTANCE_SEGMENTATION,
    INTEGER,
    KEYPOINTS,
    LIST,
    MODEL_ID,
    OBJECT_DETECTION,
    RLE_INSTANCE_SEGMENTATION,
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


IMAGES = image("images")
MODEL = need("model_id", Text(256), MODEL_ID)
LEARNING = (
    option("disable_active_learning", Flag(), True, BOOLEAN),
    option("active_learning_target_dataset", maybe(Text(256)), None, "roboflow_project"),
)
"""Belongs to the original's cloud; read and passed over."""
COMMON = (
    IMAGES,
    MODEL,
    option("class_agnostic_nms", maybe(Flag()), False, BOOLEAN),
    option("class_filter", maybe(ListOf(Text(256))), None, LIST),
    option("iou_threshold", maybe(SHARE), 0.3, ZERO_TO_ONE),
    option("max_detections", maybe(Number(1, integer=True)), 300, INTEGER),
    option("max_candidates", maybe(Number(1, integer=True)), 3000, INTEGER),
    *LEARNING,
)
PEER_CONFIDENCE = 0.4
"""The threshold that a definition means when it names none (versions 1 and 2 of the blocks)."""
CONFIDENCE = option("confidence", maybe(SHARE), PEER_CONFIDENCE, ZERO_TO_ONE)


def confidence_modes(*modes: str) -> tuple[Field, ...]:
    """`custom` takes `custom_confidence`; the others leave the package's own threshold."""
    return (
        option("confidence_mode", Choice((*modes, "custom")), modes[0], STRING),
        option("custom_confidence", maybe(SHARE), PEER_CONFIDENCE, ZERO_TO_ONE),
    )


def chosen_confidence(values: dict[str, Any]) -> float | None:
    """The threshold that a step names, None for the package's; the fields it stands in are taken out of the values."""
    if "confidence_mode" in values:
        custom = values.pop("custom_confidence")
        named: float | None = custom if values.pop("confidence_mode") == "custom" else None
    else:
        named = values.pop("confidence", None)
    return named


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


class ModelStep(ModelBlock):
    """What the versions of all model blocks have in common. `prediction` gives what the model saw in one picture; version 1
    does not give `model_id`."""

    def answer(self, result: Result, **values: Any) -> tuple[Any, ...]:
        values["confidence"] = chosen_confidence(values)
        told: dict[str, Any] = {
            "inference_id": str(self.around.ids.take(1)[0]),
            "model_id": values["model_id"],
        }
        told["predictions"] = self.prediction(result, inference_id=told["inference_id"], **values)
        return tuple(told[name] for name in self.outputs)

    def prediction(self, result: Result, **values: Any) -> Any:
        raise NotImplementedError


FIRST = {"inference_id": kinds(STRING)}
LATER = {"inference_id": kinds(INFERENCE_ID)}
NAMED = {"model_id": kinds(MODEL_ID)}


class ObjectDetectionV1(ModelStep):
    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_object_detection_model@v1",
        "RoboflowObjectDetectionModel",
        "ObjectDetectionModel",
    )
    title = "Object detection model"
    fields: ClassVar[tuple[Field, ...]] = (*COMMON, CONFIDENCE)
    outputs = gives(**FIRST, predictions=kinds(OBJECT_DETECTION))

    def prediction(  # type: ignore[override]
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
        **others: Any,
    ) -> Detections:
        """The detections in the picture, after the step's own thresholds."""
        left = narrow(
            result, model, confidence, class_filter, iou_threshold, class_agnostic_nms, max_detections
        )
        return self.shaped(from_result(left, images, self.around.ids), model, **others)

    def shaped(self, detections: Detections, model: ModelSpec, **_: Any) -> Detections:
        """What of the detections the block gives on: boxes."""
        return replace(detections, prediction_type="object-detection", masks=None, keypoints=None)


class ObjectDetectionV2(ObjectDetectionV1):
    types = ("roboflow_core/roboflow_object_detection_model@v2",)
    outputs = gives(**LATER, predictions=kinds(OBJECT_DETECTION), **NAMED)


class ObjectDetectionV3(ObjectDetectionV2):
    types = ("roboflow_core/roboflow_object_detection_model@v3",)
    fields = (*COMMON, *confidence_modes("best", "default"))


MASK_DECODING = (
    option("mask_decode_mode", Choice(("accurate", "tradeoff", "fast")), "accurate", STRING),
    option("tradeoff_factor", SHARE, 0.0, ZERO_TO_ONE),
)
"""How the original trades accuracy of masks for speed; a package's masks are always accurate."""
DENSE = option("enforce_dense_masks_in_inference_models", Flag(), True, BOOLEAN)


class InstanceSegmentationV1(ObjectDetectionV1):
    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_instance_segmentation_model@v1",
        "RoboflowInstanceSegmentationModel",
        "InstanceSegmentationModel",
    )
    title = "Instance segmentation model"
    fields: ClassVar[tuple[Field, ...]] = (*COMMON, CONFIDENCE, *MASK_DECODING, DENSE)
    outputs = gives(**FIRST, predictions=kinds(INSTANCE_SEGMENTATION))
    mask_form: ClassVar[str] = "points"

    def shaped(self, detections: Detections, model: ModelSpec, **_: Any) -> Detections:
        if detections.masks is None:
            raise StepFailed(other_task(model, Task.INSTANCE_SEGMENTATION))
        return replace(detections, mask_form=self.mask_form, keypoints=None)


class InstanceSegmentationV2(InstanceSegmentationV1):
    types = ("roboflow_core/roboflow_instance_segmentation_model@v2",)
    outputs = gives(**LATER, predictions=kinds(INSTANCE_SEGMENTATION), **NAMED)


class InstanceSegmentationV3(InstanceSegmentationV2):
    types = ("roboflow_core/roboflow_instance_segmentation_model@v3",)
    fields = (*COMMON, *confidence_modes("best", "default"), *MASK_DECODING, DENSE)


class InstanceSegmentationV4(InstanceSegmentationV2):
    """Masks are written as run lengths."""

    types = ("roboflow_core/roboflow_instance_segmentation_model@v4",)
    fields = (*COMMON, *confidence_modes("best", "default"), *MASK_DECODING)
    outputs = gives(**LATER, predictions=kinds(RLE_INSTANCE_SEGMENTATION, INSTANCE_SEGMENTATION), **NAMED)
    mask_form = "rle"


class KeypointsV1(ObjectDetectionV1):
    """Points below `keypoint_confidence` are left out."""

    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_keypoint_detection_model@v1",
        "RoboflowKeypointDetectionModel",
        "KeypointsDetectionModel",
    )
    title = "Keypoint detection model"
    fields: ClassVar[tuple[Field, ...]] = (
        *COMMON,
        CONFIDENCE,
        option("keypoint_confidence", maybe(SHARE), 0.0, ZERO_TO_ONE),
    )
    outputs = gives(**FIRST, predictions=kinds(KEYPOINTS))

    def shaped(self, detections: Detections, model: ModelSpec, **values: Any) -> Detections:
        points = detections.keypoints
        if points is None:
            raise StepFailed(other_task(model, Task.KEYPOINTS))
        own = model.keypoint_names or tuple(str(k) for k in range(points.shape[1]))
        names = np.full(points.shape[:2], "", object)
        names[:] = own[: points.shape[1]]
        names[points[..., 2] < (values["keypoint_confidence"] or 0.0)] = ""
        return replace(detections, keypoint_names=names, masks=None, prediction_type="keypoint-detection")


class KeypointsV2(KeypointsV1):
    types = ("roboflow_core/roboflow_keypoint_detection_model@v2",)
    outputs = gives(**LATER, predictions=kinds(KEYPOINTS), **NAMED)


class KeypointsV3(KeypointsV2):
    types = ("roboflow_core/roboflow_keypoint_detection_model@v3",)
    fields = (*COMMON, *confidence_modes("default"), KeypointsV1.fields[-1])


def other_task(model: ModelSpec, wanted: Task) -> str:
    """What is said where a package of another task is bound to a step."""
    return f"model {model.name!r} is for {model.task.value}: bind a package for {wanted.value} to this step"


BLOCKS: tuple[type[ModelBlock], ...] = (
    ObjectDetectionV1,
    ObjectDetectionV2,
    ObjectDetectionV3,
    InstanceSegmentationV1,
    InstanceSegmentationV2,
    InstanceSegmentationV3,
    InstanceSegmentationV4,
    KeypointsV1,
    KeypointsV2,
    KeypointsV3,
)
