"""From an image to the model's input tensor, in the caller's memory.

Two paths. *Live*: everything as bytes, resized by OpenCV straight into place; cast and normalisation are fused into the graph.
*Exact*: the authors' own resize; where that works on floats the tensor is float32 with values 0 to 255. The live
path allocates nothing after its first frame. An object belongs to one thread.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from runtime.model.geometry import Geometry, place
from runtime.model.spec import InputSpec
from runtime.results import Floats, Image


class Preprocessor(Protocol):
    """Writes one image into one tensor."""

    @property
    def dtype(self) -> type[np.generic]:
        """What `into` writes: `np.uint8` or `np.float32`, values 0 to 255 either way."""

    def into(self, image: Image, tensor: npt.NDArray[Any]) -> Geometry:
        """image: (H, W, 3) uint8 BGR. tensor: of `InputSpec.tensor_shape` and `dtype`, C-contiguous; every value is written."""


_MAX_WHOLE_PX = 1 << 24
"""A picture that a centre crop would make larger than this is not resized as a whole: 50 MB, and a tenth of a second."""


def preprocessor(spec: InputSpec, *, exact: bool = False) -> Preprocessor:
    """The live path, or the exact one. They are the same where the authors resize bytes with OpenCV."""
    if not exact or spec.exact == "uint8":
        return BytePreprocessor(spec)
    return FloatPreprocessor(spec)


class BytePreprocessor:
    """The live path: cv2 bilinear on bytes."""

    dtype: type[np.generic] = np.uint8

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._canvas = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
        self._scratch: Image | None = None
        self._geometry = Geometry(0, 0, 0, 0, 0, 0)

    def into(self, image: Image, tensor: npt.NDArray[Any]) -> Geometry:
        height, width = image.shape[:2]
        geometry = self._geometry
        if (width, height) != (geometry.image_width_px, geometry.image_height_px):
            geometry = self._geometry = place(self._spec, width, height)
            self._canvas[:] = self._spec.pad
        if geometry.left_px < 0 or geometry.top_px < 0:
            source = self._crop(image, geometry)
        else:
            source = self._resize(image, geometry)
        _arrange(source, tensor, self._spec)
        return geometry

    def _resize(self, image: Image, geometry: Geometry) -> Image:
        """The whole input as the model sees it, still (H, W, 3) BGR."""
        w, h = geometry.resized_width_px, geometry.resized_height_px
        target = self._canvas[geometry.top_px : geometry.top_px + h, geometry.left_px : geometry.left_px + w]
        if image.shape[:2] == (h, w):
            if target.shape == self._canvas.shape and image.flags.c_contiguous:
                return image
            np.copyto(target, image)
        else:
            cv2.resize(image, (w, h), dst=target, interpolation=cv2.INTER_LINEAR)
        return self._canvas

    def _crop(self, image: Image, geometry: Geometry) -> Image:
        w, h = geometry.resized_width_px, geometry.resized_height_px
        if w * h > _MAX_WHOLE_PX:
            return _middle(image, geometry, self._spec)
        if self._scratch is None or self._scratch.shape[:2] != (h, w):
            self._scratch = np.empty((h, w, 3), np.uint8)
        cv2.resize(image, (w, h), dst=self._scratch, interpolation=cv2.INTER_LINEAR)
        left, top = -geometry.left_px, -geometry.top_px
        np.copyto(self._canvas, self._scratch[top : top + self._spec.height, left : left + self._spec.width])
        return self._canvas


def _middle(image: Image, geometry: Geometry, spec: InputSpec) -> Image:
    """The crop alone, of a picture that is too narrow to be resized as a whole; within a grey level of OpenCV's."""
    left, top = -geometry.left_px, -geometry.top_px
    across = _along(image, 1, geometry.resized_width_px, slice(left, left + spec.width))
    down = _along(across, 0, geometry.resized_height_px, slice(top, top + spec.height))
    return np.asarray(np.rint(down), np.uint8)


