"""Draws a result on a picture: boxes with labels, oriented boxes, keypoints, the class of the whole image."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from runtime.results import Image, Result

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN_RATIO = 0.618033988749895
"""Steps of this share of the colour circle keep neighbouring class ids far apart."""
_REFERENCE_PX = 640
"""Lines are two pixels thick, and letters half of OpenCV's size, on a picture of this height."""
_MIN_KEYPOINT_SCORE = 0.3


def annotate(image: Image, result: Result) -> Image:
    """A copy of the picture with the result drawn on it.

    image: (H, W, 3) uint8 BGR, the one that was asked about, or the same at another size.
    """
    canvas: Image = np.array(image, np.uint8, order="C")
    gain_x = canvas.shape[1] / max(1, result.image_wh[0])
    gain_y = canvas.shape[0] / max(1, result.image_wh[1])
    gain = np.array([gain_x, gain_y], np.float32)
    thickness = max(1, round(canvas.shape[0] / _REFERENCE_PX * 2.0))
    for i in reversed(range(len(result))):
        _detection(canvas, result, i, gain, thickness)
    if result.classes is not None and len(result.classes):
        best = int(np.argmax(result.classes))
        text = f"{result.label(best)} {result.classes[best]:.2f}"
        _text(canvas, text, (0, 0), colour(best), thickness)
    return canvas


def _detection(
    canvas: Image,
    result: Result,
    i: int,
    gain: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    thickness: int,
) -> None:
    ink = colour(int(result.class_ids[i]))
    corners = np.round(result.boxes[i].reshape(2, 2) * gain).astype(int)
    (left, top), (right, bottom) = corners.tolist()
    if result.oriented is not None:
        x, y, w, h, angle = (float(v) for v in result.oriented[i])
        points = cv2.boxPoints(((x, y), (w, h), float(np.degrees(angle)))) * gain
        cv2.polylines(canvas, [np.round(points).astype(np.int32)], True, ink, thickness, cv2.LINE_AA)
    else:
        cv2.rectangle(canvas, (left, top), (right, bottom), ink, thickness)
    if result.keypoints is not None:
        for x, y, score in result.keypoints[i].tolist():
            if score >= _MIN_KEYPOINT_SCORE:
                place = (round(x * gain[0]), round(y * gain[1]))
                cv2.circle(canvas, place, 2 * thickness, ink, -1, cv2.LINE_AA)
    words = result.texts[i] if result.texts is not None else result.label(int(result.class_ids[i]))
    _text(canvas, f"{words} {result.scores[i]:.2f}", (left, top), ink, thickness)


def _text(
    canvas: Image, text: str, corner: tuple[int, int], ink: tuple[int, int, int], thickness: int
) -> None:
    """The text on a plate of its colour, above the corner where there is room, else below."""
    text = text.encode("ascii", "replace").decode()
    scale = max(0.4, canvas.shape[0] / _REFERENCE_PX * 0.5)
    weight = max(1, thickness // 2)
    (width, height), base = cv2.getTextSize(text, _FONT, scale, weight)
    margin = 2 * thickness
    width, height = width + 2 * margin, height + margin
    left = min(max(0, corner[0]), max(0, canvas.shape[1] - width))
    top = corner[1] - height - base if corner[1] >= height + base else max(0, corner[1])
    cv2.rectangle(canvas, (left, top), (left + width, top + height + base), ink, -1)
    bright = 0.114 * ink[0] + 0.587 * ink[1] + 0.299 * ink[2] > 140
    paper = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + margin, top + height), _FONT, scale, paper, weight, cv2.LINE_AA)


@lru_cache(maxsize=1024)
def colour(class_id: int) -> tuple[int, int, int]:
    """The colour of a class, B G R, the same on every device."""
    red, green, blue = colorsys.hsv_to_rgb((class_id * _GOLDEN_RATIO) % 1.0, 0.85, 0.95)
    return round(blue * 255), round(green * 255), round(red * 255)
