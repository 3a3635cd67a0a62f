"""Labelled frames of many scenes, as a detector's input wants them. Seeds of training and held-out scenes never meet."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from examples.bottle_caps.belt import HEIGHT_PX, WIDTH_PX, Image
from examples.bottle_caps.cap import CLASSES
from examples.bottle_caps.scene import Scene, Truth

Labels: TypeAlias = npt.NDArray[np.float32]

INPUT_WIDTH_PX, INPUT_HEIGHT_PX = 320, 192
PAD = 114
GAIN = min(INPUT_WIDTH_PX / WIDTH_PX, INPUT_HEIGHT_PX / HEIGHT_PX)
TRAINING_SEEDS = range(1_000, 9_000)
HELD_OUT_SEEDS = range(10_000, 11_000)
BALANCED = ("good", "good", "scratched", "scratched", "dented", "misprinted", "no_liner")
"""The deck of the training scenes: defects are more frequent than on a real belt."""
MOST_CAPS = 16
"""Rows of a frame's labels; a picture never holds more."""


@dataclass(frozen=True)
class Frames:
    """N frames. images: (N, INPUT_HEIGHT_PX, INPUT_WIDTH_PX, 3) uint8 BGR.

    labels: (N, MOST_CAPS, 6) float32: class, x1, y1, x2, y2 in input pixels, visible share; class -1 where there is none.
    """

    images: Image
    labels: Labels

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images, labels=self.labels)

    @classmethod
    def load(cls, path: Path) -> Frames:
        with np.load(path) as stored:
            return cls(stored["images"], stored["labels"])


def letterbox(image: Image) -> Image:
    """The picture in the detector's input: top left, the rest grey."""
    size = (round(image.shape[1] * GAIN), round(image.shape[0] * GAIN))
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    out = np.full((INPUT_HEIGHT_PX, INPUT_WIDTH_PX, 3), PAD, np.uint8)
    out[: size[1], : size[0]] = small
    return out


def labels_of(truth: list[Truth]) -> Labels:
    """(MOST_CAPS, 6), see `Frames`."""
    rows = np.full((MOST_CAPS, 6), -1, np.float32)
    for row, cap in zip(rows, truth, strict=False):
        row[:] = (CLASSES.index(cap.name), *(v * GAIN for v in cap.box), cap.visible)
    return rows


def render_scene(seed: int, frames: int, stride: int) -> Frames:
    """Every `stride`th frame of one scene with the balanced deck."""
    cv2.setNumThreads(1)
    scene = Scene(seed, deck=BALANCED)
    images, labels = [], []
    for k in range(frames):
        image, truth = scene.frame(k * stride + seed % stride)
        images.append(letterbox(image))
        labels.append(labels_of(truth))
    return Frames(np.stack(images), np.stack(labels))


def render(scenes: int, frames: int = 40, stride: int = 9, workers: int = 2) -> Frames:
    """Frames of the first `scenes` training seeds."""
    seeds = TRAINING_SEEDS[:scenes]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(partial(render_scene, frames=frames, stride=stride), seeds))
    return Frames(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))
