"""How sharp a picture is: a measure, and a picture that shows where. Sources: Brenner (1976) and Tenenbaum (1970), as gradient
measures of focus."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.blocks.filters import Pixels, grey
from runtime.workflow.blocks.pictures import FONT
from runtime.workflow.fields import (
    FLOAT,
    IMAGE,
    INSTANCE_SEGMENTATION,
    LIST,
    OBJECT_DETECTION,
    Choice,
    Field,
    Flag,
    Number,
    gives,
    image,
    kinds,
)
from runtime.workflow.values import Array, Detections, ImageValue

PERCENT = Number(0, 100)
WHITE, GREY, BLACK = (255, 255, 255), (128, 128, 128), (0, 0, 0)


class CameraFocusV1(Block):
    """Brenner's measure: the mean of the squared rise of brightness over two pixels, across or down."""

    types = ("roboflow_core/camera_focus@v1",)
    title = "Camera focus"
    fields = (image(),)
    outputs = gives(image=kinds(IMAGE), focus_measure=kinds(FLOAT))

    def run(self, image: ImageValue) -> tuple[Any, ...]:
        import cv2

        rise = brenner(grey(image.image))
        measure, most = float(rise.mean()), float(rise.max(initial=0))
        shown = np.asarray(rise / most * 255 if most else rise).astype(np.uint8)
        cv2.putText(shown, f"Focus value: {measure:.2f}", (10, 30), FONT, 1, WHITE, 2)
        return image.drawn_over(shown), measure


def brenner(pixels: Pixels) -> Array:
    """(H, W) float: the larger of both squared rises; falls count as nothing."""
    values = pixels.astype(np.float64)
    across, down = np.zeros_like(values), np.zeros_like(values)
    across[:, :-2] = np.clip(values[:, 2:] - values[:, :-2], 0, None)
    down[:-2] = np.clip(values[2:] - values[:-2], 0, None)
    squared: Array = np.maximum(across, down) ** 2
    return squared


class CameraFocusV2(Block):
    """Tenengrad: the mean of the squared gradient, of the picture and of each detection; with warnings of light and dark, the
    sharp places, a grid and a panel drawn in."""

    types = ("roboflow_core/camera_focus@v2",)
    title = "Camera focus"
    fields = (
        image(),
        Field("underexposed_threshold_percent", literal=PERCENT, required=False, default=3.0),
        Field("overexposed_threshold_percent", literal=PERCENT, required=False, default=97.0),
        Field("show_zebra_warnings", literal=Flag(), required=False, default=True),
        Field(
            "grid_overlay",
            literal=Choice(("None", "2x2", "3x3", "4x4", "5x5")),
            required=False,
            default="3x3",
        ),
        Field("show_hud", literal=Flag(), required=False, default=True),
        Field("show_focus_peaking", literal=Flag(), required=False, default=True),
        Field("show_center_marker", literal=Flag(), required=False, default=True),
        Field("detections", kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION), required=False),
    )
    outputs = gives(image=kinds(IMAGE), focus_measure=kinds(FLOAT), bbox_focus_measures=kinds(LIST))

    def run(
        self,
        image: ImageValue,
        underexposed_threshold_percent: float,
        overexposed_threshold_percent: float,
        show_zebra_warnings: bool,
        grid_overlay: str,
        show_hud: bool,
        show_focus_peaking: bool,
        show_center_marker: bool,
        detections: Detections | None,
    ) -> tuple[Any, ...]:
        brightness = grey(image.image)
        sharpness = tenengrad(brightness)
        measure = float(sharpness.mean())
        canvas = np.array(
            image.image if image.image.ndim == 3 else np.stack([brightness] * 3, axis=2), np.uint8
        )
        if show_zebra_warnings:
            dark, light = (
                int(share * 255 / 100)
                for share in (underexposed_threshold_percent, overexposed_threshold_percent)
            )
            _zebra(canvas, brightness, dark, light)
        if show_focus_peaking:
            _peaks(canvas, sharpness)
        if show_center_marker:
            _marker(canvas)
        if grid_overlay != "None":
            _grid(canvas, int(grid_overlay[0]))
        if show_hud:
            _panel(canvas, measure, brightness, image.image)
        return image.drawn_over(canvas), measure, _of_boxes(sharpness, detections)


def tenengrad(pixels: Pixels) -> Array:
    """(H, W) float32: the squared gradient by Sobel's masks."""
    import cv2

    across = np.asarray(cv2.Sobel(pixels, cv2.CV_32F, 1, 0, ksize=3), np.float32)
    down = np.asarray(cv2.Sobel(pixels, cv2.CV_32F, 0, 1, ksize=3), np.float32)
    squared: Array = across**2 + down**2
    return squared


def _of_boxes(sharpness: Array, detections: Detections | None) -> list[float | None]:
    """The measure within each box; None for one outside of the picture."""
    told: list[float | None] = []
    for x1, y1, x2, y2 in [] if detections is None else detections.xyxy.astype(int).clip(0).tolist():
        part = sharpness[y1:y2, x1:x2]
        told.append(float(part.mean()) if part.size else None)
    return told


