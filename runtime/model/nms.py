"""Greedy non-maximum suppression in blocks. Pure arithmetic on arrays.

Rule: boxes in order of falling score (ties: lower index first); a box goes when its IoU with a kept box is above the
threshold. Source: the greedy NMS of Felzenszwalb et al., TPAMI 2010; the strict `>` is torchvision's.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.results import Floats

ClassIds: TypeAlias = npt.NDArray[np.signedinteger[Any]]

MAX_CANDIDATES = 4096
"""Boxes looked at, best first: bounds the time of a frame in which everything fires."""
_BLOCK = 128
"""Boxes compared with each other at once: 128 x 128 IoUs stay in the cache."""

_FEW = 64
"""So few boxes are compared one by one: after a run, when the processor's caches hold the model, each call of numpy's costs tens
of comparisons."""

_TINY = 1e-7
"""Keeps boxes without an area from dividing by zero; the authors' value."""

_LEAST_AREA = np.finfo(np.float64).tiny
"""Of numpy's own type: beside it single precision becomes double, in which it is no zero."""
_LEAST_AREA_BARE = float(_LEAST_AREA)
_Doubles = npt.NDArray[np.float64]


def nms(
    boxes: Floats,
    scores: Floats,
    class_ids: ClassIds | None,
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
    if len(order) <= _FEW:
        classes = None if class_ids is None else class_ids.tolist()
        return _one_by_one(boxes.tolist(), order.tolist(), classes, iou_threshold, max_detections)
    candidates = boxes[order].astype(np.float64)
    if class_ids is not None:
        candidates += _class_offsets(candidates, class_ids[order])
    return order[_greedy(candidates, iou_threshold, max_detections)]


def _one_by_one(
    boxes: list[list[float]], order: list[int], class_ids: list[int] | None, iou_threshold: float, most: int
) -> npt.NDArray[np.intp]:
    """Indices kept of boxes taken in this order."""
    kept: list[int] = []
    rivals: dict[int, list[tuple[float, ...]]] = {}  # by class, those kept, with their area
    for i in order:
        x1, y1, x2, y2 = boxes[i]
        area = (x2 - x1) * (y2 - y1)
        own = rivals.setdefault(0 if class_ids is None else class_ids[i], [])
        for a1, b1, a2, b2, other in own:
            width = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
            height = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
            if width > 0 and height > 0:
                common = width * height
                if common / max(area + other - common, _LEAST_AREA_BARE) > iou_threshold:
                    break
        else:
            kept.append(i)
            if len(kept) == most:
                break
            own.append((x1, y1, x2, y2, area))
    return np.array(kept, np.intp)


def top(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    """Indices of the `count` best scores, best first, ties by index."""
    return (-scores).argsort(kind="stable")[:count]


def _class_offsets(boxes: _Doubles, class_ids: ClassIds) -> _Doubles:
    """Moves every class to a place of its own, so that boxes of two classes never overlap."""
    span = float(np.maximum.reduce(boxes, axis=None) - np.minimum.reduce(boxes, axis=None)) + 1.0
    return np.asarray(class_ids * span, np.float64)[:, None]


def _greedy(boxes: _Doubles, iou_threshold: float, max_detections: int) -> npt.NDArray[np.intp]:
    """Positions kept of boxes that are sorted by falling score."""
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        alive = ~(iou_matrix(block, boxes[kept]) > iou_threshold).any(axis=1) if kept else None
        over = iou_matrix(block, block) > iou_threshold
        # Bit j of row i: i takes j with it. One number a row, since numpy's calls cost more than what they do here.
        rows, width = np.packbits(over, axis=1, bitorder="little").tobytes(), -(-len(block) // 8)
        gone = 0 if alive is None else int.from_bytes(np.packbits(~alive, bitorder="little"), "little")
        for i in range(len(block)):
            if gone >> i & 1:
                continue
            kept.append(start + i)
            if len(kept) == max_detections:
                return np.array(kept, np.intp)
            gone |= int.from_bytes(rows[i * width : (i + 1) * width], "little")
    return np.array(kept, np.intp)


def iou_matrix(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> _Doubles:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); 0 where both are empty."""
    rows, columns = a.T[:, :, None], np.ascontiguousarray(b.T)[:, None]
    sides = np.minimum(rows[2:], columns[2:])
    sides -= np.maximum(rows[:2], columns[:2])
    np.maximum(sides, 0, out=sides)
    intersection = np.multiply(sides[0], sides[1], out=sides[0])
    union = _area(rows) + _area(columns)
    union -= intersection
    return np.asarray(intersection / np.maximum(union, _LEAST_AREA), np.float64)


def _area(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Of boxes (4, …)."""
    sides = boxes[2:] - boxes[:2]
    return np.asarray(sides[0] * sides[1])


def oriented_nms(
    boxes: Floats,
    scores: Floats,
    class_ids: ClassIds | None,
    *,
    iou_threshold: float,
    max_detections: int,
    max_candidates: int = MAX_CANDIDATES,
) -> npt.NDArray[np.intp]:
    """As `nms`, for boxes (N, 5) centre x, centre y, width, height, angle in radians, by probabilistic IoU.

    The authors' rule is not greedy: a box goes when its IoU with any better one of its class reaches the threshold, also with
    one that has itself gone (fast NMS; Bolya et al., YOLACT, 2019, section 3.3).
    """
    order = top(scores, max_candidates)
    candidates = boxes[order].astype(np.float64)
    classes = None if class_ids is None else class_ids[order]
    kept: list[int] = []
    for start in range(0, len(order), _BLOCK):
        block = candidates[start : start + _BLOCK]
        better = candidates[: start + len(block)]
        over = probabilistic_iou(better, block) >= iou_threshold
        if classes is not None:
            over &= classes[: len(better), None] == classes[None, start : start + len(block)]
        rank = np.arange(len(better))[:, None] < np.arange(start, start + len(block))[None]
        kept += (np.flatnonzero(~(over & rank).any(axis=0)) + start).tolist()
        if len(kept) >= max_detections:
            break
    return order[np.array(kept[:max_detections], np.intp)]


def probabilistic_iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> _Doubles:
    """(N, M): one less the Hellinger distance of the Gaussians that boxes (N, 5) and (M, 5) stand for.

    Source: Llerena et al., Gaussian Bounding Boxes and Probabilistic Intersection-over-Union, 2021, section 3: a side s has the
    variance s² / 12.
    """
    ax, ay, az = (value[:, None] for value in _covariance(a))
    bx, by, bz = (value[None, :] for value in _covariance(b))
    dx, dy = a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]
    x, y, z = ax + bx, ay + by, az + bz
    both = np.maximum(x * y - z * z, 0)  # rounding takes it below where a box has no width
    distance = (x * dy * dy + y * dx * dx - 2 * z * dx * dy) / (both + _TINY) / 4
    own = np.sqrt(np.clip(ax * ay - az * az, 0, None) * np.clip(bx * by - bz * bz, 0, None))
    distance = distance + np.log(both / (4 * own + _TINY) + _TINY) / 2
    hellinger = np.sqrt(1 - np.exp(-np.clip(distance, _TINY, 100)) + _TINY)
    return np.asarray(1 - hellinger, np.float64)


def _covariance(boxes: npt.NDArray[np.floating]) -> tuple[_Doubles, _Doubles, _Doubles]:
    """Variances along x and y, and the covariance, each (N,)."""
    width, height = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        np.asarray(width * cos * cos + height * sin * sin, np.float64),
        np.asarray(width * sin * sin + height * cos * cos, np.float64),
        np.asarray((width - height) * cos * sin, np.float64),
    )
