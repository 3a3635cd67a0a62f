"""What the privacy policy does to a picture before it leaves the process: regions and objects made unrecognisable, or no picture.

It fails closed: where a class is to be blurred that no model of the workflow can find, no picture leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from runtime.camera.inspection import corners
from runtime.errors import Degraded
from runtime.results import Image, Result
from runtime.sinks.pictures import Window
from wire.camera import Privacy
from wire.reasons import Reason

BLOCKS = 8
"""A hidden part keeps at most this many blocks on its longer side."""
FACE_BLOCKS = 5
"""Of a face: with eight of them acquaintances are still told apart by hair and glasses."""
MARGIN = 0.1
"""A detected object is hidden with this share of its size around it."""
ALLOWED = {"none": frozenset[str](), "device": frozenset({"device"}), "fleet": frozenset({"device", "fleet"})}


def check(privacy: Privacy, purpose: str) -> None:
    """:raises Degraded: no picture of this camera may leave the process for this purpose (device, fleet)"""
    if purpose not in ALLOWED[privacy.pictures]:
        raise Degraded(
            Reason.PICTURE_WITHHELD,
            f"the camera's privacy policy (pictures = {privacy.pictures!r}) lets no picture out for the {purpose}",
        )


@dataclass(frozen=True)
class PolicyVeil:
    """The policy as sinks use it (`runtime.sinks.pictures.Veil`)."""

    privacy: Privacy

    def problem(self, scene: Mapping[str, Result]) -> str:
        try:
            list(_boxes(self.privacy.blurred_classes, scene, (1, 1)))
        except Degraded as e:
            return str(e)
        return ""

    def over(self, image: Image, window: Window, scene: Mapping[str, Result]) -> Image:
        """:raises Degraded: the policy cannot be met"""
        return hide(image, self.privacy, scene, window)


def veil_of(privacy: Privacy) -> PolicyVeil | None:
    """What sinks hide; None where the policy names nothing."""
    return PolicyVeil(privacy) if privacy.blurred or privacy.blurred_classes else None


def hide(
    image: Image,
    privacy: Privacy,
    predictions: Mapping[str, Result],
    window: Window | None = None,
    faces: Result | None = None,
) -> Image:
    """The picture with what the policy names hidden; itself where it names nothing.

    image: (H, W, 3) or (H, W) uint8 BGR, of the frame or drawn over it at any size; of the part of it that `window` names, where it
    names one. predictions: of this very frame. faces: what the model of `privacy.faces` finds in it.

    :raises Degraded: the policy cannot be met
    """
    if not privacy.hides:
        return image
    if privacy.faces and faces is None:
        raise Degraded(
            Reason.PICTURE_WITHHELD,
            f"the camera's privacy policy hides what model {privacy.faces!r} finds, and nobody has asked it: no picture leaves",
        )
    hidden: Image = image.copy()
    size_wh, left_px, top_px = _around(image, window)
    for left, top, right, bottom in _boxes(privacy.blurred_classes, predictions, size_wh):
        _pixelate(hidden, left - left_px, top - top_px, right - left_px, bottom - top_px)
    for left, top, right, bottom in _all_boxes(faces, size_wh) if faces is not None else ():
        _pixelate(hidden, left - left_px, top - top_px, right - left_px, bottom - top_px, FACE_BLOCKS)
    for region in privacy.blurred:
        points = corners(region, size_wh) - np.array([left_px, top_px], np.int32)
        whole = hidden.copy()
        left, top, width, height = cv2.boundingRect(points)
        _pixelate(whole, left, top, left + width, top + height)
        mask = np.zeros(hidden.shape[:2], np.uint8)
        cv2.fillPoly(mask, [points], 255)
        hidden[mask > 0] = whole[mask > 0]
    return hidden


def _around(image: Image, window: Window | None) -> tuple[tuple[int, int], int, int]:
    """The size of the whole picture at the scale of this part of it, and where in it the part lies."""
    height, width = image.shape[:2]
    if window is None:
        return (width, height), 0, 0
    across, down = width / max(1.0, window.width), height / max(1.0, window.height)
    whole = (round(window.whole_wh[0] * across), round(window.whole_wh[1] * down))
    return whole, round(window.left * across), round(window.top * down)


def _boxes(
    classes: list[str], predictions: Mapping[str, Result], size_wh: tuple[int, int]
) -> Iterable[tuple[int, int, int, int]]:
    known = {label for result in predictions.values() for label in result.labels}
    if unknown := sorted(set(classes) - known):
        raise Degraded(
            Reason.PICTURE_WITHHELD,
            f"the camera's privacy policy hides {unknown}, which no model of its workflow finds: no picture leaves; "
            "use a model that knows them, or blur regions",
        )
    for result in predictions.values():
        for box, name in zip(_all_boxes(result, size_wh), result.class_names, strict=True):
            if name in classes:
                yield box


def _all_boxes(result: Result, size_wh: tuple[int, int]) -> Iterable[tuple[int, int, int, int]]:
    """Of every detection, with the margin, in pixels of a picture of this size."""
    gain_x, gain_y = size_wh[0] / max(1, result.image_wh[0]), size_wh[1] / max(1, result.image_wh[1])
    for box in result.boxes:
        left, top, right, bottom = (float(v) for v in box)
        across, down = (right - left) * MARGIN, (bottom - top) * MARGIN
        yield (
            int((left - across) * gain_x),
            int((top - down) * gain_y),
            int((right + across) * gain_x) + 1,
            int((bottom + down) * gain_y) + 1,
        )


def _pixelate(image: Image, left: int, top: int, right: int, bottom: int, most_blocks: int = BLOCKS) -> None:
    """Blocks of the size that they would have if all of the box lay in the picture."""
    share = most_blocks / max(1, right - left, bottom - top)
    left, top = max(0, left), max(0, top)
    right, bottom = min(image.shape[1], right), min(image.shape[0], bottom)
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    few = (max(1, int(part.shape[1] * share)), max(1, int(part.shape[0] * share)))
    small = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    size_wh = (right - left, bottom - top)
    image[top:bottom, left:right] = cv2.resize(small, size_wh, interpolation=cv2.INTER_NEAREST)
