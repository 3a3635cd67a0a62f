"""What the privacy policy does to a picture before it leaves the process: regions and objects made unrecognisable, or no picture.

It fails closed: where a class is to be blurred that no model of the workflow can find, no picture leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from runtime.camera.inspection import corners
from runtime.errors import Degraded
from runtime.results import Image, Result
from wire.camera import Privacy
from wire.reasons import Reason

BLOCKS = 8
"""A hidden part keeps at most this many blocks on its longer side."""
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


def hide(image: Image, privacy: Privacy, predictions: Mapping[str, Result]) -> Image:
    """The picture with what the policy names hidden; itself where it names nothing.

    image: (H, W, 3) uint8 BGR, of the frame or drawn over it at any size. predictions: of this very frame.

    :raises Degraded: the policy cannot be met
    """
    if not privacy.blurred and not privacy.blurred_classes:
        return image
    hidden: Image = image.copy()
    size_wh = (image.shape[1], image.shape[0])
    for box in _boxes(privacy.blurred_classes, predictions, size_wh):
        _pixelate(hidden, *box)
    for region in privacy.blurred:
        points = corners(region, size_wh)
        whole = hidden.copy()
        left, top, width, height = cv2.boundingRect(points)
        _pixelate(whole, left, top, left + width, top + height)
        mask = np.zeros(hidden.shape[:2], np.uint8)
        cv2.fillPoly(mask, [points], 255)
        hidden[mask > 0] = whole[mask > 0]
    return hidden


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
        gain_x, gain_y = size_wh[0] / max(1, result.image_wh[0]), size_wh[1] / max(1, result.image_wh[1])
        for box, name in zip(result.boxes, result.class_names, strict=True):
            if name in classes:
                left, top, right, bottom = (float(v) for v in box)
                across, down = (right - left) * MARGIN, (bottom - top) * MARGIN
                yield (
                    int((left - across) * gain_x),
                    int((top - down) * gain_y),
                    int((right + across) * gain_x) + 1,
                    int((bottom + down) * gain_y) + 1,
                )


def _pixelate(image: Image, left: int, top: int, right: int, bottom: int) -> None:
    left, top = max(0, left), max(0, top)
    right, bottom = min(image.shape[1], right), min(image.shape[0], bottom)
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    share = BLOCKS / max(part.shape[:2])
    few = (max(1, int(part.shape[1] * share)), max(1, int(part.shape[0] * share)))
    small = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    size_wh = (right - left, bottom - top)
    image[top:bottom, left:right] = cv2.resize(small, size_wh, interpolation=cv2.INTER_NEAREST)
