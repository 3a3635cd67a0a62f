"""Distances between detections, and their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import (
    BOXES,
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    LIST,
    OBJECT_DETECTION,
    STRING,
    Choice,
    Either,
    Field,
    ListOf,
    Nothing,
    Number,
    Text,
    boxes,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.regions import polygons
from runtime.workflow.values import ANCHORS, Array, Detections, anchor_points, empty_like, objects
from wire.problem import shown

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
POINT = Choice((*(name for name in ANCHORS if name != "CENTER_OF_MASS"), "KEYPOINT"))


TIE_PX = 1.0
"""Targets that are nearest to within a pixel are all given."""
MAX_PAIRS = 10_000


class NearestNeighbor(Block):
    """The target closest to each query, and its distance in pixels: None where there is none within `max_distance`. A detection
    is not its own neighbour. The matched queries and their targets come in the same order; one may stand there more than once."""

    types = ("roboflow_core/detections_nearest_neighbor@v1",)
    title = "Nearest neighbour"
    fields = (
        boxes("query_predictions"),
        boxes("target_predictions"),
        option("query_point", POINT, "CENTER", STRING),
        option("target_point", POINT, "CENTER", STRING),
        option("max_distance", Either((Nothing(), Number(0))), None, INTEGER),
        option("query_keypoint_name", Either((Nothing(), Text(256))), None, STRING),
        option("target_keypoint_name", Either((Nothing(), Text(256))), None, STRING),
    )
    outputs = gives(query_predictions=BOXES, matched_query_detections=BOXES, matched_target_detections=BOXES)

    def run(
        self,
        query_predictions: Detections,
        target_predictions: Detections,
        query_point: str,
        target_point: str,
        max_distance: float | None,
        query_keypoint_name: str | None,
        target_keypoint_name: str | None,
    ) -> tuple[Detections, Detections, Detections]:
        queries, targets = query_predictions, target_predictions
        if not len(queries) or not len(targets):
            told = queries.with_data(nearest_target_distance=objects([None] * len(queries)))
            return told, empty_like(told), empty_like(targets)
        starts = _points(queries, query_point, query_keypoint_name)
        ends = _points(targets, target_point, target_keypoint_name)
        apart = starts[:, None] - ends[None]
        distances = np.hypot(apart[..., 0], apart[..., 1])
        distances[np.isnan(distances)] = np.inf
        distances[queries.detection_id[:, None] == targets.detection_id[None]] = np.inf
        if max_distance is not None:
            distances[distances > max_distance] = np.inf
        least = distances.min(axis=1)
        column = [float(d) if np.isfinite(d) else None for d in least]
        told = queries.with_data(nearest_target_distance=objects(column))
        pairs = np.isfinite(distances) & (distances <= least[:, None] + TIE_PX)
        rows, matches = (index[:MAX_PAIRS] for index in np.nonzero(pairs))
        return told, told.select(rows), targets.select(matches)


def _points(detections: Detections, point: str, keypoint_name: str | None) -> Array:
    """(N, 2): a point of each box, or the keypoint of that name; NaN where an object lacks it.

    :raises StepFailed: there are no keypoints
    """
    if point != "KEYPOINT":
        return anchor_points(detections, point)
    if detections.keypoints is None or detections.keypoint_names is None:
        raise StepFailed("predictions have no keypoints: take those of a keypoint model, or another point")
    named = detections.keypoint_names == keypoint_name
    points = detections.keypoints[np.arange(len(detections)), named.argmax(axis=1), :2].astype(np.float64)
    points[~named.any(axis=1)] = np.nan
    return points


class DistanceMeasurement(Block):
    """The gap between two objects along an axis, by pixels a centimetre: given, or from an object of known size. Zero where
    they overlap along the axis."""

    types = ("roboflow_core/distance_measurement@v1",)
    title = "Distance measurement"
    fields = (
        Field("predictions", OBJECTS),
        Field("object_1_class_name", literal=Text(256)),
        Field("object_2_class_name", literal=Text(256)),
        Field("reference_axis", literal=Choice(("horizontal", "vertical"))),
        Field("calibration_method", literal=Choice(("reference object", "pixel to centimeter"))),
        option("reference_object_class_name", Text(256), "reference-object", STRING),
        option("reference_width", Number(), 2.5, FLOAT),
        option("reference_height", Number(), 2.5, FLOAT),
        option("pixel_ratio", Number(), 100, FLOAT),
    )
    outputs = gives(distance_cm=kinds(INTEGER), distance_pixel=kinds(INTEGER))

    def run(
        self,
        predictions: Detections,
        object_1_class_name: str,
        object_2_class_name: str,
        reference_axis: str,
        **calibration: Any,
    ) -> tuple[float, float]:
        boxes = predictions.xyxy.round().astype(int)
        one, other = _two_boxes(predictions, boxes, object_1_class_name, object_2_class_name)
        apart_x = one[2] < other[0] or other[2] < one[0]
        apart_y = one[3] < other[1] or other[3] < one[1]
        axis = 0 if reference_axis == "horizontal" else 1
        if not (apart_x or apart_y) or (one[axis] < other[axis + 2] and one[axis + 2] > other[axis]):
            return 0, 0
        behind = other[axis] - one[axis + 2]
        gap = int(behind if behind > 0 else abs(one[axis] - other[axis + 2]))
        return gap / _pixels_per_cm(predictions, boxes, **calibration), gap


def _two_boxes(detections: Detections, boxes: Array, first: str, second: str) -> tuple[Array, Array]:
    """A box of each class: the first of whichever completes the pair, so the last seen of the other until then."""
    found: dict[str, Array] = {}
    for box, name in zip(boxes, detections.class_name.tolist(), strict=True):
        if name == first:
            found["first"] = box
        elif name == second:
            found["second"] = box
        if len(found) == 2:
            return found["first"], found["second"]
    raise StepFailed(f"{shown(first)} and {shown(second)} must both be among the predictions")


def _pixels_per_cm(
    detections: Detections,
    boxes: Array,
    calibration_method: str,
    reference_object_class_name: str,
    reference_width: float,
    reference_height: float,
    pixel_ratio: float,
) -> float:
    if calibration_method == "pixel to centimeter":
        if pixel_ratio <= 0:
            raise StepFailed(f"pixel_ratio takes a number above 0, got {shown(pixel_ratio)}")
        return pixel_ratio
    named = np.flatnonzero(detections.class_name == reference_object_class_name)
    if not len(named):
        raise StepFailed(f"no object is of the reference class {shown(reference_object_class_name)}")
    if reference_width <= 0 or reference_height <= 0:
        raise StepFailed("reference_width and reference_height take numbers above 0")
    x1, y1, x2, y2 = boxes[named[0]]
    return float((abs(x2 - x1) / reference_width + abs(y2 - y1) / reference_height) / 2)


class SizeMeasurement(Block):
    """Width and height of each object in the units of a reference object: of the best scored reference, or of a polygon."""

    types = ("roboflow_core/size_measurement@v1",)
    title = "Size measurement"
    fields = (
        Field("object_predictions", OBJECTS),
        need("reference_predictions", ListOf(ListOf(Number())), *OBJECTS, LIST),
        need("reference_dimensions", Either((Text(256), ListOf(Number()))), STRING, LIST),
    )
    outputs = gives(dimensions=kinds(LIST))

    def run(
        self, object_predictions: Detections, reference_predictions: Any, reference_dimensions: Any
    ) -> list[dict[str, float] | None] | None:
        width, height = _two_numbers(reference_dimensions)
        reference = _reference_px(reference_predictions)
        if reference is None or not all(reference):
            return None
        per_px = (width / reference[0], height / reference[1])
        sides = [_sides_px(object_predictions, i) for i in range(len(object_predictions))]
        return [_size(side, per_px) for side in sides]


def _size(side: tuple[float, float] | None, per_px: tuple[float, float]) -> dict[str, float] | None:
    if side is None or not all(side):
        return None
    width, height = side[0] * per_px[0], side[1] * per_px[1]
    return {"width": width, "height": height, "longer": max(width, height), "shorter": min(width, height)}


def _two_numbers(value: Any) -> tuple[float, float]:
    """Width and height, of a list of two or of the text `w,h`.

    :raises StepFailed: something else
    """
    parts = value.split(",") if isinstance(value, str) else value
    try:
        width, height = (float(part) for part in parts)
    except (TypeError, ValueError) as e:
        raise StepFailed(f"reference_dimensions takes width and height, got {shown(value)}") from e
    return width, height


def _reference_px(reference: Any) -> tuple[float, float] | None:
    if isinstance(reference, Detections):
        return _sides_px(reference, int(np.argmax(reference.confidence))) if len(reference) else None
    if len(reference) < 3:
        return None
    return _aligned_px(np.asarray(reference, np.float32))


def _sides_px(detections: Detections, i: int) -> tuple[float, float] | None:
    """Width and height of one object, along itself where it has a mask; None for an empty mask."""
    import cv2

    if detections.masks is None:
        x1, y1, x2, y2 = detections.xyxy[i].tolist()
        return x2 - x1, y2 - y1
    found = polygons(detections.masks[i])
    return _aligned_px(max(found, key=cv2.contourArea)) if found else None


def _aligned_px(outline: Array) -> tuple[float, float] | None:
    """Sides of the smallest turned rectangle around an outline, the flatter one first; None without an area."""
    import cv2

    if cv2.contourArea(outline) <= 0:
        return None
    corners = cv2.boxPoints(cv2.minAreaRect(outline))
    edges = [corners[1] - corners[0], corners[2] - corners[1]]
    lengths = [float(np.linalg.norm(edge)) for edge in edges]
    steepness = [_steepness(edge) for edge in edges]
    return (lengths[0], lengths[1]) if steepness[0] < steepness[1] else (lengths[1], lengths[0])


def _steepness(edge: Array) -> float:
    angle = abs(float(np.degrees(np.arctan2(edge[1], edge[0]))) % 180)
    return min(angle, 180 - angle)


class MaskArea(Block):
    """The area of each object, of its mask where it has one: in pixels, and in square units."""

    types = ("roboflow_core/mask_area_measurement@v1",)
    title = "Mask area measurement"
    fields = (Field("predictions", OBJECTS), option("pixels_per_unit", Number(), 1.0, FLOAT))
    outputs = gives(predictions=OBJECTS)

    def run(self, predictions: Detections, pixels_per_unit: float) -> Detections:
        if pixels_per_unit <= 0:
            raise StepFailed(f"pixels_per_unit takes a number above 0, got {shown(pixels_per_unit)}")
        areas = predictions.areas.astype(np.float64)
        if predictions.masks is not None:
            from runtime.masks import area

            areas = np.array([area(mask) for mask in predictions.masks], np.float64)
        return predictions.with_data(area_px=areas, area_converted=areas / pixels_per_unit**2)


BLOCKS = (NearestNeighbor, DistanceMeasurement, SizeMeasurement, MaskArea)
