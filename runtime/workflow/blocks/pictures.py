"""Blocks that draw on the camera's picture, and its colours: boxes, a counting line. Each gives a picture of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import (
    BOOLEAN,
    FLOAT,
    IMAGE,
    INTEGER,
    LIST,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Field,
    Flag,
    ListOf,
    Number,
    Report,
    Schema,
    Segment,
    boxes,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.values import Detections, ImageValue
from wire.problem import shown

Bgr: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = npt.NDArray[np.uint8]

PALETTES = {
    "DEFAULT": [
        "#a351fb",
        "#ff4040",
        "#ffa1a0",
        "#ff7633",
        "#ffb633",
        "#d1d435",
        "#4cfb12",
        "#94cf1a",
        "#40de8a",
        "#1b9640",
        "#00d6c1",
        "#2e9caa",
        "#00c4ff",
        "#364797",
        "#6675ff",
        "#0019ef",
        "#863aff",
        "#530087",
        "#cd3aff",
        "#ff97ca",
        "#ff39c9",
    ],
    "ROBOFLOW": ["#c28dfc", "#a351fb", "#8315f9", "#6706ce", "#5905b3", "#4d049a"],
}
"""Colours by the names that the workflow editor offers."""
MATPLOTLIB = tuple(
    f"Matplotlib {name}"
    for name in (
        *("Viridis", "Plasma", "Inferno", "Magma", "Cividis", "Pastel1", "Pastel2", "Paired", "Accent"),
        *("Dark2", "Set1", "Set2", "Set3", "Tab10", "Tab20", "Tab20b", "Tab20c"),
    )
)
"""Palettes that are worked out by matplotlib, `palette_size` colours of each."""
_NAMED = {
    "black": "#000000",
    "white": "#ffffff",
    "grey": "#808080",
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "yellow": "#ffff00",
    "roboflow": "#a351fb",
}
_UNKNOWN_BGR = (128, 128, 128)
"""Of a class or a track with a negative number."""
_HEX = re.compile(r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")
_RGB = re.compile(r"^(rgb|bgr)\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)$")
FONT = 0
"""cv2.FONT_HERSHEY_SIMPLEX; cv2 is imported only where something is drawn."""


@lru_cache(maxsize=256)
def colour(text: str) -> Bgr | None:
    """`#rgb`, `#rrggbb`, `rgb(r, g, b)`, `bgr(b, g, r)` or one of a few names; None for anything else."""
    text = _NAMED.get(text.strip().lower(), text.strip())
    if found := _HEX.match(text):
        digits = found[1] if len(found[1]) == 6 else "".join(digit * 2 for digit in found[1])
        return int(digits[4:6], 16), int(digits[2:4], 16), int(digits[0:2], 16)
    if found := _RGB.match(text.lower()):
        first, green, last = (min(255, int(part)) for part in found.groups()[1:])
        return (last, green, first) if found[1] == "rgb" else (first, green, last)
    return None


def ink(text: str) -> Bgr:
    """As `colour`.

    :raises StepFailed: no colour
    """
    found = colour(text) if isinstance(text, str) else None
    if found is None:
        raise StepFailed(f"{shown(text)} is no colour: {Colour.EXPECTED}")
    return found


@dataclass(frozen=True)
class Colour:
    """The text of a colour."""

    EXPECTED: ClassVar[str] = f"#rrggbb, rgb(r, g, b) or one of {', '.join(_NAMED)}"

    def read(self, value: Any, path: str, report: Report) -> str:
        if not isinstance(value, str) or colour(value) is None:
            report.wrong(path, value, self.EXPECTED)
            return "#000000"
        return value

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": 32}


def copies() -> Field:
    """Whether the original's picture is left alone; here it always is."""
    return option("copy_image", Flag(), True, BOOLEAN)


_IMAGE = (image(), copies())
COLOURED: tuple[Field, ...] = (
    option("color_palette", Choice((*PALETTES, "CUSTOM", *MATPLOTLIB)), "DEFAULT", STRING),
    option("palette_size", Number(1, 4096, integer=True), 10, INTEGER),
    option("custom_colors", ListOf(Colour()), [], LIST),
    option("color_axis", Choice(("INDEX", "CLASS", "TRACK")), "CLASS", STRING),
)


def colours_of(
    detections: Detections,
    color_palette: str,
    custom_colors: Sequence[str],
    color_axis: str,
    palette_size: int = 10,
) -> list[Bgr]:
    """The colour of each detection: by its place in the list, its class or its track.

    :raises StepFailed: CUSTOM without colours, or TRACK without tracks
    """
    texts = palette(color_palette, custom_colors, palette_size)
    if not texts:
        raise StepFailed("color_palette is CUSTOM and custom_colors is empty: name at least one colour")
    if color_axis == "INDEX":
        keys = list(range(len(detections)))
    elif color_axis == "CLASS":
        keys = detections.class_id.tolist()
    elif detections.tracker_id is not None:
        keys = detections.tracker_id.tolist()
    elif len(detections):
        raise StepFailed("color_axis is TRACK and nothing was tracked: put a tracker before this step")
    else:
        keys = []
    return [ink(texts[key % len(texts)]) if key >= 0 else _UNKNOWN_BGR for key in keys]


def palette(name: str, custom_colors: Sequence[str], size: int) -> Sequence[str]:
    """The colours of a palette, as texts."""
    if name == "CUSTOM":
        return custom_colors
    return PALETTES[name] if name in PALETTES else _worked_out(name.removeprefix("Matplotlib ").lower(), size)


