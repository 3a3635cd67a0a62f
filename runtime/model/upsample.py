"""From a small map of logits to masks in the image's size. Only the part of the image is computed in which a mask can be.

Bilinear with half-pixel centres and no antialiasing, the edge repeated: what `interpolate(mode="bilinear")` of PyTorch means and
the authors of RF-DETR and YOLO use. Inside is where the interpolated logit is above 0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime import masks
from runtime.model.geometry import Geometry
from runtime.results import Floats


class Axis:
    """One axis of an interpolation: `weights` (new size, old size), rows sum to 1."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights
        used = weights != 0
        size = weights.shape[1]
        first = used.argmax(axis=1)
        count = int((size - used[:, ::-1].argmax(axis=1) - first).max())
        self._first = np.minimum(first, size - count)
        places = np.arange(len(weights))
        self._taps = [weights[places, self._first + k][:, None] for k in range(count)]
        reached = used.any(axis=0)
        self._reach_first = np.where(reached, used.argmax(axis=0), len(weights)).tolist()
        self._reach_last = np.where(reached, len(weights) - used[::-1].argmax(axis=0), 0).tolist()

    @classmethod
    def make(cls, size: int, new_size: int) -> Axis:
        """From `size` places to `new_size`."""
        places = np.maximum((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0.0)
        low = np.minimum(places.astype(np.int64), size - 1)
        high = np.minimum(low + 1, size - 1)
        share = (places - low).astype(np.float32)
        weights = np.zeros((new_size, size), np.float32)
        rows = np.arange(new_size)
        weights[rows, low] += 1 - share
        weights[rows, high] += share
        return cls(weights)

    def cut(self, start: int, size: int) -> Axis:
        """Only the new places `start` to `start + size`."""
        return Axis(self.weights[start : start + size])

    def then(self, new_size: int) -> Axis:
        """This interpolation and a further one after it."""
        if len(self.weights) == new_size:
            return self
        return Axis(Axis.make(len(self.weights), new_size).weights @ self.weights)

    def reached(self, first: int, last: int) -> tuple[int, int]:
        """The new places, from and up to, that the old places `first` to `last` (inclusive) have a share in."""
        return min(self._reach_first[first : last + 1]), max(self._reach_last[first : last + 1])

    def apply(self, rows: Floats, start: int, stop: int) -> Floats:
        """The new rows `start` to `stop` (exclusive) of an array of old rows. A bilinear row has two or three shares, hence no
        product of matrices, which would also wake the threads of the linear algebra."""
        first = self._first[start:stop]
        out = rows[first] * self._taps[0][start:stop]
        for k, taps in enumerate(self._taps[1:], 1):
            out += rows[first + k] * taps[start:stop]
        return np.asarray(out, np.float32)


class Upsampler:
    """Interpolates maps of (h, w) logits to a picture of one size. Kept for as long as the picture's size stays."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self._size_hw = (len(y.weights), len(x.weights))

    def mask(self, logits: Floats, within: tuple[int, int, int, int] | None = None) -> masks.Rle:
        """The run-length mask of one map (h, w), cut to the box `within` (x1 y1 x2 y2 in whole pixels, far sides exclusive)."""
        window = self._window(logits, within)
        if window is None:
            return masks.encode(np.zeros((1, 1), np.bool_), size_hw=self._size_hw)
        left, top, right, bottom = window
        lines = self._y.apply(logits, top, bottom)
        # Turned, since the coding goes down the columns.
        inside = self._x.apply(np.ascontiguousarray(lines.T), left, right) > 0
        return masks.encode(inside.T, size_hw=self._size_hw, at_xy=(left, top))

    def _window(
        self, logits: Floats, within: tuple[int, int, int, int] | None
    ) -> tuple[int, int, int, int] | None:
        """Where the mask can be: what positive cells have a share in, cut to the box."""
        positive = logits > 0
        columns, rows = np.flatnonzero(positive.any(axis=0)), np.flatnonzero(positive.any(axis=1))
        if not len(columns):
            return None
        left, right = self._x.reached(int(columns[0]), int(columns[-1]))
        top, bottom = self._y.reached(int(rows[0]), int(rows[-1]))
        if within is not None:
            left, top = max(left, within[0]), max(top, within[1])
            right, bottom = min(right, within[2]), min(bottom, within[3])
        return (left, top, right, bottom) if left < right and top < bottom else None


def by_letterbox(map_hw: tuple[int, int], tensor_hw: tuple[int, int], geometry: Geometry) -> Upsampler:
    """An upsampler as the authors of YOLO go: the map grows, the padding is cut away, what is left goes to the picture's size.

    It grows only as far as the padding needs to be whole cells (measured against their code): with 4 pixels a cell, 80 pixels of
    padding are cut at once, 106 from a map twice as large, 107 from one four times as large.
    """
    across, down = tensor_hw[1] // map_hw[1], tensor_hw[0] // map_hw[0]
    left, width = geometry.left_px, geometry.resized_width_px
    top, height = geometry.top_px, geometry.resized_height_px
    step = math.gcd(across, down, left, width, top, height)
    x = Axis.make(map_hw[1], tensor_hw[1] // step).cut(left // step, width // step)
    y = Axis.make(map_hw[0], tensor_hw[0] // step).cut(top // step, height // step)
    return Upsampler(x.then(geometry.image_width_px), y.then(geometry.image_height_px))


def stretched(map_hw: tuple[int, int], image_wh: tuple[int, int]) -> Upsampler:
    """An upsampler from a map that covers the picture straight to its size."""
    return Upsampler(Axis.make(map_hw[1], image_wh[0]), Axis.make(map_hw[0], image_wh[1]))


def whole_pixels(boxes: Floats) -> npt.NDArray[np.int64]:
    """The pixels of boxes (N, 4): from the first whose corner is inside, up to the first whose corner is not."""
    return np.ceil(boxes).astype(np.int64)
