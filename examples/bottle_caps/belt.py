"""The conveyor without its caps: belt texture in the belt plane, the machine around it, the lamps. Pure pictures."""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Image: TypeAlias = npt.NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX = 640, 360
"""The camera's picture."""
PLANE_WIDTH_PX, PLANE_HEIGHT_PX = 1040, 400
"""The part of the belt that is drawn, seen straight from above."""
TEXTURE_WIDTH_PX = 2080
"""The belt repeats after this length."""
FAR_Y_PX, NEAR_Y_PX = 44, 330
"""Rows of the picture where the belt's far and near edge lie."""
_FAR_SCALE, _NEAR_SCALE = 0.68, 0.84


def plane_to_picture() -> npt.NDArray[np.float64]:
    """The homography (3, 3) from belt plane to picture, pixels to pixels."""
    middle = WIDTH_PX / 2
    far, near = _FAR_SCALE * PLANE_WIDTH_PX / 2, _NEAR_SCALE * PLANE_WIDTH_PX / 2
    plane = [[0, 0], [PLANE_WIDTH_PX, 0], [PLANE_WIDTH_PX, PLANE_HEIGHT_PX], [0, PLANE_HEIGHT_PX]]
    picture = [
        [middle - far, FAR_Y_PX],
        [middle + far, FAR_Y_PX],
        [middle + near, NEAR_Y_PX],
        [middle - near, NEAR_Y_PX],
    ]
    matrix = cv2.getPerspectiveTransform(np.array(plane, np.float32), np.array(picture, np.float32))
    return np.asarray(matrix, np.float64)


def texture(rng: np.random.Generator) -> Image:
    """A belt of woven polyurethane with wear and a joint: (PLANE_HEIGHT_PX, TEXTURE_WIDTH_PX, 3) uint8, seamless in x."""
    h, w = PLANE_HEIGHT_PX, TEXTURE_WIDTH_PX
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    turn = np.float32(2 * math.pi)
    weave = np.cos(turn * (x / 13 + y / 13)) * np.cos(turn * (x / 13 - y / 13))
    level = 1 + 0.11 * weave + _cloud(rng, h, w, 110, 0.05) + _cloud(rng, h, w, 14, 0.03)
    level += np.float32(0.035) * rng.standard_normal((h, w), np.float32)
    level += _wear(rng, h, w)
    level *= _joint(x, y)
    tint = np.array([98, 86, 64], np.float32)
    return np.asarray(np.clip(level[..., None] * tint, 0, 255), np.uint8)


