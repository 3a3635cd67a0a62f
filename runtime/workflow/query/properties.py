"""Properties of detections by name, as arrays over all boxes at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.values import ANCHORS, Array, Detections, anchor_points, objects
from wire.problem import nearest


def _column(index: int) -> Callable[[Detections], Array]:
    def read(detections: Detections) -> Array:
        column: Array = detections.xyxy[:, index]
        return column

    return read


def _anchor(name: str) -> Callable[[Detections], Array]:
    def read(detections: Detections) -> Array:
        return np.rint(anchor_points(detections, name)).astype(np.int64)

    return read


def _tracker(detections: Detections) -> Array:
    if detections.tracker_id is None:
        raise StepFailed("detections have no tracker_id: put a tracker before this step")
    return detections.tracker_id


def _image_dimensions(detections: Detections) -> Array:
    width_px, height_px = detections.image_wh
    return np.tile(np.array([[height_px, width_px]]), (len(detections), 1))


def _prediction_type(detections: Detections) -> Array:
    return objects([detections.prediction_type] * len(detections))


def _keypoints(detections: Detections) -> Array:
    if detections.keypoints is None:
        raise StepFailed("detections have no keypoints: the model is not one of keypoints")
    xy: Array = detections.keypoints[..., :2]
    return xy


def _side(first: int, last: int) -> Callable[[Detections], Array]:
    def read(detections: Detections) -> Array:
        side: Array = detections.xyxy[:, last] - detections.xyxy[:, first]
        return side

    return read


_READERS: dict[str, Callable[[Detections], Array]] = {
    "confidence": lambda d: d.confidence,
    "class_name": lambda d: d.class_name,
    "class_id": lambda d: d.class_id,
    "detection_id": lambda d: d.detection_id,
    "tracker_id": _tracker,
    "x_min": _column(0),
    "y_min": _column(1),
    "x_max": _column(2),
    "y_max": _column(3),
    "size": lambda d: d.areas,
    "area": lambda d: d.areas,
    "image_dimensions": _image_dimensions,
    "prediction_type": _prediction_type,
    "keypoints_xy": _keypoints,
    **{name.lower(): _anchor(name) for name in ANCHORS if name != "CENTER_OF_MASS"},
}
_COMPUTED = {"width": _side(0, 2), "height": _side(1, 3)}
"""Taken from the boxes only where no block has said otherwise."""

_STORED = frozenset(
    {
        "time_in_zone",
        "velocity",
        "speed",
        "smoothed_velocity",
        "smoothed_speed",
        "path_deviation",
        "polygon",
        "rect",
        "angle",
        "width",
        "height",
        "area_px",
        "area_converted",
        "in_out",
        "bounding_rect",
        "keypoints_class_id",
        "keypoints_class_name",
        "keypoints_confidence",
        "class_locked",
        "nearest_target_distance",
    }
)

NAMES = frozenset(_READERS) | _STORED


def property_problem(name: object) -> tuple[str, str]:
    """(expectation, nearest name) where the language has no such property; otherwise empty strings."""
    if isinstance(name, str) and name in NAMES:
        return "", ""
    return f"one of {', '.join(sorted(NAMES))}", nearest(name, NAMES) if isinstance(name, str) else ""


def extract_or_none(detections: Detections, name: str) -> Array | None:
    """The property of every box; None where the boxes do not have it, as a condition on a single detection sees it."""
    try:
        return extract(detections, name)
    except StepFailed:
        return None


def extract(detections: Detections, name: str) -> Array:
    """The property of every box, (N, …).

    :raises StepFailed: the boxes do not have it
    """
    if not len(detections):
        return np.zeros(0, np.float64)
    reader = _READERS.get(name)
    if reader is not None:
        return reader(detections)
    if name in detections.data:
        return detections.data[name]
    if name in _COMPUTED:
        return _COMPUTED[name](detections)
    raise StepFailed(f"detections have no {name!r}: no step before this one adds it")
