"""Models that speak of the whole picture, and those that read: classification, several labels, a map of classes, text."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from runtime.masks import encode
from runtime.model.spec import ModelSpec, Task
from runtime.results import Result
from runtime.workflow.block import ModelBlock, StepFailed
from runtime.workflow.blocks.models import (
    CONFIDENCE,
    FIRST,
    IMAGES,
    LATER,
    LEARNING,
    MODEL,
    NAMED,
    ModelStep,
    confidence_modes,
    other_task,
)
from runtime.workflow.fields import (
    CLASSIFICATION,
    OBJECT_DETECTION,
    STRING,
    Choice,
    Field,
    Flag,
    Text,
    gives,
    kinds,
    option,
)
from runtime.workflow.values import ROOT_ID, Detections, ImageValue, from_result, objects

Prediction = dict[str, Any]
SEMANTIC = "semantic_segmentation_prediction"
BACKGROUNDS = ("", "background", "__background__", "unlabeled", "_background_")
"""Names of a class 0 that is nothing."""


def about(image: ImageValue, prediction_type: str, inference_id: str) -> Prediction:
    """What every prediction about a whole picture says of it."""
    parent = image.origin.parent_id if image.origin is not None else ROOT_ID
    return {
        "inference_id": inference_id,
        "image": {"width": image.width_px, "height": image.height_px},
        "prediction_type": prediction_type,
        "parent_id": parent,
        "root_parent_id": ROOT_ID,
    }


def scores_of(result: Result, model: ModelSpec, task: Task) -> list[float]:
    if result.classes is None:
        raise StepFailed(other_task(model, task))
    scores: list[float] = result.classes.astype(np.float64).tolist()
    return scores


class ClassificationV1(ModelStep):
    """`predictions` holds the classes that reach the threshold, the best first, `top` and `confidence` the best one."""

    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_classification_model@v1",
        "RoboflowClassificationModel",
        "ClassificationModel",
    )
    title = "Single-label classification model"
    fields: ClassVar[tuple[Field, ...]] = (IMAGES, MODEL, CONFIDENCE, *LEARNING)
    outputs = gives(predictions=kinds(CLASSIFICATION), **FIRST)

    def prediction(  # type: ignore[override]
        self,
        result: Result,
        *,
        model: ModelSpec,
        images: ImageValue,
        confidence: float | None,
        inference_id: str,
        **_: Any,
    ) -> Prediction:
        limit = model.decode.score_threshold if confidence is None else confidence
        entries: list[Prediction] = [
            {"class": result.label(i), "class_id": i, "confidence": round(score, 4)}
            for i, score in enumerate(scores_of(result, model, Task.CLASSIFICATION))
            if score >= limit
        ]
        entries.sort(key=lambda entry: -float(entry["confidence"]))
        best = entries[0] if entries else {"class": "", "confidence": 0.0}
        return {
            **about(images, "classification", inference_id),
            "predictions": entries,
            "top": best["class"],
            "confidence": best["confidence"],
        }


class ClassificationV2(ClassificationV1):
    types = ("roboflow_core/roboflow_classification_model@v2",)
    outputs = gives(predictions=kinds(CLASSIFICATION), **LATER, **NAMED)


class ClassificationV3(ClassificationV2):
    types = ("roboflow_core/roboflow_classification_model@v3",)
    fields = (IMAGES, MODEL, *confidence_modes("default"), *LEARNING)


class MultiLabelV1(ModelStep):
    """`predictions` holds the score of every class, `predicted_classes` those above the threshold."""

    types: ClassVar[tuple[str, ...]] = (
        "roboflow_core/roboflow_multi_label_classification_model@v1",
        "RoboflowMultiLabelClassificationModel",
        "MultiLabelClassificationModel",
    )
    title = "Multi-label classification model"
    fields: ClassVar[tuple[Field, ...]] = (IMAGES, MODEL, CONFIDENCE, *LEARNING)
    outputs = gives(predictions=kinds(CLASSIFICATION), **FIRST)

    def prediction(  # type: ignore[override]
        self,
        result: Result,
        *,
        model: ModelSpec,
        images: ImageValue,
        confidence: float | None,
        inference_id: str,
        **_: Any,
    ) -> Prediction:
        limit = model.decode.score_threshold if confidence is None else confidence
        scores = scores_of(result, model, Task.MULTI_LABEL)
        names = [result.label(i) for i in range(len(scores))]
        return {
            **about(images, "classification", inference_id),
            "predictions": {
                name: {"confidence": score, "class_id": i}
                for i, (name, score) in enumerate(zip(names, scores, strict=True))
            },
            "predicted_classes": [n for n, score in zip(names, scores, strict=True) if score > limit],
        }


class MultiLabelV2(MultiLabelV1):
    types = ("roboflow_core/roboflow_multi_label_classification_model@v2",)
    outputs = gives(predictions=kinds(CLASSIFICATION), **LATER, **NAMED)


class MultiLabelV3(MultiLabelV2):
    types = ("roboflow_core/roboflow_multi_label_classification_model@v3",)
    fields = (IMAGES, MODEL, *confidence_modes("best", "default"), *LEARNING)


class SemanticSegmentationV1(ModelStep):
    """One detection for each class that is in the picture, its mask as run lengths; class 0 is left out where it is called
    background, or has no name."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/roboflow_semantic_segmentation_model@v1",)
    title = "Semantic segmentation model"
    fields: ClassVar[tuple[Field, ...]] = (IMAGES, MODEL)
    outputs = gives(**LATER, predictions=kinds(SEMANTIC), **NAMED)

    def prediction(self, result: Result, *, model: ModelSpec, images: ImageValue, **_: Any) -> Detections:  # type: ignore[override]
        if result.semantic is None:
            raise StepFailed(other_task(model, Task.SEMANTIC_SEGMENTATION))
        seen = [int(i) for i in np.flatnonzero(np.bincount(result.semantic.ravel()))]
        if not result.labels or result.labels[0].lower() in BACKGROUNDS:
            seen = [i for i in seen if i]
        bitmaps = [result.semantic == i for i in seen]
        boxes = [_box(bitmap) for bitmap in bitmaps]
        return Detections(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.ones(len(seen), np.float32),
            np.array(seen, np.int64),
            objects([result.label(i) for i in seen]),
            self.around.ids.take(len(seen)),
            images.wh,
            origin=images.origin,
            masks=tuple(encode(bitmap) for bitmap in bitmaps),
            prediction_type="semantic-segmentation",
            mask_form="rle",
        )


