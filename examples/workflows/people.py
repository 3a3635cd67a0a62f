"""People in a room: cut out of a real video of one room, put back where a scene wants them, so that the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from examples.bottle_caps.belt import Image

VIDEO = "video/one-by-one-person-detection.mp4"
EMPTY_FRAME = 0
STANDING_FRAMES = (140, 600, 830, 1100, 1320)
"""In each of them another person stands in full; the truth of the video is in its manifest."""
DIFFERENT = 28
"""Of 255: a pixel that differs more from the empty room belongs to the person."""
VEST_BGR = (40, 255, 190)


@dataclass(frozen=True)
class Cutout:
    """A person: pixels, and their share of each, (H, W) 0 to 1."""

    pixels: Image
    share: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True)
class Placed:
    """Where somebody stands: the middle of the feet, in pixels, and the height. `vest`: wears one."""

    person: int
    x_px: int
    feet_px: int
    height_px: int
    vest: bool = False


def read_frames(path: Path, numbers: Sequence[int]) -> dict[int, Image]:
    """Frames of a video by number."""
    video, found, wanted = cv2.VideoCapture(str(path)), {}, set(numbers)
    number = 0
    while wanted - found.keys():
        good, frame = video.read()
        if not good:
            raise ValueError(f"{path} has only {number} frames; frame {max(wanted)} is wanted")
        if number in wanted:
            found[number] = np.asarray(frame, np.uint8)
        number += 1
    video.release()
    return found


class Room:
    """The empty room and the people that can stand in it."""

    def __init__(self, assets: Path) -> None:
        frames = read_frames(assets / VIDEO, (EMPTY_FRAME, *STANDING_FRAMES))
        self.empty = frames[EMPTY_FRAME]
        self.people = [cut_out(frames[number], self.empty) for number in STANDING_FRAMES]

    def frame(self, placed: Sequence[Placed]) -> Image:
        """The room with these people, the first the farthest away."""
        picture = self.empty.copy()
        for one in placed:
            paste(picture, dressed(self.people[one.person]) if one.vest else self.people[one.person], one)
        return picture


def cut_out(frame: Image, empty: Image) -> Cutout:
    """The largest thing that is not in the empty room."""
    blurred = [cv2.GaussianBlur(picture, (5, 5), 0) for picture in (frame, empty)]
    mask = (cv2.absdiff(*blurred).max(axis=2) > DIFFERENT).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    _, labels, figures, _ = cv2.connectedComponentsWithStats(mask)
    largest = 1 + int(figures[1:, cv2.CC_STAT_AREA].argmax())
    x, y, w, h = (int(v) for v in figures[largest][:4])
    share = cv2.GaussianBlur((labels == largest).astype(np.float32), (5, 5), 0)
    return Cutout(frame[y : y + h, x : x + w].copy(), np.asarray(share[y : y + h, x : x + w], np.float32))


def dressed(person: Cutout) -> Cutout:
    """In a high-visibility vest with a bright stripe; the folds of what is beneath stay visible."""
    height, width = person.share.shape
    vest = np.zeros((height, width), np.float32)
    top, bottom, left, right = (round(v) for v in (0.22 * height, 0.5 * height, 0.14 * width, 0.86 * width))
    vest[top:bottom, left:right] = 1.0
    shade = 0.75 + 0.25 * person.pixels.max(axis=2, keepdims=True) / 255.0
    colour = np.array(VEST_BGR, np.float32) * shade
    stripe = slice(round(0.38 * height), round(0.42 * height))
    colour[stripe] = 235.0
    amount = (vest * person.share)[:, :, None]
    return Cutout(np.asarray(person.pixels * (1 - amount) + colour * amount, np.uint8), person.share)


def paste(picture: Image, person: Cutout, placed: Placed) -> None:
    """Put somebody into the picture; what does not fit is cut off."""
    scale = placed.height_px / person.share.shape[0]
    size = (max(1, round(person.share.shape[1] * scale)), placed.height_px)
    pixels = cv2.resize(person.pixels, size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(person.share, size, interpolation=cv2.INTER_AREA)[:, :, None]
    x, y = placed.x_px - size[0] // 2, placed.feet_px - size[1]
    height, width = picture.shape[:2]
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + size[0]), min(height, y + size[1])
    if right <= left or bottom <= top:
        return
    part = np.s_[top - y : bottom - y, left - x : right - x]
    under = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = pixels[part] * share[part] + under * (1 - share[part])
