"""Draws a result on a picture: class maps and masks as veils, boxes with labels, oriented boxes, keypoints, texts, the best classes
of the whole image."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from runtime import masks
from runtime.results import Floats, Image, Result, corners_of

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN_RATIO = 0.618033988749895
"""Steps of this share of the colour circle keep neighbouring class ids far apart."""
_REFERENCE_PX = 640
"""Lines are two pixels thick, and letters half of OpenCV's size, on a picture of this height."""
_MIN_KEYPOINT_SCORE = 0.3
_MIN_CLASS_SCORE = 0.1
_VEIL = 0.45
"""How much of a mask's colour covers the picture."""
_SKELETON = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Which of COCO's 17 points of a person are joined."""


def annotate(image: Image, result: Result) -> Image:
    """A copy of the picture with the result drawn on it.

    image: (H, W, 3) uint8 BGR, the one that was asked about, or the same at another size.
    """
    canvas: Image = np.array(image, np.uint8, order="C")
    gain_x = canvas.shape[1] / max(1, result.image_wh[0])
    gain_y = canvas.shape[0] / max(1, result.image_wh[1])
    gain = np.array([gain_x, gain_y], np.float32)
    thickness = max(1, round(canvas.shape[0] / _REFERENCE_PX * 2.0))
    if result.semantic is not None:
        _class_map(canvas, result.semantic)
    for i in reversed(range(len(result))):
        if result.masks is not None:
            _mask(canvas, result.masks[i], colour(int(result.class_ids[i])))
    for i in reversed(range(len(result))):
        _detection(canvas, result, i, gain, thickness)
    _classes(canvas, result, thickness)
    return canvas


def _class_map(canvas: Image, semantic: Image) -> None:
    """Every class but 0, which is the background, veiled in its colour."""
    height, width = canvas.shape[:2]
    classes = cv2.resize(semantic, (width, height), interpolation=cv2.INTER_NEAREST)
    table = np.array([colour(i) for i in range(256)], np.uint8)
    veiled = cv2.addWeighted(canvas, 1 - _VEIL, table[classes], _VEIL, 0)
    np.copyto(canvas, veiled, where=(classes != 0)[:, :, None])


def _mask(canvas: Image, mask: masks.Rle, ink: tuple[int, int, int]) -> None:
    height, width = canvas.shape[:2]
    bitmap = np.ascontiguousarray(masks.decode(mask)).view(np.uint8)
    if bitmap.shape != (height, width):
        bitmap = cv2.resize(bitmap, (width, height), interpolation=cv2.INTER_NEAREST)
    inside = bitmap != 0
    canvas[inside] = np.asarray(canvas[inside] * (1 - _VEIL) + np.array(ink) * _VEIL, np.uint8)


def _classes(canvas: Image, result: Result, thickness: int) -> None:
    """The best classes of the whole image, one below the other; the very best whatever its score."""
    for row, (class_id, name, score) in enumerate(result.top(3)):
        if row == 0 or score >= _MIN_CLASS_SCORE:
            height = round(max(0.4, canvas.shape[0] / _REFERENCE_PX * 0.5) * 40)
            _text(canvas, f"{name} {score:.2f}", (0, row * height), colour(class_id), thickness)


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
        points = corners_of(result.oriented[i : i + 1])[0] * gain
        cv2.polylines(canvas, [np.round(points).astype(np.int32)], True, ink, thickness, cv2.LINE_AA)
    else:
        cv2.rectangle(canvas, (left, top), (right, bottom), ink, thickness)
    if result.keypoints is not None:
        _keypoints(canvas, result.keypoints[i], ink, gain, thickness)
    words = result.texts[i] if result.texts is not None else result.label(int(result.class_ids[i]))
    _text(canvas, f"{words} {result.scores[i]:.2f}", (left, top), ink, thickness)


def _keypoints(
    canvas: Image,
    keypoints: Floats,
    ink: tuple[int, int, int],
    gain: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    thickness: int,
) -> None:
    seen = keypoints[:, 2] >= _MIN_KEYPOINT_SCORE
    places = [(int(x), int(y)) for x, y in np.round(keypoints[:, :2] * gain)]
    if len(places) == max(map(max, _SKELETON)) + 1:
        for a, b in _SKELETON:
            if seen[a] and seen[b]:
                cv2.line(canvas, places[a], places[b], ink, thickness, cv2.LINE_AA)
    for place, clear in zip(places, seen, strict=True):
        if clear:
            cv2.circle(canvas, place, 2 * thickness, ink, -1, cv2.LINE_AA)


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