def _box(bitmap: Any) -> list[int]:
    """x1 y1 x2 y2 of the first and last rows and columns that hold something."""
    columns, rows = np.flatnonzero(bitmap.any(axis=0)), np.flatnonzero(bitmap.any(axis=1))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]


class SemanticSegmentationV2(SemanticSegmentationV1):
    """A map of classes has no scores any more: the confidence is the package's affair."""

    types = ("roboflow_core/roboflow_semantic_segmentation_model@v2",)
    fields = (IMAGES, MODEL, *confidence_modes("best", "default"))


def _named(model_id: str) -> Field:
    """The model that reads, by its name in the pipeline's `models`."""
    return option("model_id", Text(256), model_id)


class ReadText(ModelBlock):
    """Text in the picture: `result` holds all of it, the lines from top to bottom. The original brings a model of its own; here
    the package bound to `model_id` reads, which is the block's own name where the step names none."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/ocr_model@v1", "OCRModel")
    title = "OCR model"
    fields: ClassVar[tuple[Field, ...]] = (IMAGES, _named("ocr_model"))
    outputs = gives(
        result=kinds(STRING),
        predictions=kinds(OBJECT_DETECTION),
        parent_id=kinds("parent_id"),
        root_parent_id=kinds("parent_id"),
        prediction_type=kinds("prediction_type"),
    )

    def answer(self, result: Result, *, model: ModelSpec, images: ImageValue, **_: Any) -> tuple[Any, ...]:  # type: ignore[override]
        if result.texts is None:
            raise StepFailed(other_task(model, Task.TEXT))
        order = np.lexsort((result.boxes[:, 0], result.boxes[:, 1]))
        read = result.select(order)
        texts = objects([str(text) for text in read.texts or ()])
        parent = images.origin.parent_id if images.origin is not None else ROOT_ID
        found = from_result(read, images, self.around.ids)
        words = Detections(
            found.xyxy,
            found.confidence,
            np.zeros(len(texts), np.int64),
            texts,
            found.detection_id,
            images.wh,
            origin=images.origin,
            prediction_type="ocr",
        )
        return "\n".join(texts.tolist()), words, parent, ROOT_ID, "ocr"


class EasyOcr(ReadText):
    types = ("roboflow_core/easy_ocr@v1", "EasyOCR")
    title = "EasyOCR"
    LANGUAGES: ClassVar = (
        *("English", "Japanese", "Kannada", "Korean", "Latin", "Telugu", "Simplified Chinese"),
    )
    fields = (
        IMAGES,
        _named("easy_ocr"),
        Field("language", literal=Choice(LANGUAGES), required=False, default="English"),
        Field("quantize", literal=Flag(), required=False, default=False),
    )


class PpOcr(ReadText):
    types = ("roboflow_core/pp_ocr@v1",)
    title = "PP-OCR"
    SIZES: ClassVar = Choice(("none", "tiny", "small", "medium"))
    fields = (
        IMAGES,
        _named("pp_ocr"),
        Field("text_detection", literal=SIZES, required=False, default="small"),
        Field("text_recognition", literal=SIZES, required=False, default="small"),
    )


BLOCKS: tuple[type[ModelBlock], ...] = (
    ClassificationV1,
    ClassificationV2,
    ClassificationV3,
    MultiLabelV1,
    MultiLabelV2,
    MultiLabelV3,
    SemanticSegmentationV1,
    SemanticSegmentationV2,
    ReadText,
    EasyOcr,
    PpOcr,
)
