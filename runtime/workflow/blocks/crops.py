"""Parts of a picture: crops by boxes, by fixed places, by tiles. The pixels are shared, not copied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from runtime.masks import decode
from runtime.workflow.block import Block, StepFailed
from runtime.workflow.blocks.pictures import colour
from runtime.workflow.fields import (
    IMAGE,
    INSTANCE_SEGMENTATION,
    INTEGER,
    KEYPOINTS,
    OBJECT_DETECTION,
    RGB_COLOR,
    STRING,
    ZERO_TO_ONE,
    Either,
    Field,
    ListOf,
    Number,
    Text,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.values import Detections, ImageValue
from wire.problem import shown

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION, KEYPOINTS)
SHARE = Number(0, 1)
PIXELS = Number(0, integer=True)
MAX_TILES = 4096


class DynamicCrop(Block):
    types = ("roboflow_core/dynamic_crop@v1", "DynamicCrop", "Crop")
    title = "Dynamic crop"
    fields = (
        image("images"),
        Field("predictions", OBJECTS),
        option("mask_opacity", Number(0, 1), 0.0, ZERO_TO_ONE),
        option(
            "background_color", Either((Text(64), ListOf(Number(0, 255), 3, 3))), [0, 0, 0], STRING, RGB_COLOR
        ),
    )
    outputs = gives(crops=kinds(IMAGE), predictions=OBJECTS)
    dimension = 1

    def run(
        self, images: ImageValue, predictions: Detections, mask_opacity: float, background_color: Any
    ) -> list[tuple[Any, Any] | None]:
        out: list[tuple[Any, Any] | None] = []
        for i, (x1, y1, x2, y2) in enumerate(predictions.xyxy.tolist()):
            left, top = max(0, round(x1)), max(0, round(y1))
            right, bottom = min(images.width_px, round(x2)), min(images.height_px, round(y2))
            if right <= left or bottom <= top:
                out.append(None)
                continue
            crop = images.cut(left, top, right, bottom, str(predictions.detection_id[i]))
            one = _own(predictions, i, crop, left, top)
            if mask_opacity > 0 and one.masks is not None:
                crop = _masked(crop, one.masks[0], mask_opacity, bgr_of(background_color))
            out.append((crop, one))
        return out


def _masked(crop: ImageValue, mask: Any, opacity: float, bgr: tuple[int, ...]) -> ImageValue:
    """What lies outside of the mask is painted over."""
    import cv2

    inside = decode(mask)[..., None]
    painted = np.where(inside, crop.image, np.array(bgr, np.uint8))
    mixed = cv2.addWeighted(painted, opacity, np.ascontiguousarray(crop.image), 1 - opacity, 0)
    return crop.drawn_over(np.asarray(mixed, np.uint8))


def bgr_of(value: Any) -> tuple[int, ...]:
    """Blue, green, red of `#rgb`, `#rrggbb`, `(r, g, b)` or a list of three numbers in the order red, green, blue.

    :raises StepFailed: no such colour
    """
    if isinstance(value, str) and value.startswith("("):
        value = value.strip("()").split(",")
    if isinstance(value, str):
        found = colour(value)
        if found is None:
            raise StepFailed(f"{shown(value)} is no colour: #rrggbb or (r, g, b)")
        return found
    try:
        red, green, blue = (min(max(int(part), 0), 255) for part in value)
    except (TypeError, ValueError) as e:
        raise StepFailed(f"{shown(value)} is no colour: three numbers from 0 to 255") from e
    return blue, green, red


def _own(predictions: Detections, i: int, crop: ImageValue, left: int, top: int) -> Detections:
    """The detection by which a crop was cut, in the coordinates of the crop; as in the original they are not moved back where a
    workflow gives them as an output."""
    one = predictions.select(np.array([i]))
    moved = one.placed_at(-np.array([left, top] * 2, np.float64), np.ones(4), crop.wh)
    return replace(moved, origin=predictions.origin)


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
    """The identifier is spelt as the original engine spells it. As there, a crop that begins left of or above the picture gives
    nothing."""

    types = ("roboflow_core/relative_statoic_crop@v1", "RelativeStaticCrop")
    title = "Relative static crop"
    fields = tuple(
        f if f.name == "images" else need(f.name, SHARE, ZERO_TO_ONE) for f in AbsoluteStaticCrop.fields
    )
    outputs = gives(crops=kinds(IMAGE))

    def run(
        self, images: ImageValue, x_center: float, y_center: float, width: float, height: float
    ) -> ImageValue | None:
        w, h = images.wh
        if (
            round(x_center * w) - round(width * w) / 2 < -0.5
            or round(y_center * h) - round(height * h) / 2 < -0.5
        ):
            return None
        return cut_around(
            images, round(x_center * w), round(y_center * h), round(width * w), round(height * h)
        )


class ImageSlicerV2(Block):
    """Tiles of equal size; the last ones of a row or column are moved back into the picture."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/image_slicer@v2",)
    title = "Image slicer"
    fields = (
        image(),
        option("slice_width", Number(1, integer=True), 640, INTEGER),
        option("slice_height", Number(1, integer=True), 640, INTEGER),
        option("overlap_ratio_width", Number(0, 0.99), 0.2, ZERO_TO_ONE),
        option("overlap_ratio_height", Number(0, 0.99), 0.2, ZERO_TO_ONE),
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
        lefts = self.starts(w, slice_width, overlap_ratio_width)
        tops = self.starts(h, slice_height, overlap_ratio_height)
        places = [(x, y) for y in tops for x in lefts][:MAX_TILES]
        return [
            image.cut(x, y, min(w, x + slice_width), min(h, y + slice_height), f"tile-{i}")
            for i, (x, y) in enumerate(places)
        ]

    def starts(self, side_px: int, tile_px: int, overlap: float) -> list[int]:
        """Where tiles of one direction begin."""
        return tile_starts(side_px, tile_px, overlap)


class ImageSlicerV1(ImageSlicerV2):
    """The last tiles of a row or column are cut off by the border."""

    types = ("roboflow_core/image_slicer@v1",)

    def starts(self, side_px: int, tile_px: int, overlap: float) -> list[int]:
        return list(range(0, side_px, max(1, tile_px - int(overlap * tile_px))))


def tile_starts(side_px: int, tile_px: int, overlap: float) -> list[int]:
    """Where tiles of one direction begin."""
    if tile_px >= side_px:
        return [0]
    stride = max(1, tile_px - int(overlap * tile_px))
    starts = [min(start, side_px - tile_px) for start in range(0, side_px, stride)]
    return list(dict.fromkeys(starts))


BLOCKS: tuple[type[Block], ...] = (
    DynamicCrop,
    AbsoluteStaticCrop,
    RelativeStaticCrop,
    ImageSlicerV1,
    ImageSlicerV2,
)
