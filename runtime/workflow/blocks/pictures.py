"""Blocks that draw on the camera's picture: boxes, labels, a counting line. Each gives a picture of its own."""

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
from runtime.workflow.values import ANCHORS, Detections, ImageValue, anchor_points
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
_NAMED = {
    "black": "#000000",
    "white": "#ffffff",
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "yellow": "#ffff00",
}
_HEX = re.compile(r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")
_RGB = re.compile(r"^rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)$")
_FONT = 0
"""cv2.FONT_HERSHEY_SIMPLEX; cv2 is imported only where something is drawn."""
_LABELS = (
    "Class",
    "Confidence",
    "Class and Confidence",
    "Index",
    "Dimensions",
    "Area",
    "Tracker Id",
    "Time In Zone",
)


@lru_cache(maxsize=256)
def colour(text: str) -> Bgr | None:
    """`#rgb`, `#rrggbb`, `rgb(r, g, b)` or one of a few names; None for anything else."""
    text = _NAMED.get(text.strip().lower(), text.strip())
    if found := _HEX.match(text):
        digits = found[1] if len(found[1]) == 6 else "".join(digit * 2 for digit in found[1])
        return int(digits[4:6], 16), int(digits[2:4], 16), int(digits[0:2], 16)
    if found := _RGB.match(text.lower()):
        red, green, blue = (min(255, int(part)) for part in found.groups())
        return blue, green, red
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


_IMAGE = (image(), option("copy_image", Flag(), True, BOOLEAN))
_COLOURED: tuple[Field, ...] = (
    option("color_palette", Choice((*PALETTES, "CUSTOM")), "DEFAULT", STRING),
    option("palette_size", Number(1, 4096, integer=True), 10, INTEGER),
    option("custom_colors", ListOf(Colour()), [], LIST),
    option("color_axis", Choice(("INDEX", "CLASS", "TRACK")), "CLASS", STRING),
)


def colours_of(
    detections: Detections, color_palette: str, custom_colors: Sequence[str], color_axis: str
) -> list[Bgr]:
    """The colour of each detection: by its place in the list, its class or its track.

    :raises StepFailed: CUSTOM without colours, or TRACK without tracks
    """
    texts = custom_colors if color_palette == "CUSTOM" else PALETTES[color_palette]
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
    return [ink(texts[key % len(texts)]) for key in keys]


class _Drawing(Block):
    """Draws detections. `draw` works on a canvas that belongs to it."""

    outputs = gives(image=kinds(IMAGE))

    def run(self, image: ImageValue, copy_image: bool, **fields: Any) -> ImageValue:
        canvas: Pixels = np.array(image.image, np.uint8, order="C")
        self.draw(canvas, **fields)
        return image.redrawn(canvas)

    def draw(self, canvas: Pixels, **fields: Any) -> None:
        raise NotImplementedError


class BoundingBoxes(_Drawing):
    """A frame round each detection; `roundness` is the share of its shorter half that the corners take."""

    types = ("roboflow_core/bounding_box_visualization@v1", "BoundingBoxVisualization")
    title = "Bounding box visualization"
    fields = (
        *_IMAGE,
        boxes(),
        *_COLOURED,
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
        thickness: int,
        roundness: float,
        **_: Any,
    ) -> None:
        import cv2

        colours = colours_of(predictions, color_palette, custom_colors, color_axis)
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


class Labels(_Drawing):
    """Words at each detection, on a plate of its colour, within the picture."""

    types = ("roboflow_core/label_visualization@v1", "LabelVisualization")
    title = "Label visualization"
    fields = (
        *_IMAGE,
        boxes(),
        *_COLOURED,
        option("text", Choice(_LABELS), "Class", STRING),
        option("text_position", Choice(tuple(ANCHORS)), "TOP_LEFT", STRING),
        option("text_color", Colour(), "WHITE", STRING),
        option("text_scale", Number(0.05, 50), 1.0, FLOAT),
        option("text_thickness", Number(1, 100, integer=True), 1, INTEGER),
        option("text_padding", Number(0, 1000, integer=True), 10, INTEGER),
        option("border_radius", Number(0, 1000, integer=True), 0, INTEGER),
    )

    def draw(  # type: ignore[override]
        self,
        canvas: Pixels,
        *,
        predictions: Detections,
        color_palette: str,
        custom_colors: Sequence[str],
        color_axis: str,
        text: str,
        text_position: str,
        text_color: str,
        text_scale: float,
        text_thickness: int,
        text_padding: int,
        **_: Any,
    ) -> None:
        colours = colours_of(predictions, color_palette, custom_colors, color_axis)
        points = anchor_points(predictions, text_position) if len(predictions) else np.zeros((0, 2))
        for words, point, bgr in zip(_words(predictions, text), points.tolist(), colours, strict=True):
            plate = Plate(words, text_scale, text_thickness, text_padding)
            plate.draw(canvas, plate.place(canvas, point, text_position), ink(text_color), bgr)


def _words(detections: Detections, text: str) -> list[str]:
    """What is written at each detection.

    :raises StepFailed: the detections do not have what is asked for
    """
    names = [str(name) for name in detections.class_name]
    confidences = [f"{value:.2f}" for value in detections.confidence.tolist()]
    if text == "Tracker Id" and detections.tracker_id is None:
        return ["No Tracker Id"] * len(names)
    if text == "Time In Zone":
        seconds = detections.data.get("time_in_zone")
        return (
            [f"{v:.2f}s" for v in seconds.tolist()] if seconds is not None else ["In zone: N/A"] * len(names)
        )
    sizes = (detections.xyxy[:, 2:] - detections.xyxy[:, :2]).tolist()
    ids = [] if detections.tracker_id is None else detections.tracker_id.tolist()
    choices: dict[str, list[str]] = {
        "Class": names,
        "Confidence": confidences,
        "Class and Confidence": [f"{n} {c}" for n, c in zip(names, confidences, strict=True)],
        "Index": [str(i) for i in range(len(names))],
        "Dimensions": [f"{round(w)} x {round(h)} px" for w, h in sizes],
        "Area": [str(int(w * h)) for w, h in sizes],
        "Tracker Id": [str(number) for number in ids],
    }
    return choices[text]


@dataclass(frozen=True)
class Plate:
    """Words on a filled rectangle."""

    words: str
    scale: float
    thickness: int
    padding_px: int

    @property
    def text_wh(self) -> tuple[int, int]:
        import cv2

        (width, height), _ = cv2.getTextSize(self._plain, _FONT, self.scale, self.thickness)
        return int(width), int(height)

    @property
    def _plain(self) -> str:
        """OpenCV's letters are ASCII."""
        return self.words.encode("ascii", "replace").decode()

    def place(self, canvas: Pixels, point: Sequence[float], position: str) -> tuple[int, int]:
        """The plate's top left corner: above, at or below the point as the position's name says, within the picture."""
        width, height = (side + 2 * self.padding_px for side in self.text_wh)
        x, y = int(point[0]), int(point[1])
        left = x if "LEFT" in position else x - width if "RIGHT" in position else x - width // 2
        top = y - height if "TOP" in position else y if "BOTTOM" in position else y - height // 2
        return (
            min(max(0, left), max(0, canvas.shape[1] - width)),
            min(max(0, top), max(0, canvas.shape[0] - height)),
        )

    def draw(self, canvas: Pixels, corner: tuple[int, int], text_bgr: Bgr, plate_bgr: Bgr) -> None:
        import cv2

        (left, top), (width, height) = corner, self.text_wh
        far = (left + width + 2 * self.padding_px, top + height + 2 * self.padding_px)
        cv2.rectangle(canvas, corner, far, plate_bgr, cv2.FILLED)
        start = (left + self.padding_px, top + self.padding_px + height)
        cv2.putText(canvas, self._plain, start, _FONT, self.scale, text_bgr, self.thickness, cv2.LINE_AA)


class CountingLine(_Drawing):
    """A line that lets the picture shine through, and the counts at its first point."""

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
        bgr = ink(color)
        start, end = ((round(x), round(y)) for x, y in line.tolist())
        solid = cv2.line(canvas.copy(), start, end, bgr, thickness)
        cv2.addWeighted(solid, opacity, canvas, 1 - opacity, 0, dst=canvas)
        plate = Plate(f"in: {count_in}, out: {count_out}", text_scale, text_thickness, 4)
        plate.draw(canvas, plate.place(canvas, start, "BOTTOM_LEFT"), (255, 255, 255), bgr)


BLOCKS = (BoundingBoxes, Labels, CountingLine)
