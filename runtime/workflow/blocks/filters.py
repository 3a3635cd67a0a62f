"""Pictures made from pictures with OpenCV: sizes, colours, blur, contrast, morphology, contours."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import (
    CONTOURS,
    IMAGE,
    INTEGER,
    NUMPY_ARRAY,
    STRING,
    Choice,
    Field,
    Flag,
    Number,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.values import ImageValue

Pixels = npt.NDArray[np.uint8]

MAX_SIDE_PX = 16384
SIDE = Number(1, MAX_SIDE_PX, integer=True)
KERNEL = Number(1, 1023, integer=True)
LEVEL = Number(integer=True)


def grey(pixels: Pixels) -> Pixels:
    """(H, W) of a picture of any number of channels."""
    import cv2

    if pixels.ndim == 2:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)


class _Filter(Block):
    """A picture from a picture: `filtered` gives new pixels."""

    outputs = gives(image=kinds(IMAGE))

    def run(self, image: ImageValue, **fields: Any) -> Any:
        return image.drawn_over(np.asarray(self.filtered(image.image, **fields), np.uint8))

    def filtered(self, pixels: Pixels, **fields: Any) -> Any:
        raise NotImplementedError


class ImagePreprocessing(_Filter):
    """Resize (a side that an input leaves empty follows the other), rotate (the picture grows to hold all of it), or flip."""

    types = ("roboflow_core/image_preprocessing@v1",)
    title = "Image preprocessing"
    fields = (
        image(),
        Field("task_type", literal=Choice(("resize", "rotate", "flip"))),
        option("width", SIDE, 640, INTEGER),
        option("height", SIDE, 640, INTEGER),
        option("rotation_degrees", Number(-360, 360, integer=True), 90, INTEGER),
        option("flip_type", Choice(("vertical", "horizontal", "both")), "vertical", STRING),
    )

    def run(self, image: ImageValue, **fields: Any) -> Any:
        return image.redrawn(np.asarray(self.filtered(image.image, **fields), np.uint8))

    def filtered(  # type: ignore[override]
        self,
        pixels: Pixels,
        task_type: str,
        width: int | None,
        height: int | None,
        rotation_degrees: int | None,
        flip_type: str,
    ) -> Any:
        import cv2

        if task_type == "resize":
            return _resized(pixels, width, height)
        if task_type == "rotate":
            return _rotated(pixels, rotation_degrees or 0)
        return cv2.flip(pixels, {"vertical": 0, "horizontal": 1, "both": -1}[flip_type])


def _resized(pixels: Pixels, width: int | None, height: int | None) -> Any:
    import cv2

    own_height, own_width = pixels.shape[:2]
    if width is None and height is None:
        return pixels
    if width is None:
        width = int(own_width * ((height or 1) / own_height))
    height = int(own_height * (width / own_width)) if height is None else height
    if not 0 < width <= MAX_SIDE_PX or not 0 < height <= MAX_SIDE_PX:
        raise StepFailed(f"a picture of {width} x {height} px cannot be made: sides from 1 to {MAX_SIDE_PX}")
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _rotated(pixels: Pixels, degrees: float) -> Any:
    import cv2

    if not degrees:
        return pixels
    height, width = pixels.shape[:2]
    centre = (width // 2, height // 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    side = (int(height * sin + width * cos), int(height * cos + width * sin))
    matrix[0, 2] += side[0] / 2 - centre[0]
    matrix[1, 2] += side[1] / 2 - centre[1]
    return cv2.warpAffine(pixels, matrix, side)


class Greyscale(_Filter):
    types = ("roboflow_core/convert_grayscale@v1",)
    title = "Convert to grayscale"
    fields = (image(),)

    def filtered(self, pixels: Pixels, **fields: Any) -> Any:
        return grey(pixels)


class Threshold(_Filter):
    """`adaptive_*` and `otsu` take a picture of one channel."""

    types = ("roboflow_core/threshold@v1",)
    title = "Image threshold"
    KINDS: ClassVar = ("binary", "binary_inv", "trunc", "tozero", "tozero_inv")
    fields = (
        image(),
        option(
            "threshold_type", Choice((*KINDS, "adaptive_mean", "adaptive_gaussian", "otsu")), "binary", STRING
        ),
        need("thresh_value", LEVEL, INTEGER),
        option("max_value", LEVEL, 255, INTEGER),
    )

    def filtered(  # type: ignore[override]
        self, pixels: Pixels, threshold_type: str, thresh_value: int, max_value: int
    ) -> Any:
        import cv2

        if threshold_type in self.KINDS:
            how = getattr(cv2, f"THRESH_{threshold_type.upper()}")
            return cv2.threshold(pixels, thresh_value, max_value, how)[1]
        if pixels.ndim != 2:
            raise StepFailed(f"{threshold_type} takes a grey picture: put convert_grayscale before this step")
        if threshold_type == "otsu":
            return cv2.threshold(pixels, 0, max_value, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
        how = getattr(cv2, f"ADAPTIVE_THRESH_{threshold_type.removeprefix('adaptive_').upper()}_C")
        return cv2.adaptiveThreshold(pixels, max_value, how, cv2.THRESH_BINARY, 11, 2)


class Blur(_Filter):
    types = ("roboflow_core/image_blur@v1",)
    title = "Image blur"
    fields = (
        image(),
        option("blur_type", Choice(("average", "gaussian", "median", "bilateral")), "gaussian", STRING),
        option("kernel_size", KERNEL, 5, INTEGER),
    )

    def filtered(self, pixels: Pixels, blur_type: str, kernel_size: int) -> Any:  # type: ignore[override]
        import cv2

        odd = max(1, kernel_size) | 1
        if blur_type == "average":
            return cv2.blur(pixels, (kernel_size, kernel_size))
        if blur_type == "gaussian":
            return cv2.GaussianBlur(pixels, (odd, odd), 0)
        if blur_type == "median":
            return cv2.medianBlur(pixels, odd)
        return cv2.bilateralFilter(pixels, kernel_size, 75, 75)


class ContrastEnhancement(_Filter):
    """Each channel stretched from its lowest to its highest value, `clip_limit` percent of either end cut off."""

    types = ("roboflow_core/contrast_enhancement@v1",)
    title = "Contrast enhancement"
    fields = (
        image(),
        Field("clip_limit", literal=Number(0, 50, integer=True), required=False, default=0),
        Field("contrast_multiplier", literal=Number(0.1, 5), required=False, default=1.0),
        Field("normalize_brightness", literal=Flag(), required=False, default=False),
    )

    def filtered(  # type: ignore[override]
        self, pixels: Pixels, clip_limit: int, contrast_multiplier: float, normalize_brightness: bool
    ) -> Any:
        channels = pixels[..., None] if pixels.ndim == 2 else pixels
        gamma = 1.0 / 1.3 if normalize_brightness else 1.0
        done = [
            _stretched(channels[..., c], clip_limit, contrast_multiplier, gamma)
            for c in range(channels.shape[2])
        ]
        return done[0] if pixels.ndim == 2 else np.stack(done, axis=2)


def _stretched(channel: Pixels, clip_percent: int, contrast: float, gamma: float) -> Pixels:
    values = channel.astype(np.float32)
    low, high = np.quantile(values, [clip_percent / 100, 1 - clip_percent / 100])
    if high <= low:
        return channel
    values = 128.0 + ((values - low) / (high - low) * 255.0 - 128.0) * contrast
    values = np.clip(values, 0, 255)
    return np.asarray(np.power(values / 255.0, gamma) * 255.0 if gamma != 1.0 else values).astype(np.uint8)


class ContrastEqualization(_Filter):
    """Adaptive equalization is OpenCV's (CLAHE); its values differ from the original's by a few grey levels."""

    types = ("roboflow_core/contrast_equalization@v1",)
    title = "Contrast equalization"
    fields = (
        image(),
        option(
            "equalization_type",
            Choice(("Contrast Stretching", "Histogram Equalization", "Adaptive Equalization")),
            "Histogram Equalization",
            STRING,
        ),
    )

    def filtered(self, pixels: Pixels, equalization_type: str) -> Any:  # type: ignore[override]
        if equalization_type == "Contrast Stretching":
            low, high = np.percentile(pixels, 2), np.percentile(pixels, 98)
            if high <= low:
                return pixels
            return (np.clip(pixels, low, high) - low) / (high - low) * 255
        if equalization_type == "Histogram Equalization":
            return _equalized(pixels)
        return _adapted(pixels)


def _equalized(pixels: Pixels) -> Any:
    """All channels by one histogram, interpolated between the middles of its 256 bins."""
    counts, edges = np.histogram(pixels.astype(np.float32) / 255, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    curve = np.interp(np.arange(256) / 255, middles, counts.cumsum() / pixels.size)
    return (curve * 255).astype(np.uint8)[pixels]


def _adapted(pixels: Pixels) -> Any:
    import cv2

    clahe = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8))
    if pixels.ndim == 2:
        return clahe.apply(pixels)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)
    hsv[..., 2] = clahe.apply(np.ascontiguousarray(hsv[..., 2]))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _opened_then_closed(pixels: Pixels, kernel: Pixels) -> Any:
    import cv2

    opened = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, kernel)
    return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel)


_MORPHOLOGY = {
    "Erosion": "MORPH_ERODE",
    "Dilation": "MORPH_DILATE",
    "Opening": "MORPH_OPEN",
    "Closing": "MORPH_CLOSE",
    "Gradient": "MORPH_GRADIENT",
    "Top Hat": "MORPH_TOPHAT",
    "Black Hat": "MORPH_BLACKHAT",
}
OPENED_CLOSED = "Opening then Closing"


class MorphologyV2(_Filter):
    types = ("roboflow_core/morphological_transformation@v2",)
    title = "Morphological transformation"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        option("kernel_size", KERNEL, 5, INTEGER),
        option("operation", Choice((*_MORPHOLOGY, OPENED_CLOSED)), OPENED_CLOSED, STRING),
    )

    def filtered(self, pixels: Pixels, kernel_size: int, operation: str) -> Any:  # type: ignore[override]
        import cv2

        kernel = np.ones((kernel_size, kernel_size), np.uint8)
        pixels = self.prepared(pixels)
        if operation == OPENED_CLOSED:
            return _opened_then_closed(pixels, kernel)
        return cv2.morphologyEx(pixels, getattr(cv2, _MORPHOLOGY[operation]), kernel)

    def prepared(self, pixels: Pixels) -> Pixels:
        """With three channels."""
        import cv2

        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8) if pixels.ndim == 2 else pixels


class MorphologyV1(MorphologyV2):
    """Works on a grey picture, which it makes from a coloured one."""

    types = ("roboflow_core/morphological_transformation@v1",)
    fields = (*MorphologyV2.fields[:2], option("operation", Choice(tuple(_MORPHOLOGY)), "Closing", STRING))

    def prepared(self, pixels: Pixels) -> Pixels:
        return grey(pixels)


class Contours(Block):
    """The outer contours of what is not black, drawn and counted."""

    types = ("roboflow_core/contours_detection@v1",)
    title = "Contours"
    fields = (image(), option("line_thickness", Number(-1, 100, integer=True), 3, INTEGER))
    outputs = gives(
        image=kinds(IMAGE),
        contours=kinds(CONTOURS),
        hierarchy=kinds(NUMPY_ARRAY),
        number_contours=kinds(INTEGER),
    )

    def run(self, image: ImageValue, line_thickness: int) -> tuple[Any, ...]:
        import cv2

        source = grey(image.image)
        found, hierarchy = cv2.findContours(source, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        canvas = cv2.cvtColor(source, cv2.COLOR_GRAY2BGR)
        cv2.drawContours(canvas, found, -1, (255, 0, 255), line_thickness)
        return image.drawn_over(np.asarray(canvas, np.uint8)), list(found), hierarchy, len(found)


BLOCKS: tuple[type[Block], ...] = (
    ImagePreprocessing,
    Greyscale,
    Threshold,
    Blur,
    ContrastEnhancement,
    ContrastEqualization,
    MorphologyV1,
    MorphologyV2,
    Contours,
)
