"""Greedy non-maximum suppression in blocks. Pure arithmetic on arrays.

Rule: boxes in order of falling score (ties: lower index first); a box goes when its IoU with a kept box is above the
threshold. Source: the greedy NMS of Felzenszwalb et al., TPAMI 2010; the strict `>` is torchvision's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.results import Floats, Ints

MAX_CANDIDATES = 4096
"""Boxes looked at, best first: bounds the time of a frame in which everything fires."""
_BLOCK = 128
"""Boxes compared with each other at once: 128 x 128 IoUs stay in the cache."""

_Doubles = npt.NDArray[np.float64]


def nms(
    boxes: Floats,
    scores: Floats,
    class_ids: Ints | None,
    *,
    iou_threshold: float,
    max_detections: int,
    max_candidates: int = MAX_CANDIDATES,
) -> npt.NDArray[np.intp]:
    """Indices of the boxes to keep, by falling score, at most `max_detections`.

    boxes: (N, 4) x1 y1 x2 y2, finite. scores: (N,). class_ids: (N,), where only boxes of one class suppress each other;
    None: all do.
    """
    order = top(scores, max_candidates)
    if len(order) < 2:
        return order[:max_detections]
    candidates = boxes[order].astype(np.float64)
    if class_ids is not None:
        candidates += _class_offsets(candidates, class_ids[order])
    return order[_greedy(candidates, iou_threshold, max_detections)]


def top(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    """Indices of the `count` best scores, best first, ties by index."""
    return np.argsort(-scores, kind="stable")[:count]


def _class_offsets(boxes: _Doubles, class_ids: Ints) -> _Doubles:
    """Moves every class to a place of its own, so that boxes of two classes never overlap."""
    span = float(boxes.max() - boxes.min()) + 1.0
    return (class_ids.astype(np.float64) * span)[:, None]


def _greedy(boxes: _Doubles, iou_threshold: float, max_detections: int) -> npt.NDArray[np.intp]:
    """Positions kept of boxes that are sorted by falling score."""
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        alive = np.ones(len(block), np.bool_)
        if kept:
            alive &= ~(iou_matrix(block, boxes[kept]) > iou_threshold).any(axis=1)
        over = iou_matrix(block, block) > iou_threshold
        for i in range(len(block)):
            if not alive[i]:
                continue
            kept.append(start + i)
            if len(kept) == max_detections:
                return np.array(kept, np.intp)
            alive &= ~over[i]
    return np.array(kept, np.intp)


def iou_matrix(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> _Doubles:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); 0 where both are empty."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    intersection = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = _area(a)[:, None] + _area(b)[None, :] - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(np.float64).tiny), np.float64)


def _area(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