def _mixed(canvas: Pixels, where: Array, bgr: tuple[int, int, int], share: float) -> None:
    canvas[where] = (canvas[where] * (1 - share) + np.array(bgr) * share).astype(np.uint8)


def _zebra(canvas: Pixels, brightness: Pixels, dark: int, light: int) -> None:
    y, x = np.ogrid[: brightness.shape[0], : brightness.shape[1]]
    stripes = ((x + y) // 8) % 2 == 0
    too_dark, too_light = (brightness < dark) & stripes, (brightness > light) & stripes
    _mixed(canvas, too_dark, (255, 0, 0), 0.5)
    _mixed(canvas, too_light, (0, 0, 255), 0.5)


def _peaks(canvas: Pixels, sharpness: Array) -> None:
    most = sharpness.max(initial=0)
    if most:
        _mixed(canvas, (sharpness / most * 255).astype(np.uint8) > int(30 * 255 / 100), (0, 255, 0), 0.6)


def _scale(canvas: Pixels) -> float:
    """Of everything written: 1 where the shorter side is 720 px."""
    return float(max(0.4, min(min(canvas.shape[:2]) / 720, 2.5)))


def _marker(canvas: Pixels) -> None:
    import cv2

    x, y = canvas.shape[1] // 2, canvas.shape[0] // 2
    size, thickness = int(20 * _scale(canvas)), max(1, int(1.6 * _scale(canvas)))
    cv2.line(canvas, (x - size, y), (x + size, y), WHITE, thickness)
    cv2.line(canvas, (x, y - size), (x, y + size), WHITE, thickness)


def _grid(canvas: Pixels, parts: int) -> None:
    import cv2

    height, width = canvas.shape[:2]
    for i in range(1, parts):
        cv2.line(canvas, (width * i // parts, 0), (width * i // parts, height), GREY, 1)
        cv2.line(canvas, (0, height * i // parts), (width, height * i // parts), GREY, 1)


def _panel(canvas: Pixels, measure: float, brightness: Pixels, source: Pixels) -> None:
    """The measure and the histograms, on a dark plate in the corner."""
    import cv2

    scale = _scale(canvas)
    pad, margin, gap, room = (int(n * scale) for n in (14, 12, 6, 12))
    wide, high = int(180 * scale), int(50 * scale)
    big, small, thick = 0.5 * scale, 0.4 * scale, max(1, int(1.6 * scale))
    title, number, label = "TFM Focus", f"{measure:.1f}", "Exposure"
    title_wh, number_wh = (cv2.getTextSize(t, FONT, big, thick)[0] for t in (title, number))
    label_wh = cv2.getTextSize(label, FONT, small, thick)[0]
    width = max(title_wh[0] + number_wh[0] + int(20 * scale), label_wh[0], wide) + 2 * pad
    height = title_wh[1] + room + label_wh[1] + gap + high + 2 * pad
    far = (margin + width, margin + height)
    plate = cv2.rectangle(canvas.copy(), (margin, margin), far, BLACK, -1)
    cv2.addWeighted(plate, 0.7, canvas, 0.3, 0, canvas)
    cv2.rectangle(canvas, (margin, margin), far, (80, 80, 80), 1)
    left, y = margin + pad, margin + pad + title_wh[1]
    _outlined(canvas, title, (left, y), big, WHITE, thick)
    _outlined(canvas, number, (far[0] - pad - number_wh[0], y), big, WHITE, thick)
    middle = y + int(room * 0.5)
    cv2.line(canvas, (left, middle), (far[0] - pad, middle), (60, 60, 60), 1)
    y += room + label_wh[1]
    _outlined(canvas, label, (left, y), small, (180, 180, 180), thick)
    _histograms(canvas, (left, y + gap, wide, high), brightness, source, thick)


def _outlined(
    canvas: Pixels, text: str, at: tuple[int, int], scale: float, bgr: tuple[int, int, int], thick: int
) -> None:
    import cv2

    cv2.putText(canvas, text, at, FONT, scale, BLACK, thick + 2)
    cv2.putText(canvas, text, at, FONT, scale, bgr, thick)


def _histograms(
    canvas: Pixels, place: tuple[int, int, int, int], brightness: Pixels, source: Pixels, thick: int
) -> None:
    """Of each colour and of the brightness, as lines."""
    import cv2

    x, y, wide, high = place
    bottom = y + high - 1
    cv2.rectangle(canvas, (x, y), (x + wide, bottom), BLACK, -1)
    colours = [(source[..., c], bgr) for c, bgr in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255)))]
    for values, bgr in [*(colours if source.ndim == 3 else []), (brightness, WHITE)]:
        counts = np.bincount(values.ravel(), minlength=256)
        heights = (counts / counts.max() * high).astype(np.int32)
        line = np.column_stack([np.linspace(x, x + wide - 1, 256).astype(np.int32), bottom - heights])
        cv2.polylines(canvas, [line.astype(np.int32)], False, bgr, thick)


BLOCKS: tuple[type[Block], ...] = (CameraFocusV1, CameraFocusV2)
