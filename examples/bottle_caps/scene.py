"""The camera over the conveyor: any frame of a seeded scene, and the truth about it. Uses numpy and OpenCV alone.

Rows of one or two caps ride to the right. Everything about a row follows from the seed and the row's number, so frames may
be asked for in any order; caps once drawn are kept, so neighbouring frames are cheap.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from examples.bottle_caps import belt
from examples.bottle_caps.belt import HEIGHT_PX, PLANE_HEIGHT_PX, PLANE_WIDTH_PX, WIDTH_PX, Floats, Image
from examples.bottle_caps.cap import CLASSES, SPRITE_PX, CapLook, draw_look, sprite

FPS = 15.0
STEP_PX = 17.0
"""How far the belt moves between two frames, in pixels of the belt plane."""
EXPOSURE_PX = 4
"""How far it moves while the shutter is open: 1/64 s."""
PITCH_PX = 208.0
"""Mean distance between rows."""
DECK = ("good", "good", "good", "good", "scratched", "dented", "misprinted", "no_liner")
"""Classes are dealt from a shuffled deck, so that each is seen within seconds."""
LEAST_VISIBLE = 0.25
"""A cap of which less than this share lies in the picture is not part of the truth."""
_FIRST_ROWS = 5
_PAIR_SHARE = 0.28
_KEPT_SPRITES = 64
_KEPT_ROWS = 32
_NOISE_LEVEL = 3.0
"""Standard deviation of the sensor's noise, of 255."""
_NOISE_MARGIN_PX = 160
"""Each frame cuts its noise out of a larger sheet, at a place of its own."""


class Truth(NamedTuple):
    """One cap in one frame. `box` is x1, y1, x2, y2 in pixels, clipped to the picture; `visible` the share of it inside."""

    cap_id: int
    name: str
    box: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True)
class Cap:
    """A cap on the belt: `along_px` before the first row, `across_px` from the far edge, both in the belt plane."""

    cap_id: int
    along_px: float
    across_px: float
    look: CapLook


