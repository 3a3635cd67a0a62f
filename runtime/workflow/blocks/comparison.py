"""Two sets of detections side by side: what is gone, what is new, what lies on what."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOOLEAN,
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    OBJECT_DETECTION,
    ZERO_TO_ONE,
    Field,
    Flag,
    Number,
    gives,
    kinds,
    option,
)
from runtime.workflow.geometry import iou_matrix
from runtime.workflow.values import Array, Detections

SHARE = Number(0, 1)
DETECTED = kinds(OBJECT_DETECTION)
OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)


class DetectionsDifference(Block):
    """Objects before and after: each is paired with the nearest of the other side that costs at most `reject_cost`; what has
    no pair was removed, or is new."""

    types = ("roboflow_core/detections_difference@v1", "DetectionsDifference")
    title = "Detections difference"
    fields = (
        Field("reference_predictions", DETECTED),
        Field("candidate_predictions", DETECTED),
        option("spatial_weight", SHARE, 0.4, ZERO_TO_ONE),
        option("class_mismatch_penalty", Number(), 0.15, FLOAT),
        option("reject_cost", Number(), 0.75, FLOAT),
        option("class_strict", Flag(), False, BOOLEAN),
        option("min_removed_to_verify", Number(integer=True), 1, INTEGER),
    )
    outputs = gives(
        removed_detections=DETECTED,
        persisted_detections=DETECTED,
        new_detections=DETECTED,
        removed_count=kinds(INTEGER),
        new_count=kinds(INTEGER),
        verified=kinds(BOOLEAN),
    )

    def run(
        self,
        reference_predictions: Detections,
        candidate_predictions: Detections,
        spatial_weight: float,
        class_mismatch_penalty: float,
        reject_cost: float,
        class_strict: bool,
        min_removed_to_verify: int,
    ) -> tuple[Any, ...]:
        before, after = reference_predictions, candidate_predictions
        cost = spatial_weight * _distance(before.xyxy, after.xyxy)
        other_class = before.class_name[:, None] != after.class_name[None, :]
        cost = cost + np.where(other_class, np.inf if class_strict else class_mismatch_penalty, 0.0)
        kept, again = _pairs(cost, reject_cost)
        gone = before.select(~kept)
        verified = len(before) > 0 and len(gone) >= min_removed_to_verify
        new = after.select(~again)
        return gone, after.select(again), new, len(gone), len(new), bool(verified)


def _distance(a: Array, b: Array) -> Array:
    """(N, M) 1 less the IoU; of boxes apart 1 plus the centres' distance over the diagonal of the box around both."""
    iou = iou_matrix(a.astype(np.float64), b.astype(np.float64))
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (a, b)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    low = np.minimum(a[:, None, :2], b[None, :, :2])
    high = np.maximum(a[:, None, 2:], b[None, :, 2:])
    diagonal = np.hypot(*np.moveaxis(high - low, 2, 0))
    share = np.divide(apart, diagonal, out=np.zeros_like(apart), where=diagonal > 0)
    distance: Array = np.where(iou > 0, 1 - iou, 1 + share)
    return distance


def _pairs(cost: Array, limit: float) -> tuple[Array, Array]:
    """Which rows and which columns are paired, the cheapest pair first."""
    rows, columns = np.zeros(cost.shape[0], bool), np.zeros(cost.shape[1], bool)
    cost = cost.copy()
    for _ in range(min(cost.shape)):
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        if not cost[i, j] <= limit or not np.isfinite(cost[i, j]):
            break
        rows[i] = columns[j] = True
        cost[i, :] = cost[:, j] = np.inf
    return rows, columns


BLOCKS = (DetectionsDifference,)
