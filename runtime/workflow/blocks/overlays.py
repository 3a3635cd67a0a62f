"""Areas of the picture drawn over, blurred or dimmed: zones, paths, what must not be recognised, what lies around."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.masks import decode
from runtime.workflow.block import Block, StepFailed
from runtime.workflow.blocks.pictures import Colour, Drawing, Pixels, copies, ink
from runtime.workflow.fields import (
    INTEGER,
    LIST,
    STRING,
    ZERO_TO_ONE,
    Either,
    ListOf,
    Number,
    boxes,
    image,
    need,
    option,
)
from runtime.workflow.values import Array, Detections
from wire.problem import shown

MAX_POINTS = 4096
POINTS = ListOf(ListOf(Number(-1e6, 1e6), min_items=2, max_items=4), max_items=MAX_POINTS)
BLURRED_AT_LEAST = 1


class PolygonZone(Drawing):
    """One or several zones, laid over the picture in a colour."""

    types = ("roboflow_core/polygon_zone_visualization@v1",)
    title = "Polygon zone visualization"
    fields = (
        image(),
        copies(),
        need("zone", Either((POINTS, ListOf(POINTS, max_items=64))), LIST),
        option("color", Colour(), "#5bb573", STRING),
        option("opacity", Number(0, 1), 0.3, ZERO_TO_ONE),
    )

    def draw(self, canvas: Pixels, *, zone: Any, color: str, opacity: float) -> None:  # type: ignore[override]
        import cv2

        if not zone:
            return
        several = isinstance(zone[0][0], (list, tuple, np.ndarray))
        corners = [_corners(part) for part in (zone if several else [zone])]
        layer = np.zeros_like(canvas)
        cv2.fillPoly(layer, corners, ink(color))
        cv2.addWeighted(layer, opacity, canvas, 1, 0, dst=canvas)


def _corners(points: Any) -> Array:
    """(N, 2) int32.

    :raises StepFailed: no list of points
    """
    try:
        corners: Array = np.asarray(points, np.float64)[:, :2]
    except (IndexError, TypeError, ValueError) as e:
        raise StepFailed(f"points [[x, y], …] are expected, got {shown(points)}") from e
    if not np.isfinite(corners).all() or np.abs(corners).max(initial=0) > 1e6:
        raise StepFailed(f"points within ±1,000,000 px are expected, got {shown(points)}")
    return corners.astype(np.int32)


class ReferencePath(Drawing):
    types = ("roboflow_core/reference_path_visualization@v1",)
    title = "Reference path visualization"
    fields = (
        image(),
        copies(),
        need("reference_path", POINTS, LIST),
        option("color", Colour(), "#5bb573", STRING),
        option("thickness", Number(1, 100, integer=True), 2, INTEGER),
    )

    def draw(self, canvas: Pixels, *, reference_path: Any, color: str, thickness: int) -> None:  # type: ignore[override]
        import cv2

        cv2.polylines(canvas, [_corners(reference_path)], False, ink(color), thickness)


class Blurred(Drawing):
    """Blurs each object: its mask where it has one, else its box; `padding` pixels around it as well."""

    types = ("roboflow_core/blur_visualization@v1", "BlurVisualization")
    title = "Blur visualization"
    fields = (
        image(),
        boxes(),
        copies(),
        option("kernel_size", Number(BLURRED_AT_LEAST, 1023, integer=True), 15, INTEGER),
        option("padding", Number(0, 10_000, integer=True), 0, INTEGER),
    )

    def draw(self, canvas: Pixels, *, predictions: Detections, kernel_size: int, padding: int) -> None:  # type: ignore[override]
        import cv2

        height, width = canvas.shape[:2]
        for i, box in enumerate(predictions.xyxy.tolist()):
            inside = None
            if predictions.masks is not None:
                inside = _grown(decode(predictions.masks[i]), padding)
                box = _hull(box, inside)
            x1, y1 = max(0, int(box[0] - padding)), max(0, int(box[1] - padding))
            x2, y2 = min(width, int(box[2] + padding)), min(height, int(box[3] + padding))
            if x2 <= x1 or y2 <= y1:
                continue
            part = canvas[y1:y2, x1:x2]
            blurred = np.asarray(cv2.blur(part, (kernel_size, kernel_size)), np.uint8)
            if inside is None:
                part[:] = blurred
            else:
                chosen = inside[y1:y2, x1:x2]
                part[chosen] = blurred[chosen]


def _grown(mask: Array, by_px: int) -> Array:
    import cv2

    if not by_px:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    grown: Array = cv2.dilate(np.ascontiguousarray(mask, np.uint8), kernel) > 0
    return grown


def _hull(box: list[float], mask: Array) -> list[float]:
    """The box around a box and a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0.0, 0.0, 0.0, 0.0]
    return [
        min(box[0], float(columns[0])),
        min(box[1], float(rows[0])),
        max(box[2], float(columns[-1]) + 1),
        max(box[3], float(rows[-1]) + 1),
    ]


