"""Masks of detections as regions: drawn from polygons, traced to polygons, moved between pictures. Run-length masks in and out.

Bitmaps are made one at a time, and as windows where it can be, so that a frame of many masks does not cost a picture for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.masks import bounds, decode, encode

Rle = Mapping[str, Any]
Polygon = npt.NDArray[Any]


def from_polygon(points: Sequence[Any] | Polygon, wh: tuple[int, int]) -> dict[str, Any]:
    """The mask of a filled polygon (M, 2), border included, cut off at a picture of `wh`."""
    import cv2

    canvas = np.zeros((wh[1], wh[0]), np.uint8)
    cv2.fillPoly(canvas, [np.asarray(points, np.float64).astype(np.int32)], (1,))
    return encode(canvas)


def polygons(mask: Rle | npt.NDArray[Any]) -> list[Polygon]:
    """The outlines (M, 2) int32 of a mask, of holes too; those of fewer than three points are left out."""
    import cv2

    bitmap = mask if isinstance(mask, np.ndarray) else decode(mask)
    found, _ = cv2.findContours(
        np.ascontiguousarray(bitmap, np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE
    )
    return [np.asarray(c.reshape(-1, 2), np.int32) for c in found if len(c) >= 3]


def outline(mask: Rle) -> Polygon | None:
    """The one outline that stands for a mask in JSON: the largest, at least three points; None for an empty mask."""
    import cv2

    found, _ = cv2.findContours(decode(mask).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return None
    points = np.asarray(max(found, key=cv2.contourArea).reshape(-1, 2), np.int32)
    short = 3 - len(points)
    return np.concatenate([points, np.repeat(points[-1:], short, axis=0)]) if short > 0 else points


def moved(
    mask: Rle, wh: tuple[int, int], offset_xy: Sequence[float], scale: Sequence[float] = (1.0, 1.0)
) -> dict[str, Any]:
    """The mask in a picture of `wh`, in which its own picture lies at an offset, enlarged by a scale; cut off at the borders."""
    bitmap = decode(mask).astype(np.uint8)
    if tuple(scale) != (1.0, 1.0):
        import cv2

        side = (max(1, round(bitmap.shape[1] * scale[0])), max(1, round(bitmap.shape[0] * scale[1])))
        bitmap = np.asarray(
            cv2.resize(np.ascontiguousarray(bitmap), side, interpolation=cv2.INTER_NEAREST), np.uint8
        )
    left, top = round(offset_xy[0]), round(offset_xy[1])
    part = bitmap[max(0, -top) : max(0, wh[1] - top), max(0, -left) : max(0, wh[0] - left)]
    if not part.size:
        return encode(np.zeros((wh[1], wh[0]), np.uint8))
    return encode(part, size_hw=(wh[1], wh[0]), at_xy=(max(0, left), max(0, top)))


def cut(mask: Rle, left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
    """The mask in the part of its picture between two corners."""
    return encode(np.ascontiguousarray(decode(mask)[top:bottom, left:right]))


def united(masks: Sequence[Rle]) -> dict[str, Any]:
    """What lies in any of the masks, all of one size."""
    bitmap = decode(masks[0]).copy()
    for mask in masks[1:]:
        bitmap |= decode(mask)
    return encode(bitmap)


def centre_of_mass(mask: Rle) -> tuple[int, int]:
    """x y of the pixel in which the mean of the mask's pixels lies; 0 0 of an empty mask."""
    left, top, right, bottom = bounds(mask)
    y, x = decode(mask)[top:bottom, left:right].nonzero()
    return (int(x.mean() + left + 0.5), int(y.mean() + top + 0.5)) if len(x) else (0, 0)


def box_of(mask: Rle) -> list[float]:
    """x1 y1 x2 y2 of a mask's first and last pixels."""
    x1, y1, x2, y2 = bounds(mask)
    return [float(x1), float(y1), float(max(x1, x2 - 1)), float(max(y1, y2 - 1))]