@lru_cache(maxsize=64)
def _worked_out(name: str, size: int) -> Sequence[str]:
    from supervision import ColorPalette

    own = name.capitalize() if name[:3] in ("pas", "pai", "acc", "dar", "set") else name
    return [colour.as_hex() for colour in ColorPalette.from_matplotlib(own, size).colors]


class Drawing(Block):
    """Draws detections. `draw` works on a canvas that belongs to it."""

    outputs = gives(image=kinds(IMAGE))

    def run(self, image: ImageValue, copy_image: bool, **fields: Any) -> ImageValue:
        canvas: Pixels = np.array(image.image, np.uint8, order="C")
        self.draw(canvas, **fields)
        return image.drawn_over(canvas)

    def draw(self, canvas: Pixels, **fields: Any) -> None:
        raise NotImplementedError


class BoundingBoxes(Drawing):
    """A frame round each detection; `roundness` is the share of its shorter half that the corners take."""

    types = ("roboflow_core/bounding_box_visualization@v1", "BoundingBoxVisualization")
    title = "Bounding box visualization"
    fields = (
        *_IMAGE,
        boxes(),
        *COLOURED,
        option("thickness", Number(1, 100, integer=True), 2, INTEGER),
        option("roundness", Number(0, 1), 0.0, ZERO_TO_ONE, FLOAT),
    )

    def draw(  # type: ignore[override]
        self,
        canvas: Pixels,
        *,
        predictions: Detections,
        color_palette: str,
        custom_colors: Sequence[str],
        color_axis: str,
        palette_size: int,
        thickness: int,
        roundness: float,
    ) -> None:
        import cv2

        colours = colours_of(predictions, color_palette, custom_colors, color_axis, palette_size)
        for box, bgr in zip(predictions.xyxy.astype(int).tolist(), colours, strict=True):
            radius = int(min(box[2] - box[0], box[3] - box[1]) / 2 * roundness)
            if radius > 0:
                _round_frame(canvas, box, radius, bgr, thickness)
            else:
                cv2.rectangle(canvas, (box[0], box[1]), (box[2], box[3]), bgr, thickness)


def _round_frame(canvas: Pixels, box: Sequence[int], radius: int, bgr: Bgr, thickness: int) -> None:
    import cv2

    x1, y1, x2, y2 = box
    for start, end in (
        ((x1 + radius, y1), (x2 - radius, y1)),
        ((x1 + radius, y2), (x2 - radius, y2)),
        ((x1, y1 + radius), (x1, y2 - radius)),
        ((x2, y1 + radius), (x2, y2 - radius)),
    ):
        cv2.line(canvas, start, end, bgr, thickness)
    for centre, angle in (
        ((x1 + radius, y1 + radius), 180),
        ((x2 - radius, y1 + radius), 270),
        ((x2 - radius, y2 - radius), 0),
        ((x1 + radius, y2 - radius), 90),
    ):
        cv2.ellipse(canvas, centre, (radius, radius), angle, 0, 90, bgr, thickness)


class CountingLine(Drawing):
    """A line laid over the picture, and the counts at its first point."""

    types = ("roboflow_core/line_counter_visualization@v1",)
    title = "Line counter visualization"
    fields = (
        *_IMAGE,
        need("zone", Segment(), LIST),
        option("color", Colour(), "#5bb573", STRING),
        option("thickness", Number(1, 100, integer=True), 2, INTEGER),
        option("text_thickness", Number(1, 100, integer=True), 1, INTEGER),
        option("text_scale", Number(0.05, 50), 1.0, FLOAT),
        option("count_in", Number(integer=True), 0, INTEGER),
        option("count_out", Number(integer=True), 0, INTEGER),
        option("opacity", Number(0, 1), 0.3, ZERO_TO_ONE, FLOAT),
    )

    def draw(  # type: ignore[override]
        self,
        canvas: Pixels,
        *,
        zone: Any,
        color: str,
        thickness: int,
        text_thickness: int,
        text_scale: float,
        count_in: int,
        count_out: int,
        opacity: float,
    ) -> None:
        import cv2

        line = np.asarray(zone, np.float64)
        if line.shape != (2, 2) or not np.isfinite(line).all() or np.abs(line).max() > 1e6:
            raise StepFailed(f"zone takes two points [[x, y], [x, y]], got {shown(zone)}")
        start, end = ((int(x), int(y)) for x, y in line.tolist())
        layer = cv2.line(np.zeros_like(canvas), start, end, ink(color), thickness)
        cv2.addWeighted(layer, opacity, canvas, 1, 0, dst=canvas)
        _write_around(canvas, start, f"in: {count_in}, out: {count_out}", text_scale, text_thickness)


def _write_around(canvas: Pixels, centre: tuple[int, int], words: str, scale: float, thickness: int) -> None:
    """Black words on a white plate, in the middle of which the point lies."""
    import cv2

    (width, height), _ = cv2.getTextSize(words, FONT, scale, thickness)
    left, top = centre[0] - width // 2, centre[1] - height // 2
    cv2.rectangle(canvas, (left, top), (left + width, top + height), (255, 255, 255), cv2.FILLED)
    at = (left, centre[1] + height // 2)
    cv2.putText(canvas, words, at, FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)


BLOCKS = (BoundingBoxes, CountingLine)
