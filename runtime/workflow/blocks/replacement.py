"""What was found in the parts of a picture, brought back to the objects that the parts were cut by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.masks import decode as decoded
from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import (
    CLASSIFICATION,
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    KEYPOINTS,
    LIST,
    OBJECT_DETECTION,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Either,
    Field,
    Nothing,
    Number,
    Text,
    gives,
    kinds,
    option,
)
from runtime.workflow.regions import united
from runtime.workflow.values import Array, Detections, empty_like, objects

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION, KEYPOINTS)
NO_CLASS_ID = 2**63 - 1
"""Of a fallback class without a number, as in the original."""

Named = tuple[str, int, float]
"""Class name, class id, confidence."""


class DetectionsClassesReplacement(Block):
    """Classes of detections replaced by what was found in each one's crop: a classification, or a text. Those without an answer
    are left out, or get the fallback class."""

    types = ("roboflow_core/detections_classes_replacement@v1", "DetectionsClassesReplacement")
    title = "Detections classes replacement"
    fields = (
        Field("object_detection_predictions", OBJECTS),
        Field("classification_predictions", kinds(CLASSIFICATION, LIST, STRING), offset=1),
        option("fallback_class_name", Either((Nothing(), Text(256))), None, STRING),
        option("fallback_class_id", Either((Nothing(), Number(integer=True))), None, INTEGER),
    )
    outputs = gives(predictions=OBJECTS)
    accepts_empty = True

    def run(
        self,
        object_detection_predictions: Detections | None,
        classification_predictions: list[Any] | None,
        fallback_class_name: str | None,
        fallback_class_id: int | None,
    ) -> Detections | None:
        detections, answers = object_detection_predictions, classification_predictions
        if detections is None:
            return None
        fallback = _fallback(fallback_class_name, fallback_class_id)
        found = _found(detections, answers or [], fallback)
        rows = [i for i, named in enumerate(found) if named is not None]
        named = [entry for entry in found if entry is not None]
        kept = detections.select(np.array(rows, np.intp))
        return replace(
            kept,
            class_name=objects([name for name, _, _ in named]),
            class_id=np.array([number for _, number, _ in named], np.int64),
            confidence=np.array([score for _, _, score in named], np.float64),
            detection_id=self.around.ids.take(len(named)),
        )


def _fallback(name: str | None, number: int | None) -> Named | None:
    if not name:
        return None
    return name, NO_CLASS_ID if number is None or number < 0 else number, 0.0


def _found(detections: Detections, answers: list[Any], fallback: Named | None) -> list[Named | None]:
    """The class of each detection: classifications name the detection they belong to, texts come in its order."""
    first = next((answer for answer in answers if answer is not None), None)
    if first is None:
        return [None] * len(detections)
    if isinstance(first, (str, list)):
        padded = [*answers, *[None] * len(detections)][: len(detections)]
        return [fallback if answer is None else _text_class(answer, fallback) for answer in padded]
    said = [answer for answer in answers if isinstance(answer, Mapping)]
    if all("predictions" not in a or ("top" in a and not a["top"]) for a in said):
        return [None] * len(detections)
    if any("parent_id" not in answer for answer in said):
        raise StepFailed(
            "classifications have no parent_id: cut the crops with dynamic_crop before the model"
        )
    by_id = {str(answer["parent_id"]): _top_class(answer, fallback) for answer in said}
    return [by_id.get(str(own)) for own in detections.detection_id.tolist()]


def _text_class(answer: Any, fallback: Named | None) -> Named | None:
    if isinstance(answer, str):
        return answer, 0, 1.0
    if isinstance(answer, list) and not answer:
        return fallback
    return (answer[0], 0, 1.0) if isinstance(answer, list) and isinstance(answer[0], str) else None


def _top_class(answer: Mapping[str, Any], fallback: Named | None) -> Named | None:
    """The best class of a classification.

    :raises StepFailed: the top class is not, or not only once, among the predictions
    """
    entries = answer.get("predictions")
    if "top" in answer:
        if not entries:
            return fallback
        named = [e for e in entries if e["class"] == answer["top"]]
        if len(named) != 1:
            raise StepFailed(f"class {answer['top']!r} is named {len(named)} times in a classification")
        return answer["top"], int(named[0]["class_id"]), float(named[0]["confidence"])
    if not answer.get("predicted_classes") or not entries:
        return None
    name, best = max(entries.items(), key=lambda item: float(item[1]["confidence"]))
    return (name, int(best["class_id"]), float(best["confidence"])) if best["confidence"] else None


class DetectionsListRollUp(Block):
    """Detections made in crops, in the picture that the crops were cut from, and the crops' outlines. Overlapping ones of a class
    become one (IoU of at least `overlap_threshold`; 0: any overlap); keypoints become one where they lie closer than
    `keypoint_merge_threshold` pixels on average."""

    types = ("roboflow_core/detections_list_rollup@v1", "DetectionsListRollUp")
    title = "Detections list roll-up"
    fields = (
        Field("parent_detection", OBJECTS),
        Field("child_detections", kinds(LIST)),
        option("confidence_strategy", Choice(("max", "mean", "min")), "max", LIST),
        option("overlap_threshold", Number(0, 1), 0.0, ZERO_TO_ONE),
        option("keypoint_merge_threshold", Number(0), 10.0, FLOAT),
    )
    outputs = gives(rolled_up_detections=OBJECTS, crop_zones=kinds(LIST))

    def run(
        self,
        parent_detection: Detections,
        child_detections: list[Any],
        confidence_strategy: str,
        overlap_threshold: float,
        keypoint_merge_threshold: float,
    ) -> tuple[Any, ...]:
        parents = parent_detection
        if len(parents) != len(child_detections):
            raise StepFailed(
                f"{len(parents)} parent detections and {len(child_detections)} lists of children: give the detections "
                "that the crops were cut by"
            )
        zones = [
            [(x1, y1), (x2, y1), (x2, y2), (x1, y2)] for x1, y1, x2, y2 in parents.xyxy.astype(float).tolist()
        ]
        moved_in = [_in_parent(child, parents, i) for i, child in enumerate(child_detections)]
        parts = [part for part in moved_in if part is not None and len(part)]
        if not parts:
            return empty_like(parents), zones
        from runtime.workflow.blocks.fusion import joined

        everything = joined(parts)
        groups = _groups(everything, overlap_threshold, keypoint_merge_threshold)
        merged = joined([_one(everything.select(group), confidence_strategy) for group in groups])
        return replace(merged, detection_id=self.around.ids.take(len(merged))), zones


def _in_parent(child: Any, parents: Detections, i: int) -> Detections | None:
    if not isinstance(child, Detections) or not len(child):
        return None
    corner = parents.xyxy[i, :2].astype(int).astype(np.float64)
    placed = child.placed_at(np.tile(corner, 2), np.ones(4), parents.image_wh)
    return replace(placed, origin=parents.origin)


def _groups(detections: Detections, iou_limit: float, keypoint_limit: float) -> list[Array]:
    """Rows that are one object: of one class, connected by overlap or by near keypoints."""
    count = len(detections)
    linked = np.eye(count, dtype=bool)
    for i in range(count):
        for j in range(i + 1, count):
            if detections.class_id[i] == detections.class_id[j]:
                linked[i, j] = linked[j, i] = _same(detections, i, j, iou_limit, keypoint_limit)
    left, groups = list(range(count)), []
    order = list(dict.fromkeys(detections.class_id.tolist()))
    left.sort(key=lambda row: order.index(int(detections.class_id[row])))
    while left:
        group, waiting = [], [left[0]]
        while waiting:
            row = waiting.pop(0)
            if row in left:
                left.remove(row)
                group.append(row)
                waiting += [other for other in left if linked[row, other]]
        groups.append(np.array(sorted(group), np.intp))
    return groups


def _same(detections: Detections, i: int, j: int, iou_limit: float, keypoint_limit: float) -> bool:
    if detections.keypoints is not None:
        apart = detections.keypoints[i, :, :2] - detections.keypoints[j, :, :2]
        return bool(len(apart)) and float(np.linalg.norm(apart, axis=1).mean()) < keypoint_limit
    if detections.masks is not None:
        a, b = (decoded(detections.masks[k]) for k in (i, j))
        shared, either = float((a & b).sum()), float((a | b).sum())
    else:
        a, b = detections.xyxy[i], detections.xyxy[j]
        sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
        shared = float(np.prod(sides))
        either = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared > 0 and (iou_limit <= 0 or shared / either >= iou_limit)


def _one(group: Detections, confidence_strategy: str) -> Detections:
    """A group as one detection."""
    score = float(getattr(np, confidence_strategy)(group.confidence))
    first = group.select(np.zeros(1, np.intp))
    box = np.concatenate([group.xyxy[:, :2].min(axis=0), group.xyxy[:, 2:].max(axis=0)])
    keypoints, masks = first.keypoints, first.masks
    if group.keypoints is not None:
        keypoints, box = group.keypoints.mean(axis=0, keepdims=True), group.xyxy.mean(axis=0)
    elif group.masks is not None:
        masks = (united(group.masks),)
        box = _mask_box(masks[0])
    return replace(
        first, xyxy=box[None], confidence=np.array([score], np.float64), keypoints=keypoints, masks=masks
    )


def _mask_box(mask: Mapping[str, Any]) -> Array:
    from runtime.workflow.regions import box_of

    return np.array(box_of(mask))


BLOCKS: tuple[type[Block], ...] = (DetectionsClassesReplacement, DetectionsListRollUp)
