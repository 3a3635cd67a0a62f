"""What moves against its background, without a model: a mixture of Gaussians for each pixel, one background a step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import (
    BOOLEAN,
    IMAGE,
    INTEGER,
    LIST,
    OBJECT_DETECTION,
    ZONE,
    Either,
    Flag,
    ListOf,
    Nothing,
    Number,
    Text,
    gives,
    image,
    kinds,
    option,
)
from runtime.workflow.geometry import polygon_problem
from runtime.workflow.values import Array, Detections, ImageValue, objects
from wire.problem import shown

FRAMES = Number(1, 100_000, integer=True)
POINTS = ListOf(ListOf(Number(-1e6, 1e6), min_items=2, max_items=2))
MAX_CONTOURS = 1024
"""Regions of one frame; the largest ones."""


class _Background:
    """The background of one video, and whether something moved in the frame before."""

    def __init__(self, history: int, threshold: float) -> None:
        import cv2

        self._model = cv2.createBackgroundSubtractorMOG2(
            history=history, varThreshold=threshold, detectShadows=True
        )
        self.frames = 0
        self.moved = False

    def foreground(self, pixels: Any) -> Array:
        """(H, W) uint8: 255 moves, 127 is the shadow of it."""
        return np.asarray(self._model.apply(pixels), np.uint8)


class BackgroundSubtraction(Block):
    """White is what moves, grey its shadow."""

    types = ("roboflow_core/background_subtraction@v1",)
    title = "Background subtraction"
    fields = (image(), option("threshold", FRAMES, 16, INTEGER), option("history", FRAMES, 30, INTEGER))
    outputs = gives(image=kinds(IMAGE))

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._backgrounds: dict[str, _Background] = {}

    def background(self, image: ImageValue, history: int, threshold: int) -> _Background:
        video = image.metadata.video_identifier
        known = self._backgrounds.get(video)
        if known is None:
            known = self._backgrounds[video] = _Background(history, threshold)
            bounded(self._backgrounds, 16)
        return known

    def run(self, image: ImageValue, threshold: int, history: int) -> Any:
        mask = self.background(image, history, threshold).foreground(image.image)
        return image.redrawn(np.stack([mask] * 3, axis=2))


class MotionDetection(BackgroundSubtraction):
    """Regions that move, as boxes and outlines, within a zone where one is given. `alarm` is set in the first frame with motion.
    With `suppress_first_detections` the first `history` frames only teach the background."""

    types = ("roboflow_core/motion_detection@v1",)
    title = "Motion detection"
    fields = (  # type: ignore[assignment]
        image(),
        option("minimum_contour_area", Number(1, integer=True), 200, INTEGER),
        option("morphological_kernel_size", Number(1, 255, integer=True), 3, INTEGER),
        option("threshold", FRAMES, 16, INTEGER),
        option("history", FRAMES, 30, INTEGER),
        option("detection_zone", Either((Nothing(), POINTS, Text())), None, ZONE, LIST),
        option("suppress_first_detections", Flag(), True, BOOLEAN),
    )
    outputs = gives(
        motion=kinds(BOOLEAN),
        alarm=kinds(BOOLEAN),
        detections=kinds(OBJECT_DETECTION),
        motion_zones=kinds(LIST),
    )

    def run(  # type: ignore[override]
        self,
        image: ImageValue,
        minimum_contour_area: int,
        morphological_kernel_size: int,
        threshold: int,
        history: int,
        detection_zone: Any,
        suppress_first_detections: bool,
    ) -> tuple[Any, ...]:
        zone = _zone(detection_zone)
        background = self.background(image, history, threshold)
        mask = background.foreground(image.image)
        if background.frames < history and suppress_first_detections:
            background.frames += 1
            return False, False, self._detections([], image), []
        regions = _regions(mask, morphological_kernel_size, minimum_contour_area)
        if zone is not None:
            regions = [part for region in regions for part in _clipped(region, zone)]
        outlines = [o for region in regions if len(o := _simple(region)) >= 3]
        moved, before = bool(regions), background.moved
        background.moved = moved
        found = self._detections(outlines, image)
        return moved, moved and not before, found, [o.tolist() for o in outlines]

    def _detections(self, outlines: list[Array], image: ImageValue) -> Detections:
        count = len(outlines)
        boxes = [[*o.min(axis=0), *(o.max(axis=0) + 1)] for o in outlines]
        return Detections(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.ones(count),
            np.zeros(count, np.int64),
            objects(["motion"] * count),
            self.around.ids.take(count),
            image.wh,
            origin=image.origin,
        )


def _zone(value: Any) -> Array | None:
    """:raises StepFailed: neither points nor their JSON"""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value else None
        except (ValueError, RecursionError) as e:
            raise StepFailed(f"detection_zone takes points, or their JSON; got {shown(value)}") from e
    if value is None or (isinstance(value, list) and not value):
        return None
    if problem := polygon_problem(value):
        raise StepFailed(f"detection_zone takes {problem}, got {shown(value)}")
    return np.asarray(value, np.float64)


def _regions(mask: Array, kernel_px: int, least_area_px: int) -> list[Array]:
    """Outlines (N, 2) of what is large enough, specks taken away first."""
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    found, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    large = [c.reshape(-1, 2) for c in found if len(c) > 2 and cv2.contourArea(c) > least_area_px]
    if len(large) > MAX_CONTOURS:
        large = sorted(large, key=cv2.contourArea, reverse=True)[:MAX_CONTOURS]
    return [np.asarray(c, np.int32) for c in large]


def _clipped(region: Array, zone: Array) -> list[Array]:
    """The parts of a region within a zone, on whole pixels."""
    import cv2

    low, high = region.min(axis=0), region.max(axis=0) + 1
    size = (high[1] - low[1], high[0] - low[0])
    inside, allowed = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    cv2.fillPoly(inside, [region - low], (1,))
    cv2.fillPoly(allowed, [(zone - low).astype(np.int32)], (1,))
    found, _ = cv2.findContours(inside & allowed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(c.reshape(-1, 2) + low, np.int32) for c in found if len(c) >= 3]


def _simple(region: Array) -> Array:
    import cv2

    epsilon = 0.01 * cv2.arcLength(region, True)
    return np.asarray(cv2.approxPolyDP(region, epsilon, True).reshape(-1, 2), np.int32)


BLOCKS: tuple[type[Block], ...] = (BackgroundSubtraction, MotionDetection)