def _along(values: npt.NDArray[Any], axis: int, new_size: int, part: slice) -> Floats:
    """Bilinear with half-pixel centres along one axis, a part of the result."""
    size = values.shape[axis]
    at = np.clip((np.array(range(new_size)[part]) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    low = at.astype(np.intp)
    share = np.expand_dims((at - low).astype(np.float32), (0, 2) if axis else (1, 2))
    nearer, farther = (values.take(i, axis).astype(np.float32) for i in (low, np.minimum(low + 1, size - 1)))
    return np.asarray(nearer + (farther - nearer) * share, np.float32)


def _arrange(source: Image, tensor: npt.NDArray[Any], spec: InputSpec) -> None:
    """(H, W, 3) BGR into the tensor, in the model's layout and colour order."""
    if spec.layout == "NCHW":
        blue, green, red = (tensor[0], tensor[1], tensor[2])[:: 1 if spec.colour == "BGR" else -1]
        cv2.split(source, [blue, green, red])
    elif spec.colour == "RGB":
        cv2.cvtColor(source, cv2.COLOR_BGR2RGB, dst=tensor)
    else:
        np.copyto(tensor, source)


class FloatPreprocessor:
    """The exact path of models whose authors resize floats (`float`) or with antialiasing (`pil`)."""

    dtype: type[np.generic] = np.float32

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec

    def into(self, image: Image, tensor: npt.NDArray[Any]) -> Geometry:
        spec = self._spec
        geometry = place(spec, image.shape[1], image.shape[0])
        size = (geometry.resized_width_px, geometry.resized_height_px)
        canvas = np.full((spec.height, spec.width, 3), spec.pad, np.float32)
        left, top = geometry.left_px, geometry.top_px
        columns = slice(max(0, -left), max(0, -left) + spec.width)
        rows = slice(max(0, -top), max(0, -top) + spec.height)
        if spec.exact == "pil":
            part = antialiased(image, *size, columns, rows)
        else:
            part = _bilinear(image, *size)[rows, columns]
        top, left = max(0, top), max(0, left)
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        ordered = canvas if spec.colour == "BGR" else canvas[:, :, ::-1]
        np.copyto(tensor, ordered.transpose(2, 0, 1) if spec.layout == "NCHW" else ordered)
        return geometry


def _bilinear(image: Image, width_px: int, height_px: int) -> Floats:
    """Bilinear on floats with half-pixel centres, no antialiasing; values 0 to 255."""
    floats = image.astype(np.float32)
    return np.asarray(cv2.resize(floats, (width_px, height_px), interpolation=cv2.INTER_LINEAR))


_ALL = slice(None)


def antialiased(
    image: Image, width_px: int, height_px: int, columns: slice = _ALL, rows: slice = _ALL
) -> Floats:
    """Bilinear with the filter widened when shrinking, rounded to bytes after each axis, as Pillow does; values 0 to 255.

    Only these columns and rows of the result are made: of a narrow picture whose short side must fill a crop, the whole is huge.

    Source: Pillow's resampling, `Image.resize` with BILINEAR: a triangle of half width max(1, scale), normalised, in whole numbers
    of 2⁻²². Equal to it in every byte (tests/contract/test_decode_golden.py compares the classifier's inputs).
    """
    across = _triangles(image.shape[1], width_px, columns) @ image.astype(np.float64)
    down = np.tensordot(_triangles(image.shape[0], height_px, rows), _whole(across), axes=(1, 0))
    return np.asarray(_whole(down), np.float32)


_FIXED_POINT = float(1 << 22)
"""Pillow's coefficients are whole numbers of this share. Their products with bytes are exact in float64."""


def _whole(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.clip(np.floor(sums / _FIXED_POINT + 0.5), 0, 255), np.float64)


def _triangles(size: int, new_size: int, part: slice) -> npt.NDArray[np.float64]:
    """(new_size, size) weights of each source pixel for each new one of the part; rows sum to about 2²²."""
    scale = size / new_size
    support = max(scale, 1.0)
    centres = (np.array(range(new_size)[part]) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.floor(weights * _FIXED_POINT + 0.5), np.float64)


def normalise(tensor: npt.NDArray[Any], spec: InputSpec) -> npt.NDArray[Any]:
    """`(value / scale - mean) / std` in numpy, in the model's own type: what the fused graph does. Shape (..., as tensor)."""
    shape = (3, 1, 1) if spec.layout == "NCHW" else (3,)
    mean = np.array(spec.mean, np.float32).reshape(shape)
    std = np.array(spec.std, np.float32).reshape(shape)
    if spec.dtype == "uint8":
        return tensor.astype(np.uint8, copy=False)
    values = (tensor.astype(np.float32) / np.float32(spec.scale) - mean) / std
    return np.asarray(values, np.dtype(spec.dtype))
