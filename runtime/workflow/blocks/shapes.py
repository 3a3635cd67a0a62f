"""Masks made simple: the turned rectangle around one, a zone of a few corners."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import (
    BOOLEAN,
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    LIST,
    ZERO_TO_ONE,
    Field,
    Flag,
    Number,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.regions import from_polygon, polygons
from runtime.workflow.values import Array, Detections, objects

SEGMENTED = kinds(INSTANCE_SEGMENTATION)
MAX_STEPS = 1000
"""Of the search for the tolerance that gives the wanted number of corners."""


class BoundingRect(Block):
    """The smallest turned rectangle around each mask: `rect` (corners), `width`, `height`, `angle` in degrees; it becomes the
    mask and the box."""

    types = ("roboflow_core/bounding_rect@v1",)
    title = "Bounding rectangle"
    fields = (Field("predictions", SEGMENTED),)
    outputs = gives(detections_with_rect=SEGMENTED)

    def run(self, predictions: Detections) -> Detections:
        if predictions.masks is None:
            if len(predictions):
                raise StepFailed("predictions have no masks: take those of a segmentation model")
            return predictions
        found = [_rectangle(longest(mask)) for mask in predictions.masks]
        corners = [rect for rect, _, _, _ in found]
        boxes = [[*rect.min(axis=0), *rect.max(axis=0)] for rect in corners]
        told = predictions.with_data(
            rect=objects([rect.tolist() for rect in corners]),
            **{
                name: np.array([entry[k + 1] for entry in found], np.float16)
                for k, name in enumerate(("width", "height", "angle"))
            },
        )
        masks = tuple(from_polygon(rect, predictions.image_wh) for rect in corners)
        return replace(told, masks=masks, xyxy=np.array(boxes, np.float64).reshape(-1, 4))


def longest(mask: Any) -> Array:
    """The outline of a mask that has most corners.

    :raises StepFailed: the mask is empty
    """
    found = polygons(mask)
    if not found:
        raise StepFailed("a mask is empty: filter such detections out before this step")
    return max(found, key=len)


def _rectangle(outline: Array) -> tuple[Array, float, float, float]:
    import cv2

    centre, (width, height), angle = cv2.minAreaRect(outline)
    while angle <= 0:  # releases of OpenCV differ in the quarter turn they count from
        angle, width, height = angle + 90, height, width
    corners: Array = np.asarray(cv2.boxPoints((centre, (width, height), angle))).astype(int)
    return corners, float(width), float(height), float(angle)


class DynamicZone(Block):
    """A convex polygon of a given number of corners for each mask; with `apply_least_squares` its sides are fitted to the outline."""

    types = ("roboflow_core/dynamic_zone@v1", "DynamicZone")
    title = "Dynamic zone"
    fields = (
        Field("predictions", SEGMENTED),
        need("required_number_of_vertices", Number(1, 4096, integer=True), INTEGER),
        option("scale_ratio", Number(), 1, FLOAT),
        option("apply_least_squares", Flag(), False, BOOLEAN),
        option("midpoint_fraction", Number(0, 1), 1, ZERO_TO_ONE),
    )
    outputs = gives(zones=kinds(LIST), predictions=SEGMENTED, simplification_converged=kinds(BOOLEAN))

    def run(
        self,
        predictions: Detections,
        required_number_of_vertices: int,
        scale_ratio: float,
        apply_least_squares: bool,
        midpoint_fraction: float,
    ) -> tuple[Any, ...]:
        if predictions.masks is None:
            return [], None, False
        zones: list[Array] = []
        converged = True
        for mask in predictions.masks:
            outline = longest(mask)
            zone = simplified(outline, required_number_of_vertices)
            if apply_least_squares:
                zone = fitted(outline, zone, midpoint_fraction)
            converged &= len(zone) == required_number_of_vertices
            zone = zone[:required_number_of_vertices]
            zone = np.concatenate(
                [zone, np.repeat(zone[-1:], required_number_of_vertices - len(zone), axis=0)]
            )
            zones.append(_scaled(zone, scale_ratio))
        corners = [zone.tolist() for zone in zones]
        masks = tuple(from_polygon(zone, predictions.image_wh) for zone in zones)
        told = replace(predictions.with_data(polygon=objects(corners)), masks=masks)
        return corners, told, converged


def simplified(outline: Array, corners: int) -> Array:
    """The convex hull with as many corners, by halving the interval of the tolerance; another number where none gives it."""
    import cv2

    hull = cv2.convexHull(outline, returnPoints=True, clockwise=True)
    high = cv2.arcLength(hull, closed=True)
    low = 1e-7
    epsilon = low + high / 2
    for _ in range(MAX_STEPS):
        zone = cv2.approxPolyDP(hull, epsilon=epsilon, closed=True)
        if len(zone) == corners:
            break
        low, high = (epsilon, high) if len(zone) > corners else (low, epsilon)
        middle = low + (high - low) / 2
        if middle == epsilon:
            break
        epsilon = middle
    return np.asarray(zone.reshape(-1, 2), np.int32)


def fitted(outline: Array, zone: Array, midpoint_fraction: float) -> Array:
    """The corners where lines meet that are fitted (least squares) to the outline between neighbouring corners, or to the middle
    part of it."""
    before = np.roll(zone, 1, axis=0)
    lines = [_line(_between(outline, a, b), midpoint_fraction) for a, b in zip(before, zone, strict=True)]
    corners = [_meet(a, b) for a, b in zip(lines, lines[1:] + lines[:1], strict=True)]
    fit: Array = np.array(corners, np.float64).round().astype(np.int32)
    return fit


def _between(outline: Array, a: Array, b: Array) -> Array:
    start, end = (int(np.linalg.norm(outline - point, axis=1).argmin()) for point in (a, b))
    if start <= end:
        return outline[start : end + 1]
    return np.concatenate([outline[start:], outline[: end + 1]])


def _line(points: Array, midpoint_fraction: float) -> tuple[float, float]:
    """Slope and height of the line through points.

    :raises StepFailed: fewer than two points
    """
    kept = round(len(points) * midpoint_fraction)
    if midpoint_fraction < 1 and kept > 2:
        dropped = (len(points) - kept) // 2
        points = points[dropped : len(points) - dropped]
    if len(points) < 2:
        raise StepFailed("a side of the zone has too few points to fit a line to")
    x = np.stack([points[:, 0], np.ones(len(points))], axis=1)
    slope, height = np.linalg.lstsq(x, points[:, 1], rcond=None)[0]
    return float(slope), float(height)


def _meet(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    if np.isclose(a[0], b[0]):
        raise StepFailed("two neighbouring sides of the zone are parallel")
    x = (b[1] - a[1]) / (a[0] - b[0])
    return x, a[0] * x + a[1]


def _scaled(zone: Array, ratio: float) -> Array:
    """Larger or smaller about its centre of mass."""
    import cv2

    moments = cv2.moments(zone)
    if ratio == 1 or not moments["m00"]:
        return zone
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    scaled: Array = ((zone - centre) * ratio + centre).round().astype(np.int32)
    return scaled


BLOCKS = (BoundingRect, DynamicZone)
