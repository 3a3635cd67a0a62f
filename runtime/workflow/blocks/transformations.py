"""Detections changed one by one: grown, kept by class, by overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOXES,
    DICTIONARY,
    FLOAT,
    INTEGER,
    STRING,
    ZERO_TO_ONE,
    Choice,
    DictOf,
    Number,
    Text,
    boxes,
    gives,
    need,
    option,
)
from runtime.workflow.values import Detections, empty_like

GROWTH = Number(integer=True, above=0)
SHARE = Number(0, 1)


class DetectionOffset(Block):
    """Boxes grown by half the offset (rounded down) to each side, within the picture; each gets a new id."""

    types = ("roboflow_core/detection_offset@v1", "DetectionOffset")
    title = "Detection offset"
    fields = (
        boxes(),
        need("offset_width", GROWTH, INTEGER),
        need("offset_height", GROWTH, INTEGER),
        option("units", Choice(("Pixels", "Percent (%)")), "Pixels"),
    )
    outputs = gives(predictions=BOXES)

    def run(self, predictions: Detections, offset_width: int, offset_height: int, units: str) -> Detections:
        box = predictions.xyxy
        if units == "Pixels":
            by: Any = np.array([[offset_width // 2, offset_height // 2]])
        else:
            by = np.trunc((box[:, 2:] - box[:, :2]) * np.array([offset_width, offset_height]) / 200)
        grown = np.hstack([box[:, :2] - by, box[:, 2:] + by])
        np.clip(grown, 0, np.array(predictions.image_wh * 2), out=grown)
        return replace(predictions, xyxy=grown, detection_id=self.around.ids.take(len(predictions)))


class PerClassConfidenceFilter(Block):
    types = ("roboflow_core/per_class_confidence_filter@v1",)
    title = "Per-class confidence filter"
    fields = (
        boxes(),
        need("class_thresholds", DictOf(SHARE), DICTIONARY),
        option("default_threshold", SHARE, 0.3, ZERO_TO_ONE, FLOAT),
    )
    outputs = gives(predictions=BOXES)

    def run(
        self, predictions: Detections, class_thresholds: dict[str, float], default_threshold: float
    ) -> Detections:
        names = predictions.class_name.tolist()
        limits = np.array([class_thresholds.get(name, default_threshold) for name in names], np.float64)
        return predictions.select(predictions.confidence >= limits.astype(predictions.confidence.dtype))


class Overlap(Block):
    """Objects that overlap one of the named class, without those of that class itself."""

    types = ("roboflow_core/overlap@v1",)
    title = "Overlap"
    fields = (
        boxes(),
        need("overlap_class_name", Text(256), STRING),
        option("overlap_type", Choice(("Center Overlap", "Any Overlap")), "Center Overlap", STRING),
    )
    outputs = gives(overlaps=BOXES)

    def run(self, predictions: Detections, overlap_class_name: str, overlap_type: str) -> Detections:
        named = predictions.class_name == overlap_class_name
        zones, others = predictions.xyxy[named], np.flatnonzero(~named)
        if not len(zones) or not len(others):
            return empty_like(predictions)
        box = predictions.xyxy[others]
        if overlap_type == "Center Overlap":
            box = np.tile(predictions.centres[others], 2)
        apart = (box[:, None, 2:] < zones[None, :, :2]) | (box[:, None, :2] > zones[None, :, 2:])
        return predictions.select(others[(~apart.any(axis=2)).any(axis=1)])


class DetectionsMerge(Block):
    """One box around all."""

    types = ("roboflow_core/detections_merge@v1",)
    title = "Detections merge"
    fields = (boxes(), option("class_name", Text(256), "merged_detection", STRING))
    outputs = gives(predictions=BOXES)

    def run(self, predictions: Detections, class_name: str) -> Detections:
        if not len(predictions):
            return predictions
        box = predictions.xyxy
        one = predictions.select(np.zeros(1, np.intp))
        around = np.concatenate([box[:, :2].min(axis=0), box[:, 2:].max(axis=0)])[None]
        return replace(
            one,
            xyxy=around,
            confidence=predictions.confidence.min(keepdims=True),
            class_id=np.zeros(1, np.int64),
            class_name=np.array([class_name], object),
            detection_id=self.around.ids.take(1),
            tracker_id=None,
            masks=None,
            keypoints=None,
            data={},
        )


BLOCKS = (DetectionOffset, PerClassConfidenceFilter, Overlap, DetectionsMerge)
