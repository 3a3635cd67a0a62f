"""Drawing with the annotators of the library `supervision`, which is imported by the first picture. Each step keeps its annotator,
which for traces and heat maps holds what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from runtime.masks import decode, decode_all
from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.blocks.pictures import COLOURED, Drawing, Pixels, colours_of, copies, ink, palette
from runtime.workflow.fields import (
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    RLE_INSTANCE_SEGMENTATION,
    STRING,
    ZERO_TO_ONE,
    Choice,
    Field,
    Number,
    boxes,
    image,
    kinds,
    option,
)
from runtime.workflow.values import ANCHORS, Detections, ImageValue

MASKED = Field("predictions", kinds(INSTANCE_SEGMENTATION, RLE_INSTANCE_SEGMENTATION))
SEGMENTED = Field("predictions", MASKED.kinds | {"semantic_segmentation_prediction"})
POSITION = Choice(tuple(ANCHORS))
PIXELS = Number(1, 10_000, integer=True)


HALO = (
    option("opacity", Number(0, 1), 0.8, ZERO_TO_ONE),
    option("kernel_size", Number(1, 1023, integer=True), 40, INTEGER),
)


def to_supervision(detections: Detections) -> Any:
    """The detections as the library wants them; masks become bitmaps."""
    import supervision as sv

    width, height = detections.image_wh
    masks = None
    if detections.masks:
        masks = decode_all(detections.masks, (height, width))
    return sv.Detections(
        xyxy=np.asarray(detections.xyxy, np.float64).reshape(-1, 4),
        mask=masks,
        confidence=np.asarray(detections.confidence, np.float64),
        class_id=np.asarray(detections.class_id, int),
        tracker_id=None if detections.tracker_id is None else np.asarray(detections.tracker_id, int),
        data={"class_name": np.asarray(detections.class_name, str)},
    )


class Annotated(Drawing):
    """`annotator` makes the library's annotator from the fields of the step; it is kept as long as they stay the same."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._annotators: dict[str, Any] = {}

    def draw(  # type: ignore[override]
        self, canvas: Pixels, *, predictions: Detections, **fields: Any
    ) -> None:
        key = repr(fields)
        annotator = self._annotators.get(key)
        if annotator is None:
            annotator = self._annotators[key] = self.annotator(**self._coloured(fields))
            bounded(self._annotators, 16)
        canvas[:] = annotator.annotate(canvas, to_supervision(predictions))

    def annotator(self, **fields: Any) -> Any:
        raise NotImplementedError

    def _coloured(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields about colours become those of the library."""
        if "color_palette" not in fields:
            return fields
        import supervision as sv

        own = dict(fields)
        axis, custom = own.pop("color_axis"), own.pop("custom_colors")
        names = palette(own.pop("color_palette"), custom, own.pop("palette_size"))
        if not names:
            raise StepFailed("color_palette is CUSTOM and custom_colors is empty: name at least one colour")
        own["color"] = _palette_of(names)
        own["color_lookup"] = sv.ColorLookup[axis]
        return own


def _palette_of(names: Sequence[str]) -> Any:
    """A palette in which a negative number is grey."""
    import supervision as sv

    class Palette(sv.ColorPalette):  # type: ignore[misc]
        def by_idx(self, idx: int) -> Any:
            return sv.Color.GREY if idx < 0 else super().by_idx(idx)

    return Palette([sv.Color.from_bgr_tuple(ink(name)) for name in names])


def _position(name: str) -> Any:
    import supervision as sv

    return sv.Position[name]


class Masks(Annotated):
    types = ("roboflow_core/mask_visualization@v1", "MaskVisualization")
    title = "Mask visualization"
    fields = (image(), copies(), SEGMENTED, *COLOURED, option("opacity", Number(0, 1), 0.5, ZERO_TO_ONE))

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.MaskAnnotator(**fields)


class Traces(Annotated):
    """The way of each track, of its last `trace_length` places."""

    types = ("roboflow_core/trace_visualization@v1",)
    title = "Trace visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("position", POSITION, "CENTER", STRING),
        option("trace_length", Number(1, 10_000, integer=True), 30, INTEGER),
        option("thickness", Number(1, 100, integer=True), 1, INTEGER),
    )

    def draw(self, canvas: Pixels, *, predictions: Detections, **fields: Any) -> None:  # type: ignore[override]
        if predictions.tracker_id is None:
            if len(predictions):
                raise StepFailed("detections have no tracker_id: put a tracker before this step")
            return
        super().draw(canvas, predictions=predictions, **fields)

    def annotator(self, position: str, **fields: Any) -> Any:  # type: ignore[override]
        import supervision as sv

        return sv.TraceAnnotator(position=_position(position), **fields)


class Circles(Annotated):
    types = ("roboflow_core/circle_visualization@v1", "CircleVisualization")
    title = "Circle visualization"
    fields = (image(), copies(), boxes(), *COLOURED, option("thickness", PIXELS, 2, INTEGER))

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.CircleAnnotator(**fields)


class Colours(Annotated):
    types = ("roboflow_core/color_visualization@v1", "ColorVisualization")
    title = "Color visualization"
    fields = (image(), copies(), boxes(), *COLOURED, option("opacity", Number(0, 1), 0.5, ZERO_TO_ONE))

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.ColorAnnotator(**fields)


class Corners(Annotated):
    types = ("roboflow_core/corner_visualization@v1", "CornerVisualization")
    title = "Corner visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("thickness", PIXELS, 4, INTEGER),
        option("corner_length", PIXELS, 15, INTEGER),
    )

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.BoxCornerAnnotator(**fields)


class Crops(Annotated):
    types = ("roboflow_core/crop_visualization@v1", "CropVisualization")
    title = "Crop visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("position", POSITION, "TOP_CENTER", STRING),
        option("scale_factor", Number(0.01, 20), 2.0, FLOAT),
        option("border_thickness", Number(0, 100, integer=True), 2, INTEGER),
    )

    def run(self, image: ImageValue, copy_image: bool, **fields: Any) -> ImageValue:
        """Parts of the picture are shown elsewhere in it."""
        drawn = super().run(image, copy_image, **fields)
        return image.redrawn(drawn.image)

    def annotator(self, position: str, **fields: Any) -> Any:  # type: ignore[override]
        import supervision as sv

        fields["border_color"], fields["border_color_lookup"] = (
            fields.pop("color"),
            fields.pop("color_lookup"),
        )
        return sv.CropAnnotator(position=_position(position), **fields)


class Dots(Annotated):
    types = ("roboflow_core/dot_visualization@v1", "DotVisualization")
    title = "Dot visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("position", POSITION, "CENTER", STRING),
        option("radius", PIXELS, 4, INTEGER),
        option("outline_thickness", Number(0, 100, integer=True), 0, INTEGER),
    )

    def annotator(self, position: str, **fields: Any) -> Any:  # type: ignore[override]
        import supervision as sv

        return sv.DotAnnotator(position=_position(position), **fields)


class Ellipses(Annotated):
    types = ("roboflow_core/ellipse_visualization@v1", "EllipseVisualization")
    title = "Ellipse visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("thickness", PIXELS, 2, INTEGER),
        option("start_angle", Number(-360, 360, integer=True), -45, INTEGER),
        option("end_angle", Number(-360, 360, integer=True), 235, INTEGER),
    )

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.EllipseAnnotator(**fields)


class HalosV2(Annotated):
    types = ("roboflow_core/halo_visualization@v2",)
    title = "Halo visualization"
    fields = (image(), copies(), MASKED, *COLOURED, *HALO)

    def draw(self, canvas: Pixels, *, predictions: Detections, **fields: Any) -> None:  # type: ignore[override]
        if len(predictions):
            super().draw(canvas, predictions=predictions, **fields)

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.HaloAnnotator(**fields)


class HalosV1(Drawing):
    """A glow of each mask's colour around it, always as wide as of a `kernel_size` of 40."""

    types = ("roboflow_core/halo_visualization@v1", "HaloVisualization")
    title = "Halo visualization"
    fields = (image(), copies(), MASKED, *COLOURED, *HALO)

    def draw(  # type: ignore[override]
        self, canvas: Pixels, *, predictions: Detections, opacity: float, kernel_size: int, **colours: Any
    ) -> None:
        import cv2

        if not predictions.masks:
            return
        glow, covered = np.zeros_like(canvas), np.zeros(canvas.shape[:2], bool)
        inks = colours_of(predictions, **colours)
        masks = [decode(mask) for mask in predictions.masks]
        for i in np.argsort([-int(mask.sum()) for mask in masks], kind="stable"):
            glow[masks[i]] = inks[i]
            covered |= masks[i]
        glow = np.asarray(cv2.blur(glow, (40, 40)), np.uint8)
        glow[covered] = 0
        strength = np.asarray(cv2.cvtColor(glow, cv2.COLOR_BGR2GRAY), np.float64)
        share = opacity * strength / max(strength.max(), 1.0)
        canvas[:] = np.clip(canvas * (1 - share[..., None]) + glow * opacity, 0, 255).astype(np.uint8)


class Triangles(Annotated):
    types = ("roboflow_core/triangle_visualization@v1", "TriangleVisualization")
    title = "Triangle visualization"
    fields = (
        image(),
        copies(),
        boxes(),
        *COLOURED,
        option("position", POSITION, "TOP_CENTER", STRING),
        option("base", PIXELS, 10, INTEGER),
        option("height", PIXELS, 10, INTEGER),
        option("outline_thickness", Number(0, 100, integer=True), 0, INTEGER),
    )

    def annotator(self, position: str, **fields: Any) -> Any:  # type: ignore[override]
        import supervision as sv

        return sv.TriangleAnnotator(position=_position(position), **fields)


class Pixelated(Annotated):
    types = ("roboflow_core/pixelate_visualization@v1", "PixelateVisualization")
    title = "Pixelate visualization"
    fields = (image(), copies(), boxes(), option("pixel_size", PIXELS, 20, INTEGER))

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.PixelateAnnotator(**fields)


class PolygonsV1(Annotated):
    types: ClassVar[tuple[str, ...]] = ("roboflow_core/polygon_visualization@v1", "PolygonVisualization")
    title = "Polygon visualization"
    fields = (image(), copies(), MASKED, *COLOURED, option("thickness", PIXELS, 2, INTEGER))

    def annotator(self, **fields: Any) -> Any:
        import supervision as sv

        return sv.PolygonAnnotator(**fields)


class PolygonsV2(PolygonsV1):
    types = ("roboflow_core/polygon_visualization@v2",)


BLOCKS: tuple[type[Block], ...] = (
    Masks,
    Traces,
    Circles,
    Colours,
    Corners,
    Crops,
    Dots,
    Ellipses,
    HalosV1,
    HalosV2,
    Triangles,
    Pixelated,
    PolygonsV1,
    PolygonsV2,
)
