"""Which pictures a sink may take out of the process, and in what form."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.results import Image
from runtime.sinks.sender import Undelivered

JPEG_QUALITY = 85
REACH = ("none", "device", "fleet")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8")
_MAGIC_BASE64 = tuple(base64.b64encode(magic)[:4].decode() for magic in _MAGIC)
MAX_DEPTH = 6


@dataclass(frozen=True)
class Pictures:
    """`reach`: how far pictures may go: `none`, this `device`, or beyond it (`fleet`). `blur`: makes unrecognisable what must
    not be seen, in a copy."""

    reach: str = "fleet"
    blur: Callable[[Image], Image] | None = None

    def may_reach(self, where: str) -> bool:
        """Whether pictures may go as far as `device` or `fleet`."""
        return REACH.index(self.reach) >= REACH.index(where)

    def jpeg(self, image: Image, quality: int = JPEG_QUALITY) -> bytes:
        """A picture, (H, W, 3) or (H, W) uint8 BGR, as it may leave.

        :raises Undelivered: it cannot be encoded
        """
        import cv2

        shown = self.blur(image) if self.blur is not None else image
        done, encoded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise Undelivered(f"a picture of {shown.shape} cannot be encoded as JPEG", again=False)
        return bytes(encoded)

    def kept_back(self, value: Any, where: str) -> str:
        """Why a value may not go so far, because it holds a picture; empty where it may."""
        if self.may_reach(where) or not holds_picture(value):
            return ""
        return (
            f"the privacy policy of the camera lets pictures reach {self.reach!r}, this sink needs {where!r}"
        )


def own_pixels(image: Image) -> Image:
    """The picture; a small part of a larger one is copied, so that waiting for delivery does not keep the whole."""
    base = image.base
    if isinstance(base, np.ndarray) and base.nbytes > 2 * image.nbytes:
        return np.array(image, np.uint8)
    return image


def holds_picture(value: Any, depth: int = 0) -> bool:
    """Whether there is a picture in it: pixels, or an encoded file, also as base64."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:8]).startswith(_MAGIC)
    if isinstance(value, str):
        return len(value) > 256 and value.removeprefix("data:image/jpeg;base64,").startswith(_MAGIC_BASE64)
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return any(holds_picture(entry, depth + 1) for entry in value.values())
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
        return any(holds_picture(entry, depth + 1) for entry in value)
    return hasattr(value, "image") and hasattr(value, "width_px")
