"""Drawn scenes in place of real frames: a plain room, and a flat figure where the detector found somebody or something."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

import outrider
from examples.bottle_caps.belt import Image
from examples.workflows.people import VEST_BGR
from runtime.model.engine import Done
from runtime.results import Answer, Result

SURE = 0.4
"""Boxes with less confidence get no figure."""
WALL_BGR, FLOOR_BGR, GRID_BGR = (232, 228, 224), (206, 209, 212), (184, 188, 192)
CLOTHES_BGR = ((120, 92, 70), (92, 104, 128), (96, 118, 84), (118, 84, 112), (84, 108, 122))
SKIN_BGR, LEGS_BGR, BOTTLE_BGR, CAP_BGR = (150, 165, 188), (84, 74, 66), (205, 176, 140), (150, 90, 50)


class Sketcher:
    """Asks the detector about real frames, gives drawn ones, and answers for these what was found on the real ones."""

    def __init__(self, model: outrider.Model) -> None:
        self.spec, self.digest, self._model = model.spec, model.digest, model
        self._found: deque[Answer] = deque()

    def frames(self, real: Iterable[Image]) -> Iterator[Image]:
        """One drawn frame for each real one; ask `submit` about it before the next."""
        for frame in real:
            answer = self._model.ask([frame])[0]
            self._found.append(answer)
            yield scene(frame, answer) if isinstance(answer, Result) else room(*frame.shape[:2])

    def submit(self, images: Sequence[Image]) -> Done:
        return Done(tuple(self._found.popleft() for _ in images))

    def close(self) -> None:
        self._model.close()


def scene(frame: Image, answer: Result) -> Image:
    """A room with a figure in each box, the farthest first; a vest where the frame has that colour."""
    height, width = frame.shape[:2]
    picture = room(height, width)
    boxes = [
        (np.round(box).astype(int).tolist(), answer.labels[int(label)])
        for box, score, label in zip(answer.boxes, answer.scores, answer.class_ids, strict=True)
        if score >= SURE
    ]
    for number, (box, name) in enumerate(sorted(boxes, key=lambda one: (one[0][3], one[0][0]))):
        if name == "person":
            person(picture, box, CLOTHES_BGR[number % len(CLOTHES_BGR)], wears_vest(frame, box))
        elif name == "bottle":
            bottle(picture, box)
    return picture


def room(height: int, width: int) -> Image:
    """A wall and a floor with lines to a vanishing point."""
    picture = np.full((height, width, 3), WALL_BGR, np.uint8)
    horizon = round(0.58 * height)
    picture[horizon:] = FLOOR_BGR
    for k in range(-14, 15):
        near, far = (round(width * (0.5 + 0.16 * k)), height), (round(width * (0.5 + 0.07 * k)), horizon)
        cv2.line(picture, far, near, GRID_BGR, 1, cv2.LINE_AA)
    for depth in (0.0, 0.1, 0.25, 0.46, 0.74):
        y = round(horizon + depth * (height - horizon))
        cv2.line(picture, (0, y), (width, y), GRID_BGR, 1, cv2.LINE_AA)
    return picture


def wears_vest(frame: Image, box: Sequence[int]) -> bool:
    left, top, right, bottom = (max(0, v) for v in box)
    part = frame[top:bottom, left:right].astype(int)
    green = (part[..., 1] - part[..., 0] > 90) & (part[..., 2] > 110)
    return bool(green.size and green.mean() > 0.05)


def person(picture: Image, box: Sequence[int], clothes: tuple[int, int, int], vest: bool) -> None:
    """A flat figure that fills the box."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top

    def at(x: float, y: float) -> tuple[int, int]:
        return round(left + x * width), round(top + y * height)

    def shape(colour: tuple[int, int, int], *points: tuple[float, float]) -> None:
        cv2.fillPoly(picture, [np.array([at(*p) for p in points], np.int32)], colour, cv2.LINE_AA)

    cv2.ellipse(picture, at(0.5, 0.98), (round(0.42 * width), round(0.02 * height)), 0, 0, 360, GRID_BGR, -1)
    shape(
        LEGS_BGR, (0.27, 0.5), (0.73, 0.5), (0.7, 0.98), (0.55, 0.98), (0.5, 0.6), (0.45, 0.98), (0.3, 0.98)
    )
    shape(clothes, (0.25, 0.17), (0.75, 0.17), (0.93, 0.27), (0.95, 0.52), (0.83, 0.52), (0.76, 0.33),
          (0.76, 0.56), (0.24, 0.56), (0.24, 0.33), (0.17, 0.52), (0.05, 0.52), (0.07, 0.27))  # fmt: skip
    if vest:
        shape(VEST_BGR, (0.22, 0.2), (0.78, 0.2), (0.78, 0.5), (0.22, 0.5))
        shape((235, 235, 235), (0.22, 0.38), (0.78, 0.38), (0.78, 0.42), (0.22, 0.42))
    head = min(0.3 * width, 0.075 * height)
    cv2.ellipse(
        picture, at(0.5, 0.085), (round(0.85 * head), round(head)), 0, 0, 360, SKIN_BGR, -1, cv2.LINE_AA
    )


def bottle(picture: Image, box: Sequence[int]) -> None:
    """A flat bottle that fills the box."""
    left, top, right, bottom = box
    outline = ((0.36, 0.06), (0.64, 0.06), (0.66, 0.16), (0.95, 0.32), (0.95, 0.97), (0.9, 1), (0.1, 1), (0.05, 0.97),
               (0.05, 0.32), (0.34, 0.16))  # fmt: skip
    scale = np.array([right - left, bottom - top])
    points = np.round(np.array(outline) * scale + (left, top)).astype(np.int32)
    cv2.fillPoly(picture, [points], BOTTLE_BGR, cv2.LINE_AA)
    for colour, x0, y0, x1, y1 in ((CAP_BGR, 0.32, 0.0, 0.68, 0.08), (WALL_BGR, 0.05, 0.45, 0.95, 0.7)):
        corners = np.round(np.array([(x0, y0), (x1, y1)]) * scale + (left, top)).astype(int).tolist()
        cv2.rectangle(picture, corners[0], corners[1], colour, -1)