class Scene:
    """One camera, one seed. Not to be shared between threads.

    deck: the classes to deal from. first_rows: rows that lie on the belt at frame 0 already.
    """

    def __init__(self, seed: int, *, deck: tuple[str, ...] = DECK, first_rows: int = _FIRST_ROWS) -> None:
        self.seed = seed
        self._deck = deck
        self._first_rows = first_rows
        rng = np.random.default_rng([seed, 0xBE17])
        self._texture = belt.texture(rng)
        self._around = belt.surroundings(rng)
        self._lamps = belt.Lamps(rng)
        margin = _NOISE_MARGIN_PX
        noise = rng.standard_normal((HEIGHT_PX + margin, WIDTH_PX + margin, 3), np.float32)
        self._noise = noise * np.float32(_NOISE_LEVEL)
        self._matrix = belt.plane_to_picture()
        self._rows: OrderedDict[int, list[Cap]] = OrderedDict()
        self._sprites: OrderedDict[int, Floats] = OrderedDict()

    def frame(self, k: int) -> tuple[Image, list[Truth]]:
        """Frame `k` from 0: (360, 640, 3) uint8 BGR, a new array, and its caps, first those farthest along."""
        caps = list(self._on_belt(k))
        plane = self._belt_at(k)
        for cap in caps:
            self._place(plane, cap, k)
        return self._develop(plane, k), self._truths(caps, k)

    def truth(self, k: int) -> list[Truth]:
        """The caps of frame `k`, without drawing it."""
        return self._truths(self._on_belt(k), k)

    def empty(self, k: int) -> Image:
        """Frame `k` as it would be without any cap, the same noise included."""
        return self._develop(self._belt_at(k), k)

    def kind_of(self, cap_id: int) -> str:
        """The class of a cap, whether in sight or not."""
        row, lane = divmod(cap_id, 2)
        size = len(self._deck)
        order = np.random.default_rng([self.seed, 0xDEC, lane, row // size]).permutation(size)
        return self._deck[int(order[row % size])]

    def _on_belt(self, k: int) -> Iterator[Cap]:
        """The caps that may be in sight at frame `k`."""
        front = (k * STEP_PX) / PITCH_PX + self._first_rows
        first = max(0, math.floor(front - (PLANE_WIDTH_PX + SPRITE_PX) / PITCH_PX) - 1)
        for row in range(first, math.ceil(front) + 2):
            for cap in self._row(row):
                if -SPRITE_PX / 2 < self._x_px(cap, k) < PLANE_WIDTH_PX + SPRITE_PX / 2:
                    yield cap

    def _row(self, row: int) -> list[Cap]:
        """The caps of a row; the last rows asked for are kept."""
        if row not in self._rows:
            self._rows[row] = list(self._deal(row))
            if len(self._rows) > _KEPT_ROWS:
                self._rows.popitem(last=False)
        return self._rows[row]

    def _deal(self, row: int) -> Iterator[Cap]:
        rng = np.random.default_rng([self.seed, 0xCA9, row])
        along = -(row - self._first_rows) * PITCH_PX + rng.uniform(-30, 30)
        pair = rng.random() < _PAIR_SHARE
        middle = PLANE_HEIGHT_PX / 2
        lanes = (middle - 82, middle + 82) if pair else (middle + rng.uniform(-95, 95),)
        for lane, across in enumerate(lanes):
            cap_id = row * 2 + lane
            look = draw_look(self.kind_of(cap_id), rng)
            shift = rng.uniform(-24, 24) if pair else 0.0
            yield Cap(cap_id, along + shift, across + rng.uniform(-14, 14), look)

    def _x_px(self, cap: Cap, k: int) -> float:
        return k * STEP_PX + cap.along_px

    def _belt_at(self, k: int) -> Image:
        """A copy of the part of the belt under the camera. Whole pixels: the belt moves by whole pixels a frame."""
        width = self._texture.shape[1]
        left = -round(k * STEP_PX) % width
        if left + PLANE_WIDTH_PX <= width:
            return np.array(self._texture[:, left : left + PLANE_WIDTH_PX])
        right = left + PLANE_WIDTH_PX - width
        return np.concatenate([self._texture[:, left:], self._texture[:, :right]], axis=1)

    def _place(self, plane: Image, cap: Cap, k: int) -> None:
        """Lay a cap on the belt, to a fraction of a pixel."""
        x, y = self._x_px(cap, k) - SPRITE_PX / 2, cap.across_px - SPRITE_PX / 2
        left, top = math.floor(x), math.floor(y)
        move = np.array([[1, 0, x - left], [0, 1, y - top]], np.float32)
        size = SPRITE_PX + 1
        moved = cv2.warpAffine(self._sprite(cap), move, (size, size))
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + size, PLANE_WIDTH_PX), min(top + size, PLANE_HEIGHT_PX)
        if x1 >= x2 or y1 >= y2:
            return
        moved = moved[y1 - top : y2 - top, x1 - left : x2 - left]
        under = plane[y1:y2, x1:x2]
        plane[y1:y2, x1:x2] = np.clip(under * (1 - moved[..., 3:]) + moved[..., :3], 0, 255)

    def _sprite(self, cap: Cap) -> Floats:
        drawn = self._sprites.get(cap.cap_id)
        if drawn is None:
            drawn = self._sprites[cap.cap_id] = sprite(cap.look)
            if len(self._sprites) > _KEPT_SPRITES:
                self._sprites.popitem(last=False)
        return drawn

    def _develop(self, plane: Image, k: int) -> Image:
        """From the belt plane to the camera's picture: motion blur, perspective, lamps, noise."""
        blurred = cv2.blur(plane, (EXPOSURE_PX, 1))
        size = (WIDTH_PX, HEIGHT_PX)
        seen = cv2.warpPerspective(blurred, self._matrix, size, flags=cv2.INTER_LINEAR)
        picture = seen
        picture[: belt.FAR_Y_PX] = self._around[: belt.FAR_Y_PX]
        picture[belt.NEAR_Y_PX :] = self._around[belt.NEAR_Y_PX :]
        lit = cv2.multiply(picture, self._lamps.at(k / FPS), dtype=cv2.CV_32F)
        y, x = np.random.default_rng([self.seed, 0x2015E, k]).integers(0, _NOISE_MARGIN_PX, 2)
        noise = self._noise[y : y + HEIGHT_PX, x : x + WIDTH_PX]
        return np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), np.uint8)

    def _truths(self, caps: Iterable[Cap], k: int) -> list[Truth]:
        return [truth for cap in caps if (truth := self._truth(cap, k)) is not None]

    def _truth(self, cap: Cap, k: int) -> Truth | None:
        """The box round the cap's outline in the picture; None where too little of it is in sight."""
        angles = np.arange(48) * (2 * math.pi / 48)
        radius = cap.look.diameter_px / 2
        outline = np.stack(
            [self._x_px(cap, k) + radius * np.cos(angles), cap.across_px + radius * np.sin(angles)], axis=1
        )
        seen = cv2.perspectiveTransform(outline[None], self._matrix)[0]
        (x1, y1), (x2, y2) = seen.min(axis=0), seen.max(axis=0)
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(WIDTH_PX)), min(y2, float(HEIGHT_PX)))
        if box[0] >= box[2] or box[1] >= box[3]:
            return None
        visible = float((box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1)))
        if visible < LEAST_VISIBLE:
            return None
        return Truth(cap.cap_id, cap.look.kind, tuple(round(float(v), 2) for v in box), visible)  # type: ignore[arg-type]


__all__ = ["CLASSES", "FPS", "HEIGHT_PX", "WIDTH_PX", "Scene", "Truth"]
