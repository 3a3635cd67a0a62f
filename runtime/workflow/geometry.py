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


MAX_CHECKED_CORNERS = 1024


def touches_itself(outline: Array) -> bool:
    """Whether two sides of a closed outline (N, 2) of whole pixels meet elsewhere than in the corner they share. One of more
    corners than `MAX_CHECKED_CORNERS` is taken to be sound."""
    count = len(outline)
    if count > MAX_CHECKED_CORNERS:
        return False
    if len(np.unique(outline, axis=0)) < count:
        return True
    a = outline.astype(np.int64)
    b = np.roll(a, -1, axis=0)
    start, end = _turns(a, b, a), _turns(a, b, b)
    crossing = (start * end <= 0) & (start.T * end.T <= 0)
    low, high = np.minimum(a, b), np.maximum(a, b)
    near = ((low[:, None] <= high[None]) & (low[None] <= high[:, None])).all(axis=2)
    index = np.arange(count)
    gap = (index[None] - index[:, None]) % count
    apart = (gap > 1) & (gap < count - 1)
    back = (_turns(a, b, np.roll(b, -1, axis=0)).diagonal() == 0) & (
        ((b - a) * (np.roll(b, -1, axis=0) - b)).sum(axis=1) < 0
    )
    return bool((crossing & near & apart).any() or back.any())


def _turns(a: Array, b: Array, points: Array) -> Array:
    """(N, M) -1, 0 or 1: on which side of the sides a to b (N, 2) points (M, 2) lie."""
    way = (b - a)[:, None]
    to = points[None] - a[:, None]
    turns: Array = np.sign(way[..., 0] * to[..., 1] - way[..., 1] * to[..., 0])
    return turns


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
