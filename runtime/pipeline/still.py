"""A frame as it may leave the process, compressed: what the policy names is hidden first."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from runtime.errors import Degraded
from runtime.pipeline.faces import Finder
from runtime.pipeline.privacy import hide
from runtime.pipeline.snapshot import Seen
from wire.camera import Privacy
from wire.reasons import Reason


@dataclass(frozen=True)
class Encoded:
    """JPEG, and its size in pixels."""

    jpeg: bytes
    width_px: int
    height_px: int


def encode(seen: Seen, privacy: Privacy, finder: Finder, width_px: int, quality: int) -> Encoded:
    """The bare frame, at most so wide.

    :raises Degraded: the policy cannot be met, or it cannot be encoded
    """
    faces = finder.find(seen.frame.image, seen.faces) if privacy.faces else None
    image = hide(seen.frame.image, privacy, seen.predictions, faces=faces)
    height, width = image.shape[:2]
    if width > width_px:
        size_wh = (width_px, max(2, round(height * width_px / width)))
        image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise Degraded(Reason.INTERNAL, f"frame {seen.frame.seq} cannot be encoded as JPEG")
    return Encoded(encoded.tobytes(), int(image.shape[1]), int(image.shape[0]))
