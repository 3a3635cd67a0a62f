"""How far a track strays from the path it should take."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.analytics import ANCHOR, Tracks, track_ids
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import (
    INSTANCE_SEGMENTATION,
    LIST,
    OBJECT_DETECTION,
    STRING,
    VIDEO_METADATA,
    Field,
    ListOf,
    Number,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.values import Array, Detections, ImageValue, VideoMetadata, anchor_points
from wire.problem import shown

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
PATH = ListOf(ListOf(Number(-1e6, 1e6), min_items=2, max_items=2), min_items=1)


class PathDeviationV2(Block):
    """Adds `path_deviation`: the discrete Fréchet distance, in pixels, of the way a track has gone so far to the reference path.
    Only the last row of its table is kept for a track, however long the way."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/path_deviation_analytics@v2",)
    title = "Path deviation"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        Field("detections", OBJECTS),
        option("triggering_anchor", ANCHOR, "CENTER", STRING),
        need("reference_path", PATH, LIST),
    )
    outputs = gives(path_deviation_detections=OBJECTS)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._rows: dict[str, Tracks[Array]] = {}

    def run(self, image: ImageValue, **values: Any) -> Detections:
        return self.measured(image.metadata, **values)

    def measured(
        self, metadata: VideoMetadata, detections: Detections, triggering_anchor: str, reference_path: Any
    ) -> Detections:
        try:
            path = np.asarray(reference_path, np.float64)[:, :2]
        except (IndexError, TypeError, ValueError) as e:
            raise StepFailed(f"reference_path takes points [[x, y], …], got {shown(reference_path)}") from e
        rows = self._rows.setdefault(metadata.video_identifier, Tracks())
        bounded(self._rows)
        far = np.zeros(len(detections))
        points = anchor_points(detections, triggering_anchor) if len(detections) else np.zeros((0, 2))
        for i, track in enumerate(track_ids(detections)):
            before = rows.get(track)
            if before is not None and len(before) != len(path):
                before = None
            row = rows.put(track, _next_row(before, np.linalg.norm(path - points[i], axis=1)))
            far[i] = row[-1]
        return detections.with_data(path_deviation=far)


def _next_row(before: Array | None, distances: Array) -> Array:
    """The table's row of the next point: how far apart both ways must be at least, up to each point of the path."""
    row: Array = distances.copy()
    for j in range(len(row)):
        ways = [row[j - 1]] if j else []
        if before is not None:
            ways += [before[j], before[j - 1]] if j else [before[j]]
        row[j] = max(row[j], min(ways)) if ways else row[j]
    return row


class PathDeviationV1(PathDeviationV2):
    types = ("roboflow_core/path_deviation_analytics@v1",)
    fields = (Field("metadata", kinds(VIDEO_METADATA)), *PathDeviationV2.fields[1:])

    def run(self, metadata: VideoMetadata, **values: Any) -> Detections:  # type: ignore[override]
        return self.measured(metadata, **values)


BLOCKS: tuple[type[Block], ...] = (PathDeviationV1, PathDeviationV2)
