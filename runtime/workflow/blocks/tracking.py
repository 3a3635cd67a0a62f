"""Trackers: an id for each object, the same from frame to frame. One tracker a video and step."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.bytetrack import ByteTrack, Settings
from runtime.workflow.fields import (
    BOXES,
    FLOAT,
    INTEGER,
    VIDEO_METADATA,
    ZERO_TO_ONE,
    Field,
    Number,
    boxes,
    gives,
    image,
    kinds,
    option,
)
from runtime.workflow.values import Detections, ImageValue, VideoMetadata

NOMINAL_FPS = 30.0
"""`lost_track_buffer` counts frames at this rate."""
SETTINGS = (
    option("track_activation_threshold", Number(0, 1), 0.25, ZERO_TO_ONE, FLOAT),
    option("lost_track_buffer", Number(0, 100_000, integer=True), 30, INTEGER),
    option("minimum_matching_threshold", Number(0, 1), 0.8, ZERO_TO_ONE, FLOAT),
    option("minimum_consecutive_frames", Number(1, 10_000, integer=True), 1, INTEGER),
)


class ByteTrackerV2(Block):
    types: ClassVar[tuple[str, ...]] = ("roboflow_core/byte_tracker@v2",)
    title = "Byte tracker"
    fields: ClassVar[tuple[Field, ...]] = (image(), boxes("detections"), *SETTINGS)
    outputs = gives(tracked_detections=BOXES)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._trackers: dict[str, ByteTrack] = {}

    def run(self, image: ImageValue, detections: Detections, **settings: Any) -> Any:
        return self.track(image.metadata, detections, **settings)

    def track(
        self,
        metadata: VideoMetadata,
        detections: Detections,
        track_activation_threshold: float,
        lost_track_buffer: int,
        minimum_matching_threshold: float,
        minimum_consecutive_frames: int,
    ) -> Detections:
        """The detections that belong to a track, with its id."""
        tracker = self._trackers.get(metadata.video_identifier)
        if tracker is None:
            lost = int((metadata.fps or NOMINAL_FPS) / NOMINAL_FPS * lost_track_buffer)
            settings = Settings(
                track_activation_threshold, minimum_matching_threshold, lost, minimum_consecutive_frames
            )
            tracker = self._trackers[metadata.video_identifier] = ByteTrack(settings)
            bounded(self._trackers)
        ids = tracker.update(detections.xyxy, detections.confidence)
        kept = np.flatnonzero(ids >= 0)
        return replace(detections.select(kept), tracker_id=ids[kept])


class ByteTrackerV1(ByteTrackerV2):
    types = ("roboflow_core/byte_tracker@v1",)
    fields = (Field("metadata", kinds(VIDEO_METADATA)), boxes("detections"), *SETTINGS)

    def run(self, metadata: VideoMetadata, detections: Detections, **settings: Any) -> Any:  # type: ignore[override]
        return self.track(metadata, detections, **settings)


class ByteTrackerV3(ByteTrackerV2):
    """Also tells apart tracks that were never seen before; as many ids as `instances_cache_size` are remembered."""

    types = ("roboflow_core/byte_tracker@v3",)
    fields = (
        *ByteTrackerV2.fields,
        option("instances_cache_size", Number(1, 1_000_000, integer=True), 16384),
    )
    outputs = gives(tracked_detections=BOXES, new_instances=BOXES, already_seen_instances=BOXES)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._known: dict[str, OrderedDict[int, None]] = {}

    def run(  # type: ignore[override]
        self, image: ImageValue, detections: Detections, instances_cache_size: int, **settings: Any
    ) -> tuple[Any, ...]:
        tracked = self.track(image.metadata, detections, **settings)
        known = self._known.setdefault(image.metadata.video_identifier, OrderedDict())
        bounded(self._known)
        return split_by_age(tracked, known, instances_cache_size)


def split_by_age(
    tracked: Detections, known: OrderedDict[int, None], limit: int
) -> tuple[Detections, Detections, Detections]:
    """The detections, those of tracks not in `known`, and the others; `known` then holds the `limit` youngest tracks."""
    ids = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
    fresh = np.zeros(len(ids), bool)
    for i, track in enumerate(ids):
        if track not in known:
            fresh[i] = True
            known[track] = None
            while len(known) > limit:
                known.popitem(last=False)
    return tracked, tracked.select(fresh), tracked.select(~fresh)


BLOCKS = (ByteTrackerV1, ByteTrackerV2, ByteTrackerV3)
