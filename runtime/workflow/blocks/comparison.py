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
from runtime.workflow.geometry import iou_matrix, touches_itself
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


class OverlapAnalysis(Block):
    """Pairs of a reference and a candidate that lie on each other, with the share of the reference's area (of its mask's outline,
    where it has one) that is covered."""

    types = ("roboflow_core/overlap_analysis@v1", "OverlapAnalysis")
    title = "Overlap analysis"
    fields = (
        Field("reference_predictions", OBJECTS),
        Field("candidate_predictions", OBJECTS),
        option("min_overlap", SHARE, 0.1, ZERO_TO_ONE),
    )
    outputs = gives(overlaps=kinds("detections_overlaps"))

    def run(
        self, reference_predictions: Detections, candidate_predictions: Detections, min_overlap: float
    ) -> list[dict[str, Any]]:
        a, b = reference_predictions, candidate_predictions
        touching = np.argwhere(iou_matrix(a.xyxy.astype(np.float64), b.xyxy.astype(np.float64)) > 0)
        told: list[dict[str, Any]] = []
        for i, j in touching.tolist():
            ratio = _covered_share(a, i, b, j)
            if ratio is not None and ratio >= min_overlap:
                told.append(
                    {**_named("reference", a, i), **_named("candidate", b, j), "overlap_ratio": ratio}
                )
        return told


def _named(role: str, detections: Detections, i: int) -> dict[str, Any]:
    return {
        f"{role}_class": str(detections.class_name[i]),
        f"{role}_confidence": float(detections.confidence[i]),
        f"{role}_detection_id": str(detections.detection_id[i]),
    }


def _covered_share(a: Detections, i: int, b: Detections, j: int) -> float | None:
    """The share of one object's area that another covers; None where it has no area."""
    one, other = _outline(a, i), _outline(b, j)
    area = _area(one)
    if area <= 0:
        return None
    if a.masks is None and b.masks is None:
        low, high = np.maximum(one[0], other[0]), np.minimum(one[2], other[2])
        return float(np.prod(np.clip(high - low, 0, None)) / area)
    return float(min(1.0, _shared_area(one, other) / area))


def _outline(detections: Detections, i: int) -> Array:
    """(N, 2): the longest outline of the mask, or the corners of the box where there is none that does not touch itself."""
    if detections.masks is not None:
        from runtime.workflow.regions import polygons

        found = max(polygons(detections.masks[i]), key=len, default=None)
        if found is not None and not touches_itself(found):
            return found.astype(np.float64)
    x1, y1, x2, y2 = detections.xyxy[i].astype(np.float64).tolist()
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _area(outline: Array) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _shared_area(one: Array, other: Array) -> float:
    """Of two outlines, in px², by the even-odd rule: between the heights where something begins, ends or crosses, widths change
    evenly, so that the width in the middle gives the area."""
    edges = [np.hstack([outline, np.roll(outline, -1, axis=0)]) for outline in (one, other)]
    low, high = max(one[:, 1].min(), other[:, 1].min()), min(one[:, 1].max(), other[:, 1].max())
    heights = np.unique(np.concatenate([one[:, 1], other[:, 1], _crossing_heights(*edges)]))
    heights = heights[(heights >= low) & (heights <= high)]
    middles = (heights[:-1] + heights[1:]) / 2
    return float(sum(_shared_width(edges, y) * gap for y, gap in zip(middles, np.diff(heights), strict=True)))


def _crossing_heights(a: Array, b: Array) -> Array:
    """Heights at which an edge (x1 y1 x2 y2) of one outline crosses one of the other."""
    p, r = a[:, None, :2], a[:, None, 2:] - a[:, None, :2]
    q, s = b[None, :, :2], b[None, :, 2:] - b[None, :, :2]
    turn = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
    safe = np.where(turn == 0, 1.0, turn)
    t = ((q - p)[..., 0] * s[..., 1] - (q - p)[..., 1] * s[..., 0]) / safe
    u = ((q - p)[..., 0] * r[..., 1] - (q - p)[..., 1] * r[..., 0]) / safe
    crossing = (turn != 0) & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    heights: Array = (p[..., 1] + t * r[..., 1])[crossing]
    return heights


def _shared_width(edges: list[Array], y: float) -> float:
    """How much of the line at a height lies in both outlines."""
    marks = [_marks(e, y) for e in edges]
    at = np.unique(np.concatenate(marks))
    centres = (at[:-1] + at[1:]) / 2
    inside = [np.searchsorted(m, centres) % 2 == 1 for m in marks]
    return float(np.diff(at)[inside[0] & inside[1]].sum())


def _marks(edges: Array, y: float) -> Array:
    """Where the line at a height meets an outline, ascending."""
    x1, y1, x2, y2 = edges[((edges[:, 1] > y) != (edges[:, 3] > y))].T
    met: Array = np.sort(x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return met


BLOCKS = (DetectionsDifference, OverlapAnalysis)
