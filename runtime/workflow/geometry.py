"""Arithmetic on boxes and polygons. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.workflow.values import Array


def iou_matrix(a: Array, b: Array) -> Array:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4), x1 y1 x2 y2; 0 where both are empty."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.clip(bottom_right - top_left, 0, None)
    shared = size[..., 0] * size[..., 1]
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - shared
    iou: Array = np.divide(shared, union, out=np.zeros_like(shared, dtype=np.float64), where=union > 0)
    return iou


def keep_after_nms(boxes: Array, scores: Array, groups: Array | None, iou_threshold: float) -> Array:
    """Indices, ascending, of boxes that no better box of the same group overlaps by more than the threshold."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou_matrix(boxes, boxes)
    if groups is not None:
        overlap = np.where(groups[:, None] == groups[None, :], overlap, 0.0)
    alive = np.ones(len(boxes), bool)
    for i in order:
        if alive[i]:
            beaten = overlap[i] > iou_threshold
            beaten[i] = False
            alive &= ~beaten
    return np.flatnonzero(alive)


def inside_polygon(points: Array, polygon: Sequence[Any] | Array, *, border: bool = False) -> Array:
    """(N,) bool: which points (N, 2) lie inside the polygon (M, 2), by the even-odd rule; `border`: those on it as well."""
    corners = np.asarray(polygon, np.float64)
    if len(points) == 0:
        return np.zeros(0, bool)
    x, y = points[:, 0, None].astype(np.float64), points[:, 1, None].astype(np.float64)
    x1, y1 = corners[:, 0], corners[:, 1]
    x2, y2 = np.roll(x1, -1), np.roll(y1, -1)
    crosses = (y1 > y) != (y2 > y)
    rise = np.where(y2 == y1, 1.0, y2 - y1)
    inside: Array = (crosses & (x < (x2 - x1) * (y - y1) / rise + x1)).sum(axis=1) % 2 == 1
    turn = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
    within = (x >= np.minimum(x1, x2)) & (x <= np.maximum(x1, x2))
    within &= (y >= np.minimum(y1, y2)) & (y <= np.maximum(y1, y2))
    on_border = ((turn == 0) & within).any(axis=1)
    result: Array = inside | on_border if border else inside & ~on_border
    return result


def polygon_problem(value: object) -> str:
    """What is wrong with a polygon, or an empty string: at least three points of two finite numbers each."""
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) < 3:
        return "a list of at least three points [x, y]"
    for point in value:
        if not isinstance(point, (list, tuple, np.ndarray)) or len(point) != 2:
            return "points of two numbers [x, y]"
        if not all(
            isinstance(v, (int, float, np.number)) and not isinstance(v, bool) and abs(v) < 1e300
            for v in point
        ):
            return "points of two finite numbers [x, y]"
    return ""
