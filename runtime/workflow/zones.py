"""Zones as painted pictures: a point belongs to a zone where its pixel is painted, the border included, as in the original."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.workflow.geometry import inside_polygon
from runtime.workflow.values import Array

MAX_PIXELS = 32 * 1024 * 1024
"""A zone that reaches further is judged by arithmetic alone."""
MAX_ZONES = 16


class PaintedZones:
    """The zones of one step, painted once; the least recently used is forgotten beyond `MAX_ZONES`."""

    def __init__(self) -> None:
        self._painted: OrderedDict[tuple[tuple[float, ...], ...], Array | None] = OrderedDict()

    def inside(self, points: Array, zone: Sequence[Any]) -> Array:
        """(N,) bool: which points (N, 2) lie in the zone, a polygon of finite numbers."""
        pixels = np.rint(points)
        key = tuple(tuple(corner) for corner in zone)
        if key in self._painted:
            self._painted.move_to_end(key)
        else:
            self._painted[key] = _paint(key)
            while len(self._painted) > MAX_ZONES:
                self._painted.popitem(last=False)
        canvas = self._painted[key]
        if canvas is None:
            return inside_polygon(pixels, key, border=True)
        height, width = canvas.shape
        known = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
        inside = np.zeros(len(points), bool)
        at = pixels[known].astype(np.intp)
        inside[known] = canvas[at[:, 1], at[:, 0]] > 0
        return inside


def _paint(zone: tuple[tuple[float, ...], ...]) -> Array | None:
    """(H, W) uint8 from the origin to just beyond the zone; None where that would be too large, or nothing."""
    import cv2

    corners = np.array(zone, np.float64)
    right, bottom = corners.max(axis=0)
    if right < 0 or bottom < 0 or (right + 2) * (bottom + 2) > MAX_PIXELS or np.abs(corners).max() > 2**30:
        return None
    canvas = np.zeros((int(bottom) + 2, int(right) + 2), np.uint8)
    cv2.fillPoly(canvas, [corners.astype(np.int32)], (1,))
    return canvas