class BackgroundColour(Drawing):
    """Lays a colour over all that is no object."""

    types = ("roboflow_core/background_color_visualization@v1", "BackgroundColorVisualization")
    title = "Background color visualization"
    fields = (
        image(),
        boxes(),
        copies(),
        option("color", Colour(), "BLACK", STRING),
        option("opacity", Number(0, 1), 0.5, ZERO_TO_ONE),
    )

    def draw(self, canvas: Pixels, *, predictions: Detections, color: str, opacity: float) -> None:  # type: ignore[override]
        import cv2

        before = canvas.copy()
        layer = np.full_like(canvas, ink(color))
        cv2.addWeighted(before, 1 - opacity, layer, opacity, 0, dst=canvas)
        for i, (x1, y1, x2, y2) in enumerate(predictions.xyxy.astype(int).clip(0).tolist()):
            if predictions.masks is None:
                canvas[y1:y2, x1:x2] = before[y1:y2, x1:x2]
            else:
                inside = decode(predictions.masks[i])
                canvas[inside] = before[inside]


class TwoModels(Drawing):
    """Where two models see something: each alone in its colour, neither in the background's."""

    types = ("roboflow_core/model_comparison_visualization@v1",)
    title = "Model comparison visualization"
    fields = (
        image(),
        copies(),
        boxes("predictions_a"),
        option("color_a", Colour(), "GREEN", STRING),
        boxes("predictions_b"),
        option("color_b", Colour(), "RED", STRING),
        option("background_color", Colour(), "BLACK", STRING),
        option("opacity", Number(0, 1), 0.7, ZERO_TO_ONE),
    )

    def draw(  # type: ignore[override]
        self,
        canvas: Pixels,
        *,
        predictions_a: Detections,
        color_a: str,
        predictions_b: Detections,
        color_b: str,
        background_color: str,
        opacity: float,
    ) -> None:
        import cv2

        a, b = (_covered(p, canvas.shape[:2]) for p in (predictions_a, predictions_b))
        layer = np.full_like(canvas, ink(background_color))
        layer[a & ~b] = ink(color_a)
        layer[b & ~a] = ink(color_b)
        mixed = np.asarray(cv2.addWeighted(canvas, 1 - opacity, layer, opacity, 0), np.uint8)
        both = a & b
        mixed[both] = canvas[both]
        canvas[:] = mixed


def _covered(detections: Detections, size_hw: tuple[int, ...]) -> Array:
    """(H, W) bool: what any of the objects covers."""
    covered = np.zeros(size_hw, bool)
    for i, (x1, y1, x2, y2) in enumerate(detections.xyxy.astype(int).clip(0).tolist()):
        if detections.masks is None:
            covered[y1:y2, x1:x2] = True
        else:
            covered |= decode(detections.masks[i])
    return covered


BLOCKS: tuple[type[Block], ...] = (PolygonZone, ReferencePath, Blurred, BackgroundColour, TwoModels)
