"""A plane seen at an angle, straightened: a four-cornered polygon of the picture becomes a rectangle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.blocks.shapes import longest
from runtime.workflow.fields import (
    BOOLEAN,
    IMAGE,
    INSTANCE_SEGMENTATION,
    INTEGER,
    LIST,
    OBJECT_DETECTION,
    STRING,
    Choice,
    Field,
    Flag,
    Number,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.regions import from_polygon
from runtime.workflow.values import ANCHORS, Array, Detections, ImageValue, anchor_points
from wire.problem import shown

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
SIDE = Number(1, 16384, integer=True)
ALL = "ALL"


@dataclass(frozen=True)
class _AnyNesting:
    """Polygons, nested as deep as the original takes them."""

    def read(self, value: Any, path: str, report: Any) -> Any:
        if not isinstance(value, list) or not value:
            report.wrong(path, value, "four corners [[x, y], …], or a list of such polygons")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "minItems": 1}


class PerspectiveCorrection(Block):
    """Boxes, masks and keypoints in the coordinates of the straightened plane, and the picture too where it is asked for. With an
    anchor the polygon grows until it holds that point of every detection."""

    types = ("roboflow_core/perspective_correction@v1", "PerspectiveCorrection")
    title = "Perspective correction"
    accepts_empty = True
    fields = (
        Field("predictions", OBJECTS, required=False),
        image("images"),
        need("perspective_polygons", _AnyNesting(), LIST),
        option("transformed_rect_width", SIDE, 1000, INTEGER),
        option("transformed_rect_height", SIDE, 1000, INTEGER),
        option("extend_perspective_polygon_by_detections_anchor", Choice(("", ALL, *ANCHORS)), "", STRING),
        option("warp_image", Flag(), False, BOOLEAN),
    )
    outputs = gives(
        corrected_coordinates=OBJECTS,
        warped_image=kinds(IMAGE),
        extended_transformed_rect_width=kinds(INTEGER),
        extended_transformed_rect_height=kinds(INTEGER),
    )

    def run(
        self,
        predictions: Detections | None,
        images: ImageValue | None,
        perspective_polygons: Any,
        transformed_rect_width: int,
        transformed_rect_height: int,
        extend_perspective_polygon_by_detections_anchor: str,
        warp_image: bool,
    ) -> tuple[Any, ...] | None:
        import cv2

        if images is None:
            return None
        anchor = extend_perspective_polygon_by_detections_anchor
        plane = Plane.of(largest(perspective_polygons), transformed_rect_width, transformed_rect_height)
        if predictions is not None and len(predictions) and anchor:
            plane = plane.holding(predictions, anchor)
        side = plane.side_px
        picture = images
        if warp_image:
            picture = images.redrawn(
                np.asarray(cv2.warpPerspective(images.image, plane.matrix(), side), np.uint8)
            )
        corrected = None if predictions is None else straightened(predictions, plane.matrix(), side)
        return corrected, picture, *side


def largest(polygons: Any) -> Array:
    """(4, 2): the polygon, or the largest of several.

    :raises StepFailed: none has four corners
    """
    found: list[Array] = []
    _collect(polygons, found, depth=0)
    if not found:
        raise StepFailed(f"perspective_polygons takes four corners [[x, y], …], got {shown(polygons)}")
    import cv2

    return max(found, key=lambda p: cv2.contourArea(p.astype(np.float32)))


def _collect(value: Any, found: list[Array], depth: int) -> None:
    if not isinstance(value, (list, tuple, np.ndarray)) or depth > 3:
        return
    try:
        corners = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.shape == (4, 2) and np.isfinite(corners).all() and np.abs(corners).max() < 1e6:
        found.append(corners)
        return
    for entry in value:
        _collect(entry, found, depth + 1)


@dataclass(frozen=True)
class Plane:
    """Corners (4, 2) from bottom left clockwise, and the size of the rectangle they become; `grown` is how far they were moved
    outwards, in pixels of the picture, and `sides` the polygon's width and height before."""

    corners: Array
    width_px: int
    height_px: int
    grown: tuple[float, float] = (0.0, 0.0)
    sides: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of(cls, corners: Array, width_px: int, height_px: int) -> Plane:
        return cls(_from_bottom_left(_clockwise(corners)), width_px, height_px)

    @property
    def side_px(self) -> tuple[int, int]:
        """Width and height of the rectangle, grown with the polygon."""
        more_x = self.grown[0] * self.width_px / max(self.sides[0], 1)
        more_y = self.grown[1] * self.height_px / max(self.sides[1], 1)
        return self.width_px + round(more_x), self.height_px + round(more_y)

    def matrix(self) -> Array:
        import cv2

        right, bottom = (side - 1 for side in self.side_px)
        target = np.array([[0, bottom], [0, 0], [right, 0], [right, bottom]], np.float32)
        return np.asarray(cv2.getPerspectiveTransform(self.corners.astype(np.float32), target))

    def holding(self, detections: Detections, anchor: str) -> Plane:
        """Grown until it holds the anchor of every detection, or their corners."""
        left, lower, right, upper = (
            (anchor,) * 4
            if anchor != ALL
            else (
                ("BOTTOM_LEFT", "TOP_LEFT"),
                ("BOTTOM_RIGHT", "BOTTOM_LEFT"),
                ("BOTTOM_RIGHT", "TOP_RIGHT"),
                ("TOP_RIGHT", "TOP_LEFT"),
            )
        )
        bl, tl, tr, br = self.corners
        sides = (
            max(math.dist(bl, br), math.dist(tl, tr)),
            max(math.dist(bl, tl), math.dist(br, tr)),
        )
        edges = _Edges([bl, tl, tr, br])
        for i in range(len(detections)):
            one = detections.select(np.array([i]))
            for edge, names in ((0, left), (2, right), (3, lower), (1, upper)):
                for name in (names,) if isinstance(names, str) else names:
                    edges.hold(edge, anchor_points(one, name)[0])
        return Plane(
            np.array(edges.corners), self.width_px, self.height_px, (edges.wider, edges.taller), sides
        )


