"""Fusion: data of several steps, frames or pictures brought together."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import (
    ANY,
    BOOLEAN,
    BOXES,
    FLOAT,
    INTEGER,
    LIST,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Either,
    Field,
    Flag,
    Nothing,
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
from runtime.workflow.values import Detections, ImageValue

MAX_FRAMES = 4096
MAX_OFFSET = 256
MAX_DELAYED_VIDEOS = 16
"""Whole pictures may be kept: so many frames of so many videos."""


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
    """The value of an earlier frame of the same video: `offset` is 0 or less. A frame number that goes back starts anew."""

    types = ("roboflow_core/frame_delay@v1", "FrameDelay", "roboflow_core/time_travel@v1", "TimeTravel")
    title = "Frame delay"
    fields = (
        image(),
        Field("data", kinds(ANY, LIST)),
        need("offset", Number(-MAX_OFFSET, 0, integer=True), INTEGER),
        Field("default_value", literal=Either((Nothing(), Flag(), Number(), Text())), required=False),
    )
    outputs = gives(output=kinds(ANY), is_available=kinds(BOOLEAN), reference_frame_number=kinds(INTEGER))

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._kept: dict[str, OrderedDict[int, Any]] = {}

    def run(self, image: ImageValue, data: Any, offset: int, default_value: Any) -> tuple[Any, ...]:
        if not -MAX_OFFSET <= offset <= 0:
            raise StepFailed(f"offset takes 0 or less, down to -{MAX_OFFSET}; got {offset}")
        number = image.metadata.frame_number
        kept = self._kept.setdefault(image.metadata.video_identifier, OrderedDict())
        bounded(self._kept, MAX_DELAYED_VIDEOS)
        if kept and number < next(reversed(kept)):
            kept.clear()
        kept[number] = data
        known = number + offset in kept
        value = kept[number + offset] if known else default_value
        while next(iter(kept)) < number + offset:
            kept.popitem(last=False)
        return value, known, number


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


BLOCKS = (
    DimensionCollapse,
    Buffer,
    FrameDelay,
    DetectionsCombine,
    DetectionsStitch,
)
