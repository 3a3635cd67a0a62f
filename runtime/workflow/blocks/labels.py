"""Words on the picture, at each detection. Letters are OpenCV's: ASCII."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from runtime.workflow.block import Block
from runtime.workflow.blocks.pictures import (
    COLOURED,
    FONT,
    Bgr,
    Colour,
    Drawing,
    Pixels,
    colours_of,
    copies,
    ink,
)
from runtime.workflow.fields import FLOAT, INTEGER, STRING, Choice, Field, Number, boxes, image, option
from runtime.workflow.values import ANCHORS, Detections, anchor_points


def _column(name: str, form: str, otherwise: str) -> Callable[[Detections], list[str]]:
    def words(detections: Detections) -> list[str]:
        values = detections.data.get(name)
        if values is None:
            return [otherwise] * len(detections)
        return [form.format(value) if value is not None else otherwise for value in values.tolist()]

    return words


def _dimensions(detections: Detections) -> list[str]:
    sides = (detections.xyxy[:, 2:] - detections.xyxy[:, :2]).astype(int).tolist()
    centres = detections.centres.astype(int).tolist()
    return [f"{x}, {y} {w}x{h}" for (x, y), (w, h) in zip(centres, sides, strict=True)]


def _both(detections: Detections) -> list[str]:
    pairs = zip(detections.class_name.tolist(), detections.confidence.tolist(), strict=True)
    return [f"{name} {score:.2f}" for name, score in pairs]


def _track_ids(detections: Detections) -> list[str]:
    if detections.tracker_id is None:
        return ["No Tracker ID"] * len(detections)
    return [str(track) for track in detections.tracker_id.tolist()]


def _time_in_zone(detections: Detections) -> list[str]:
    seconds = detections.data.get("time_in_zone")
    known = [None] * len(detections) if seconds is None else seconds.tolist()
    return [f"In zone: {round(s, 2)}s" if s else "In zone: N/A" for s in known]


WORDS: dict[str, Callable[[Detections], list[str]]] = {
    "Class": lambda d: [str(name) for name in d.class_name.tolist()],
    "Confidence": lambda d: [f"{score:.2f}" for score in d.confidence.tolist()],
    "Class and Confidence": _both,
    "Index": lambda d: [str(i) for i in range(len(d))],
    "Dimensions": _dimensions,
    "Area": lambda d: [str(int(area)) for area in d.areas.tolist()],
    "Area (mask)": _column("area_px", "Area (mask): {:.2f}", "Area (mask): N/A"),
    "Area (converted)": _column("area_converted", "Area (conv): {:.2f}", "Area (conv): N/A"),
    "Tracker Id": _track_ids,
    "Time In Zone": _time_in_zone,
}
"""What can be written at each detection."""


class LabelsV1(Drawing):
    """Words at each detection, on a plate of its colour; what lies beyond the picture is cut off."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/label_visualization@v1", "LabelVisualization")
    title = "Label visualization"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("text", Choice(tuple(WORDS)), "Class", STRING),
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
        palette_size: int,
        text: str,
        text_position: str,
        text_color: str,
        text_scale: float,
        text_thickness: int,
        text_padding: int,
        border_radius: int,
    ) -> None:
        if not len(predictions):
            return
        colours = colours_of(predictions, color_palette, custom_colors, color_axis, palette_size)
        points = anchor_points(predictions, text_position)
        for words, point, bgr in zip(WORDS[text](predictions), points.tolist(), colours, strict=True):
            plate = Plate(words, text_scale, text_thickness, text_padding, border_radius)
            plate.draw(canvas, plate.place(point, text_position), ink(text_color), bgr)


class LabelsV2(LabelsV1):
    """`text_size_mode` Automatic: `text_scale` is meant for pictures whose shorter side is 1,080 px."""

    types = ("roboflow_core/label_visualization@v2",)
    fields = (*LabelsV1.fields, option("text_size_mode", Choice(("Manual", "Automatic")), "Manual", STRING))

    def draw(  # type: ignore[override]
        self, canvas: Pixels, *, text_size_mode: str, text_scale: float, **fields: Any
    ) -> None:
        if text_size_mode == "Automatic":
            text_scale = min(max(text_scale * min(canvas.shape[:2]) / 1080, 0.3), 5.0)
        super().draw(canvas, text_scale=text_scale, **fields)


@dataclass(frozen=True)
class Plate:
    """Words on a filled rectangle, which may have round corners."""

    words: str
    scale: float
    thickness: int
    padding_px: int
    radius_px: int = 0

    @property
    def _plain(self) -> str:
        return self.words.encode("ascii", "replace").decode()

    @property
    def text_wh(self) -> tuple[int, int]:
        import cv2

        (width, height), _ = cv2.getTextSize(self._plain, FONT, self.scale, self.thickness)
        return int(width), int(height)

    def place(self, point: Sequence[float], position: str) -> tuple[int, int, int, int]:
        """The plate's corners x1 y1 x2 y2: above, beside, at or below the point, as the position's name says."""
        width, height = (side + 2 * self.padding_px for side in self.text_wh)
        x, y = int(point[0]), int(point[1])
        if position in ("CENTER_LEFT", "CENTER_RIGHT"):
            x1, x2 = (x - width, x) if position == "CENTER_LEFT" else (x, x + width)
        elif "LEFT" in position or "RIGHT" in position:
            x1, x2 = (x, x + width) if "LEFT" in position else (x - width, x)
        else:
            x1, x2 = x - width // 2, x + width // 2
        if "TOP" in position or "BOTTOM" in position:
            y1, y2 = (y - height, y) if "TOP" in position else (y, y + height)
        else:
            y1, y2 = y - height // 2, y + height // 2
        return x1, y1, x2, y2

    def draw(self, canvas: Pixels, corners: Sequence[int], text_bgr: Bgr, plate_bgr: Bgr) -> None:
        import cv2

        left, top = corners[:2]
        _filled(canvas, corners, self.radius_px, plate_bgr)
        start = (left + self.padding_px, top + self.padding_px + self.text_wh[1])
        cv2.putText(canvas, self._plain, start, FONT, self.scale, text_bgr, self.thickness, cv2.LINE_AA)


def _filled(canvas: Pixels, corners: Sequence[int], radius: int, bgr: Bgr) -> None:
    """A filled rectangle with round corners."""
    import cv2

    x1, y1, x2, y2 = corners
    radius = max(0, min(radius, min(x2 - x1, y2 - y1) // 2))
    cv2.rectangle(canvas, (x1 + radius, y1), (x2 - radius, y2), bgr, cv2.FILLED)
    if radius:
        cv2.rectangle(canvas, (x1, y1 + radius), (x2, y2 - radius), bgr, cv2.FILLED)
        for x in (x1 + radius, x2 - radius):
            for y in (y1 + radius, y2 - radius):
                cv2.circle(canvas, (x, y), radius, bgr, cv2.FILLED)


BLOCKS: tuple[type[Block], ...] = (LabelsV1, LabelsV2)
