"""Where the image lies within the input tensor, and the way back. Pure arithmetic, no pixels touched.

Rules (measured against the authors' own code): the resized size is `round-half-even(side × gain)`, or rounded down
where the input specification says so, as the long side before a centre crop is; a centred letterbox pads
`round(d − 0.1)` on the left and top, d being half the rest; the way back uses each axis' own gain.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runtime.model.spec import InputSpec
from runtime.results import Floats

_PACK = struct.Struct("<6i")


@dataclass(frozen=True)
class Geometry:
    """`resized_*_px` image inside the tensor at offset `left_px`, `top_px` (negative where a centre crop cuts it)."""

    image_width_px: int
    image_height_px: int
    resized_width_px: int
    resized_height_px: int
    left_px: int
    top_px: int

    @property
    def gain_x(self) -> float:
        return self.resized_width_px / self.image_width_px

    @property
    def gain_y(self) -> float:
        return self.resized_height_px / self.image_height_px

    def to_image(self, boxes: Floats, *, clip: bool = True) -> Floats:
        """Boxes (N, 4) x1 y1 x2 y2 in tensor pixels → image pixels, a new array."""
        offset, gain, limit = _arithmetic(self)
        out = (boxes - offset) / gain
        if clip:
            np.maximum(out, 0, out=out)
            np.minimum(out, limit, out=out)
        return out.astype(np.float32, copy=False)

    def points_to_image(self, points: Floats) -> Floats:
        """Points (…, 2) x y in tensor pixels → image pixels, clipped, a new array."""
        offset, gain, limit = _arithmetic(self)
        out = (points - offset[:2]) / gain[:2]
        np.maximum(out, 0, out=out)
        np.minimum(out, limit[:2], out=out)
        return out.astype(np.float32, copy=False)

    PACKED_BYTES = _PACK.size

    def pack(self) -> bytes:
        """Fixed-size bytes for the slot's header."""
        return _PACK.pack(
            self.image_width_px,
            self.image_height_px,
            self.resized_width_px,
            self.resized_height_px,
            self.left_px,
            self.top_px,
        )

    @classmethod
    def unpack(cls, raw: bytes) -> Geometry:
        return cls(*_PACK.unpack(raw))


@lru_cache(maxsize=64)
def _arithmetic(geometry: Geometry) -> tuple[Floats, Floats, Floats]:
    """Offset, gain and limit of both corners of a box."""
    return (
        np.array([geometry.left_px, geometry.top_px] * 2, np.float32),
        np.array([geometry.gain_x, geometry.gain_y] * 2, np.float32),
        np.array([geometry.image_width_px, geometry.image_height_px] * 2, np.float32),
    )


def _cropped_size(spec: InputSpec, width_px: int, height_px: int) -> tuple[int, int]:
    """The image's size before the middle is cut out: one side exact, the other rounded down."""
    factor = max(1.0, spec.short_side / min(spec.width, spec.height))
    if spec.width * height_px >= spec.height * width_px:
        new_w = round(spec.width * factor)
        return new_w, max(spec.height, new_w * height_px // width_px)
    new_h = round(spec.height * factor)
    return max(spec.width, new_h * width_px // height_px), new_h


def place(spec: InputSpec, width_px: int, height_px: int) -> Geometry:
    """Where an image of this size lies in the model's input."""
    if spec.resize == "stretch":
        return Geometry(width_px, height_px, spec.width, spec.height, 0, 0)
    if spec.resize == "centre-crop":
        new_w, new_h = _cropped_size(spec, width_px, height_px)
        return Geometry(
            width_px,
            height_px,
            new_w,
            new_h,
            -round((new_w - spec.width) / 2),
            -round((new_h - spec.height) / 2),
        )
    gain = min(spec.width / width_px, spec.height / height_px)
    whole = math.floor if spec.rounding == "down" else round
    new_w, new_h = max(1, whole(width_px * gain)), max(1, whole(height_px * gain))
    if spec.anchor == "top-left":
        return Geometry(width_px, height_px, new_w, new_h, 0, 0)
    left = round((spec.width - new_w) / 2 - 0.1)
    top = round((spec.height - new_h) / 2 - 0.1)
    return Geometry(width_px, height_px, new_w, new_h, left, top)
