"""Parts of a picture: crops by boxes, by fixed places, by tiles. The pixels are shared, not copied."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOXES,
    FLOAT,
    IMAGE,
    INTEGER,
    ZERO_TO_ONE,
    Number,
    boxes,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.values import Detections, ImageValue

SHARE = Number(0, 1)
PIXELS = Number(0, integer=True)
MAX_TILES = 4096


class DynamicCrop(Block):
    types = ("roboflow_core/dynamic_crop@v1", "DynamicCrop", "Crop")
    title = "Dynamic crop"
    fields = (image("images"), boxes())
    outputs = gives(crops=kinds(IMAGE), predictions=BOXES)
    dimension = 1

    def run(self, images: ImageValue, predictions: Detections) -> list[tuple[Any, Any] | None]:
        out: list[tuple[Any, Any] | None] = []
        for i, (x1, y1, x2, y2) in enumerate(predictions.xyxy.tolist()):
            left, top = max(0, round(x1)), max(0, round(y1))
            right, bottom = min(images.width_px, round(x2)), min(images.height_px, round(y2))
            if right <= left or bottom <= top:
                out.append(None)
                continue
            crop = images.cut(left, top, right, bottom, str(predictions.detection_id[i]))
            out.append((crop, _own(predictions, i, crop, left, top)))
        return out


def _own(predictions: Detections, i: int, crop: ImageValue, left: int, top: int) -> Detections:
    """The detection by which a crop was cut, in the coordinates of the crop."""
    one = predictions.select(np.array([i]))
    shifted = one.xyxy - np.array([left, top, left, top], one.xyxy.dtype)
    return replace(one, xyxy=shifted, image_wh=crop.wh, origin=crop.origin, masks=None, keypoints=None)


def cut_around(picture: ImageValue, x: float, y: float, width: float, height: float) -> ImageValue | None:
    """The part around a centre, cut off at the borders; None where nothing of it lies inside."""
    left, top = round(x - width / 2), round(y - height / 2)
    right, bottom = round(left + width), round(top + height)
    left, top = max(0, left), max(0, top)
    right, bottom = min(picture.width_px, right), min(picture.height_px, bottom)
    return picture.cut(left, top, right, bottom) if right > left and bottom > top else None


class AbsoluteStaticCrop(Block):
    types = ("roboflow_core/absolute_static_crop@v1", "AbsoluteStaticCrop")
    title = "Absolute static crop"
    fields = (
        image("images"),
        need("x_center", PIXELS, INTEGER),
        need("y_center", PIXELS, INTEGER),
        need("width", PIXELS, INTEGER),
        need("height", PIXELS, INTEGER),
    )
    outputs = gives(crops=kinds(IMAGE))

    def run(
        self, images: ImageValue, x_center: int, y_center: int, width: int, height: int
    ) -> ImageValue | None:
        return cut_around(images, x_center, y_center, width, height)


class RelativeStaticCrop(Block):
    """The identifier is spelt as the original engine spells it."""

    types = ("roboflow_core/relative_statoic_crop@v1", "RelativeStaticCrop")
    title = "Relative static crop"
    fields = tuple(
        f if f.name == "images" else need(f.name, SHARE, ZERO_TO_ONE, FLOAT)
        for f in AbsoluteStaticCrop.fields
    )
    outputs = gives(crops=kinds(IMAGE))

    def run(
        self, images: ImageValue, x_center: float, y_center: float, width: float, height: float
    ) -> ImageValue | None:
        w, h = images.wh
        return cut_around(
            images, round(x_center * w), round(y_center * h), round(width * w), round(height * h)
        )


class ImageSlicerV2(Block):
    """Tiles of equal size; the last ones of a row or column are moved back into the picture."""

    types = ("roboflow_core/image_slicer@v2",)
    title = "Image slicer"
    fields = (
        image(),
        option("slice_width", Number(1, integer=True), 640, INTEGER),
        option("slice_height", Number(1, integer=True), 640, INTEGER),
        option("overlap_ratio_width", Number(0, 0.99), 0.2, ZERO_TO_ONE, FLOAT),
        option("overlap_ratio_height", Number(0, 0.99), 0.2, ZERO_TO_ONE, FLOAT),
    )
    outputs = gives(slices=kinds(IMAGE))
    dimension = 1

    def run(
        self,
        image: ImageValue,
        slice_width: int,
        slice_height: int,
        overlap_ratio_width: float,
        overlap_ratio_height: float,
    ) -> list[ImageValue]:
        w, h = image.wh
        lefts = tile_starts(w, slice_width, overlap_ratio_width)
        tops = tile_starts(h, slice_height, overlap_ratio_height)
        places = [(x, y) for y in tops for x in lefts][:MAX_TILES]
        return [
            image.cut(x, y, min(w, x + slice_width), min(h, y + slice_height), f"tile-{i}")
            for i, (x, y) in enumerate(places)
        ]


def tile_starts(side_px: int, tile_px: int, overlap: float) -> list[int]:
    """Where tiles of one direction begin."""
    if tile_px >= side_px:
        return [0]
    stride = max(1, tile_px - math.ceil(overlap * tile_px))
    starts = [min(start, side_px - tile_px) for start in range(0, side_px, stride)]
    return list(dict.fromkeys(starts))


BLOCKS = (DynamicCrop, AbsoluteStaticCrop, RelativeStaticCrop, ImageSlicerV2)