class _Edges:
    """Four corners of which single edges are moved outwards, along the edges beside them. Edge i runs from corner i to the next:
    left, top, right, bottom."""

    def __init__(self, corners: list[Array]) -> None:
        self.corners = [np.asarray(corner, np.float64) for corner in corners]
        self.wider = self.taller = 0.0

    def hold(self, edge: int, point: Array) -> None:
        """Move an edge so that the point lies on it, where it lies outside of it."""
        import cv2

        x, y = float(point[0]), float(point[1])
        if cv2.pointPolygonTest(np.array(self.corners, np.float32), (x, y), False) >= 0:
            return
        i, j = edge, (edge + 1) % 4
        a, b = self.corners[i], self.corners[j]
        if (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 0:
            return
        way = b - a
        self.corners[i] = _crossing(point, way, a, self.corners[i - 1] - a)
        self.corners[j] = _crossing(point, way, b, self.corners[(j + 1) % 4] - b)
        moved, before = (self.corners[j], b) if edge == 2 else (self.corners[i], a)
        if edge in (0, 2):
            self.wider += math.dist(moved, before)
        else:
            self.taller += math.dist(moved, before)


def _crossing(p: Array, along: Array, q: Array, way: Array) -> Array:
    """Where the line through p meets the one through q, on whole pixels.

    :raises StepFailed: they are parallel
    """
    turn = along[0] * way[1] - along[1] * way[0]
    if abs(turn) < 1e-9:
        raise StepFailed("the perspective polygon has parallel sides that should meet: draw it anew")
    share = ((q[0] - p[0]) * way[1] - (q[1] - p[1]) * way[0]) / turn
    crossing: Array = np.round(p + share * along)
    return crossing


def _clockwise(corners: Array) -> Array:
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    turns = [math.atan2(centre[0] - x, centre[1] - y) for x, y in corners]
    return corners[np.argsort(turns, kind="stable")[::-1]]


def _from_bottom_left(corners: Array) -> Array:
    """Turned so that each corner is nearest to its own of the box around them."""
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    wanted = np.array([[left, bottom], [left, top], [right, top], [right, bottom]])
    turned = [np.roll(corners, shift, axis=0) for shift in range(4)]
    far = [float(np.linalg.norm(wanted - t, axis=1).sum()) for t in turned]
    return min(zip(far, turned, strict=True), key=lambda pair: (pair[0], pair[1][0, 0]))[1]


def straightened(detections: Detections, matrix: Array, side_px: tuple[int, int]) -> Detections:
    """The detections in the coordinates of the rectangle, on whole pixels."""
    if not len(detections):
        return detections
    if detections.masks is None:
        box = np.around(detections.xyxy)
        outlines = [box[i, [[0, 1], [2, 1], [2, 3], [0, 3]]] for i in range(len(box))]
    else:
        outlines = [longest(mask) for mask in detections.masks]
    moved = [_transformed(outline, matrix) for outline in outlines]
    masks = None
    if detections.masks is not None:
        masks = tuple(from_polygon(np.around(outline), side_px) for outline in moved)
    keypoints = detections.keypoints
    if keypoints is not None and keypoints.shape[1]:
        keypoints = keypoints.copy()
        keypoints[..., :2] = np.around(_transformed(keypoints[..., :2].reshape(-1, 2), matrix)).reshape(
            *keypoints.shape[:2], 2
        )
    boxes = [[*o.min(axis=0), *o.max(axis=0)] for o in moved]
    return replace(detections, xyxy=np.around(np.array(boxes, np.float64)), masks=masks, keypoints=keypoints)


def _transformed(points: Array, matrix: Array) -> Array:
    import cv2

    return np.asarray(cv2.perspectiveTransform(np.asarray(points, np.float32)[None], matrix)).reshape(-1, 2)


BLOCKS: tuple[type[Block], ...] = (PerspectiveCorrection,)
