"""Scenes drawn from a seed: a car park from above, a meter with number wheels, a crate with a label. The truth is what was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from examples.bottle_caps.belt import Image
from examples.workflows.matched import draw_digit

BAY_WH = (90, 170)
BAYS = 6
PARK_WH = (640, 360)
ASPHALT = 70


def bay_box(bay: int) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of a bay in pixels."""
    x = 40 + bay * (BAY_WH[0] + 4)
    return x, 30, x + BAY_WH[0], 30 + BAY_WH[1]


def car_park(taken: Sequence[bool], seed: int) -> Image:
    """Asphalt with grain, white lines, shadows that drift, and a car in each bay that is taken."""
    random = np.random.default_rng(seed)
    grain = random.normal(ASPHALT, 6, (PARK_WH[1], PARK_WH[0], 1))
    picture = np.clip(np.repeat(grain, 3, axis=2), 0, 255).astype(np.uint8)
    for bay in range(BAYS):
        x1, y1, x2, y2 = bay_box(bay)
        for x in (x1 - 2, x2 + 2):
            cv2.line(picture, (x, y1), (x, y2), (215, 215, 215), 3, cv2.LINE_AA)
        if taken[bay]:
            _car(picture, (x1 + x2) // 2, (y1 + y2) // 2, random)
    return np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8)


def _car(picture: Image, x: int, y: int, random: np.random.Generator) -> None:
    x, y = x + int(random.integers(-6, 7)), y + int(random.integers(-8, 9))
    paint = [(200, 200, 205), (150, 40, 40), (40, 40, 190), (230, 230, 230), (60, 170, 200)]
    colour = paint[int(random.integers(len(paint)))]
    cv2.rectangle(picture, (x - 32, y - 62), (x + 36, y + 66), (30, 30, 30), -1)
    cv2.rectangle(picture, (x - 34, y - 64), (x + 34, y + 64), colour, -1)
    cv2.rectangle(picture, (x - 28, y - 34), (x + 28, y - 12), (50, 40, 35), -1)
    cv2.rectangle(picture, (x - 28, y + 34), (x + 28, y + 48), (50, 40, 35), -1)
    cv2.rectangle(picture, (x - 24, y - 8), (x + 24, y + 30), tuple(int(0.92 * c) for c in colour), -1)
    for side in (-26, 26):
        cv2.circle(picture, (x + side, y - 60), 5, (245, 250, 250), -1, cv2.LINE_AA)


METER_WH = (480, 300)
WHEELS = 6
WHEEL_WH = (40, 60)


def wheel_box(wheel: int) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of a number wheel in pixels."""
    x = 102 + wheel * 48
    return x, 92, x + WHEEL_WH[0], 92 + WHEEL_WH[1]


def meter(reading: int, seed: int) -> Image:
    """A water meter: six number wheels in a window, a dial that does not matter, uneven light and sensor noise."""
    random = np.random.default_rng(seed)
    picture = np.full((METER_WH[1], METER_WH[0], 3), (150, 140, 120), np.uint8)
    cv2.circle(picture, (240, 150), 145, (235, 235, 235), -1, cv2.LINE_AA)
    cv2.circle(picture, (240, 150), 145, (60, 60, 60), 4, cv2.LINE_AA)
    cv2.rectangle(picture, (94, 84), (390, 160), (30, 30, 30), -1)
    for wheel, digit in enumerate(f"{reading:06d}"):
        x1, y1, x2, y2 = wheel_box(wheel)
        picture[y1:y2, x1:x2] = draw_digit(digit, WHEEL_WH)[:, :, None]
    cv2.circle(picture, (240, 220), 36, (200, 200, 200), 2, cv2.LINE_AA)
    angle = random.uniform(0, 2 * np.pi)
    tip = (int(240 + 30 * np.cos(angle)), int(220 + 30 * np.sin(angle)))
    cv2.line(picture, (240, 220), tip, (40, 40, 200), 3, cv2.LINE_AA)
    cv2.putText(picture, "m3", (395, 130), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 60), 2, cv2.LINE_AA)
    light = np.linspace(random.uniform(0.7, 0.9), random.uniform(0.9, 1.0), METER_WH[0])[None, :, None]
    return np.clip(picture * light + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


LABEL_WH = (480, 320)


def crate(text: str, seed: int) -> Image:
    """A crate with a label that holds a QR code, turned and moved a little."""
    random = np.random.default_rng(seed)
    code = cv2.QRCodeEncoder.create().encode(text)
    code = cv2.resize(code, None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST)
    label = np.full((190, 300, 3), 245, np.uint8)
    side = code.shape[0]
    top = (label.shape[0] - side) // 2
    label[top : top + side, 8 : 8 + side] = code[:, :, None] if code.ndim == 2 else code
    for line, words in enumerate(("OUTRIDER", "TEST PARTS", text)):
        cv2.putText(
            label,
            words[:12],
            (188, 55 + 42 * line),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.55,
            (40, 40, 40),
            1,
            cv2.LINE_AA,
        )
    picture = bare_crate(seed)
    turn = cv2.getRotationMatrix2D((150, 95), float(random.uniform(-6, 6)), 1.0)
    turn[:, 2] += (90 + random.integers(-20, 21), 60 + random.integers(-20, 21))
    inside = cv2.warpAffine(np.full(label.shape[:2], 255, np.uint8), turn, LABEL_WH)
    placed = cv2.warpAffine(label, turn, LABEL_WH, flags=cv2.INTER_AREA)
    picture[inside > 127] = placed[inside > 127]
    return np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def bare_crate(seed: int) -> Image:
    """Planks without a label."""
    random = np.random.default_rng(seed + 1000)
    picture = np.full((LABEL_WH[1], LABEL_WH[0], 3), (86, 128, 168), np.uint8)
    for y in range(0, LABEL_WH[1], 40):
        cv2.line(picture, (0, y), (LABEL_WH[0], y), (60, 96, 130), 3)
    return np.clip(picture + random.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
