"""Fusion: data of several steps, frames or pictures brought together."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.fields import (
    ANY,
    BOXES,
    FLOAT,
    INTEGER,
    LIST,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Field,
    Flag,
    Number,
    Text,
    boxes,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.geometry import keep_after_nms
from runtime.workflow.values import Detections, ImageValue, objects

MAX_FRAMES = 4096


class DimensionCollapse(Block):
    types = ("roboflow_core/dimension_collapse@v1", "DimensionCollapse")
    title = "Dimension collapse"
    fields = (Field("data", kinds(ANY)),)
    outputs = gives(output=kinds(LIST))
    dimension = -1

    def run(self, data: list[Any]) -> list[Any]:
        return data


class Buffer(Block):
    types = ("roboflow_core/buffer@v1", "Buffer")
    title = "Buffer"
    fields = (
        Field("data", kinds(ANY)),
        Field("length", literal=Number(1, MAX_FRAMES, integer=True)),
        option("pad", Flag(), False),
    )
    outputs = gives(output=kinds(LIST))

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._kept: deque[Any] = deque(maxlen=MAX_FRAMES)

    def run(self, data: Any, length: int, pad: bool) -> list[Any]:
        self._kept.appendleft(data)
        while len(self._kept) > length:
            self._kept.pop()
        return list(self._kept) + [None] * ((length - len(self._kept)) if pad else 0)


class FrameDelay(Block):
    types = ("roboflow_core/frame_delay@v1", "FrameDelay", "roboflow_core/time_travel@v1", "TimeTravel")
    title = "Frame delay"
    fields = (Field("data", kinds(ANY)), need("delay", Number(0, MAX_FRAMES, integer=True), INTEGER))
    outputs = gives(output=kinds(ANY))

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._kept: deque[Any] = deque(maxlen=MAX_FRAMES + 1)

    def run(self, data: Any, delay: int) -> Any:
        self._kept.append(data)
        while len(self._kept) > delay + 1:
            self._kept.popleft()
        return self._kept[0] if len(self._kept) == delay + 1 else None


def joined(parts: list[Detections]) -> Detections:
    """All detections one after the other, in the picture of the first; what not all parts have is left out."""
    if not parts:
        raise StepFailed("there are no detections to join")
    full = [p for p in parts if len(p)]
    if len(full) < 2:
        return full[0] if full else parts[0]
    first = full[0]
    shared = [n for n in first.data if all(n in p.data for p in full)]
    return replace(
        first,
        xyxy=np.concatenate([p.xyxy for p in full]),
        confidence=np.concatenate([p.confidence for p in full]),
        class_id=np.concatenate([p.class_id for p in full]),
        class_name=np.concatenate([p.class_name for p in full]),
        detection_id=np.concatenate([p.detection_id for p in full]),
        tracker_id=_all_or_none([p.tracker_id for p in full]),
        keypoints=_all_or_none([p.keypoints for p in full]),
        masks=None
        if any(p.masks is None for p in full)
        else tuple(mask for p in full for mask in p.masks or ()),
        data={n: np.concatenate([p.data[n] for p in full]) for n in shared},
    )


def _all_or_none(arrays: list[Any]) -> Any:
    if any(a is None for a in arrays) or len({a.shape[1:] for a in arrays}) > 1:
        return None
    return np.concatenate(arrays)


class DetectionsCombine(Block):
    types = ("roboflow_core/detections_combine@v1",)
    title = "Detections combine"
    fields = (boxes("prediction_one"), boxes("prediction_two"))
    outputs = gives(predictions=BOXES)

    def run(self, prediction_one: Detections, prediction_two: Detections) -> Detections:
        return joined([prediction_one, prediction_two])


class DetectionsListRollUp(Block):
    types = ("roboflow_core/detections_list_rollup@v1", "DetectionsListRollUp")
    title = "Detections list roll-up"
    fields = (image("parent_image"), boxes("child_predictions", offset=1))
    outputs = gives(rolled_up_detections=BOXES)

    def run(self, parent_image: ImageValue, child_predictions: list[Detections]) -> Detections | None:
        moved = [in_picture(part, parent_image) for part in child_predictions]
        return joined(moved) if moved else None


def in_picture(detections: Detections, reference: ImageValue) -> Detections:
    """Detections made in a part of a picture, in the coordinates of the picture itself."""
    root, own = detections.in_root(), reference.placed
    scale = 1 / np.array(own.scale * 2, np.float64)
    offset = -np.array(own.root_xy * 2, np.float64) * scale
    return replace(root.placed_at(offset, scale, reference.wh), origin=reference.origin)


class DetectionsStitch(Block):
    types = ("roboflow_core/detections_stitch@v1",)
    title = "Detections stitch"
    fields = (
        image("reference_image"),
        boxes(offset=1),
        option("overlap_filtering_strategy", Choice(("none", "nms", "nmm")), "nms", STRING),
        option("iou_threshold", Number(0, 1), 0.3, ZERO_TO_ONE, FLOAT),
    )
    outputs = gives(predictions=BOXES)
    reference = "reference_image"

    def run(
        self,
        reference_image: ImageValue,
        predictions: list[Detections],
        overlap_filtering_strategy: str,
        iou_threshold: float,
    ) -> Detections | None:
        if not predictions:
            return None
        merged = joined([in_picture(part, reference_image) for part in predictions])
        if overlap_filtering_strategy == "none" or len(merged) < 2:
            return merged
        if overlap_filtering_strategy == "nmm":
            return merged_by_class(merged, iou_threshold)
        keep = keep_after_nms(merged.xyxy, merged.confidence, merged.class_id, iou_threshold)
        return merged.select(keep)


def merged_by_class(detections: Detections, iou_threshold: float) -> Detections:
    """Non-maximum merging: overlapping boxes of a class become one that spans them, with the scores weighed by area."""
    import supervision as sv

    out = sv.Detections(
        xyxy=detections.xyxy.astype(np.float64),
        confidence=detections.confidence.astype(np.float64),
        class_id=detections.class_id.astype(int),
        data={"row": np.arange(len(detections))},
    ).with_nmm(threshold=iou_threshold)
    rows = np.asarray(out.data["row"], np.intp)
    kept = detections.select(rows)
    return replace(kept, xyxy=out.xyxy, confidence=out.confidence)


class DetectionsClassesReplacement(Block):
    """Classes of detections replaced by those that a classifier found in each one's crop."""

    types = ("roboflow_core/detections_classes_replacement@v1", "DetectionsClassesReplacement")
    title = "Detections classes replacement"
    fields = (
        boxes("object_detection_predictions"),
        Field("classification_predictions", kinds("classification_prediction", STRING, ANY), offset=1),
        option("fallback_class_name", Text(256), None, STRING),
    )
    outputs = gives(predictions=BOXES)
    accepts_empty = True

    def run(
        self,
        object_detection_predictions: Detections | None,
        classification_predictions: list[Any],
        fallback_class_name: str | None,
    ) -> Detections | None:
        detections = object_detection_predictions
        if detections is None:
            return None
        found = [_top(p, fallback_class_name) for p in classification_predictions]
        keep = [i for i, entry in enumerate(found[: len(detections)]) if entry is not None]
        kept = detections.select(np.array(keep, np.intp))
        rows = [entry for entry in found if entry is not None][: len(keep)]
        return replace(
            kept,
            class_name=objects([name for name, _, _ in rows]),
            class_id=np.array([number for _, number, _ in rows], np.int64),
            confidence=np.array([score for _, _, score in rows], np.float64),
            detection_id=self.around.ids.take(len(rows)),
        )


def _top(prediction: Any, fallback: str | None) -> tuple[str, int, float] | None:
    """The best class of a classification: name, id, score."""
    if isinstance(prediction, str):
        return prediction, 0, 1.0
    entries = prediction.get("predictions") if isinstance(prediction, dict) else None
    if not entries:
        return None if fallback is None else (fallback, 2**31 - 1, 0.0)
    if isinstance(entries, dict):
        name, best = max(entries.items(), key=lambda item: item[1]["confidence"])
        return name, int(best.get("class_id", 0)), float(best["confidence"])
    best = max(entries, key=lambda entry: entry["confidence"])
    return best["class"], int(best.get("class_id", 0)), float(best["confidence"])


BLOCKS = (
    DimensionCollapse,
    Buffer,
    FrameDelay,
    DetectionsCombine,
    DetectionsListRollUp,
    DetectionsStitch,
    DetectionsClassesReplacement,
)