def _cloud(rng: np.random.Generator, h: int, w: int, size_px: float, strength: float) -> Floats:
    """Soft noise with features of about this size, standard deviation `strength`, seamless in x."""
    coarse = max(1, int(size_px // 12))
    low = rng.standard_normal((-(-h // coarse), w // coarse), np.float32)
    margin = math.ceil(size_px / coarse)
    wide = np.concatenate([low[:, -margin:], low, low[:, :margin]], axis=1)
    soft = cv2.GaussianBlur(wide, (0, 0), size_px / 3 / coarse)
    soft = cv2.resize(soft, (soft.shape[1] * coarse, soft.shape[0] * coarse), interpolation=cv2.INTER_LINEAR)
    soft = soft[:h, margin * coarse :][:, :w]
    return np.asarray(soft * np.float32(strength / max(float(soft.std()), 1e-6)), np.float32)


def _wear(rng: np.random.Generator, h: int, w: int) -> Floats:
    """Long faint scuffs along the way of the belt."""
    marks = np.zeros((h, w), np.float32)
    for _ in range(46):
        x, y = int(rng.integers(60, w - 420)), int(rng.integers(12, h - 12))
        end = (x + int(rng.integers(60, 360)), y + int(rng.integers(-4, 5)))
        cv2.line(marks, (x, y), end, float(rng.uniform(-0.10, 0.14)), int(rng.integers(1, 4)), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(marks, (0, 0), 1.3), np.float32)


def _joint(x: Floats, y: Floats) -> Floats:
    """Where the belt's ends are welded: a zigzag line."""
    teeth = np.abs((y / 26) % 2 - 1) * 30
    off = np.abs(x - 700 - teeth)
    joint: Floats = 1 - 0.32 * np.exp(-((off / 1.8) ** 2))
    return joint


def surroundings(rng: np.random.Generator) -> Image:
    """What lies behind and before the belt: (HEIGHT_PX, WIDTH_PX, 3) uint8."""
    y = np.arange(HEIGHT_PX, dtype=np.float32)[:, None]
    x = np.arange(WIDTH_PX, dtype=np.float32)[None, :]
    wall = 34 + 10 * np.cos(x / 90) + 0 * y
    level = wall + rng.normal(0, 2.0, (HEIGHT_PX, WIDTH_PX)).astype(np.float32)
    picture = np.dstack([level * 1.05, level, level * 0.94]).astype(np.float32)
    _rail(picture, FAR_Y_PX - 22, FAR_Y_PX + 1, rng)
    _rail(picture, NEAR_Y_PX - 1, NEAR_Y_PX + 25, rng)
    picture[NEAR_Y_PX + 25 :] *= 0.55
    for top, bolts in ((FAR_Y_PX - 11, 6), (NEAR_Y_PX + 12, 5)):
        for k in range(bolts):
            _bolt(picture, (int((k + 0.5) * WIDTH_PX / bolts), top))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _rail(picture: Floats, top: int, bottom: int, rng: np.random.Generator) -> None:
    """A brushed steel profile from `top` to `bottom`."""
    rows = np.linspace(0, 1, bottom - top, dtype=np.float32)
    profile = 118 + 70 * np.exp(-(((rows - 0.28) / 0.12) ** 2)) - 46 * rows
    profile[:2] *= 0.6
    profile[-3:] *= 0.5
    brushed = rng.normal(0, 5, (bottom - top, WIDTH_PX)).astype(np.float32)
    brushed = cv2.blur(brushed, (41, 1)) * 4
    steel = (profile[:, None] + brushed)[..., None] * np.array([1.02, 1.0, 0.97], np.float32)
    picture[top:bottom] = steel


def _bolt(picture: Floats, centre: tuple[int, int]) -> None:
    cv2.circle(picture, (centre[0] + 1, centre[1] + 1), 6, (52, 50, 48), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, 5, (168, 166, 162), -1, cv2.LINE_AA)
    corners = [
        (round(centre[0] + 3 * math.cos(a)), round(centre[1] + 3 * math.sin(a)))
        for a in np.arange(6) * math.pi / 3
    ]
    cv2.fillPoly(picture, [np.array(corners, np.int32)], (70, 68, 66), cv2.LINE_AA)


class Lamps:
    """Vignette and a gradient that wanders: the hall's light changes slowly, the ring lamp stays."""

    def __init__(self, rng: np.random.Generator) -> None:
        x = np.linspace(-1, 1, WIDTH_PX, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, HEIGHT_PX, dtype=np.float32)[:, None]
        vignette = 1.04 - 0.20 * (x * x + 0.7 * y * y)
        tint = np.array([0.99, 1.0, 1.0], np.float32) + rng.uniform(-0.02, 0.02, 3).astype(np.float32)
        self._vignette = (vignette[..., None] * tint).astype(np.float32)
        self._across = (x * self._vignette[..., 0])[..., None].repeat(3, axis=2).astype(np.float32)
        glow = np.exp(-(((x + 0.25) / 0.75) ** 2) - (((y + 0.2) / 0.9) ** 2))
        self._glow = (glow[..., None] * np.array([0.94, 1.0, 1.04], np.float32)).astype(np.float32)
        self._phases = rng.uniform(0, 2 * math.pi, 3)
        self._gain = float(rng.uniform(0.92, 1.06))

    def at(self, time_s: float) -> Floats:
        """The factor of each pixel: (HEIGHT_PX, WIDTH_PX, 3) float32, about 0.7 to 1.35."""
        a, b, c = self._phases
        tilt = 0.16 * math.sin(2 * math.pi * time_s / 23 + a)
        glow = 0.12 + 0.07 * math.sin(2 * math.pi * time_s / 31 + b)
        gain = self._gain * (1 + 0.03 * math.sin(2 * math.pi * time_s / 11 + c))
        light = cv2.addWeighted(self._vignette, gain, self._across, tilt, 0)
        return np.asarray(cv2.scaleAdd(self._glow, glow, light), np.float32)
