"""Boxes of tracks made steady from frame to frame, and carried on where a detector misses one."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.analytics import MAX_TRACKS, track_ids
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.blocks.fusion import joined
from runtime.workflow.fields import (
    INSTANCE_SEGMENTATION,
    INTEGER,
    OBJECT_DETECTION,
    ZERO_TO_ONE,
    Either,
    Field,
    Nothing,
    Number,
    gives,
    image,
    kinds,
    option,
)
from runtime.workflow.values import Array, Detections, ImageValue, empty_like

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
PROCESS_NOISE = 0.001
MEASUREMENT_NOISE = 0.01
"""Variances of a track's velocity, px² per frame²."""


@dataclass
class _Velocity:
    """Kalman filter of a track's velocity in pixels per frame; both axes have the same variance."""

    estimate: Array
    history: deque[Array]
    variance: float = 1.0

    def measured(self, velocity: Array) -> None:
        self.history.appendleft(velocity)
        gain = self.variance / (self.variance + MEASUREMENT_NOISE)
        self.estimate = self.estimate + gain * (np.mean(self.history, axis=0) - self.estimate)
        self.variance -= gain * self.variance


@dataclass
class _Video:
    last: OrderedDict[int, Detections] = field(default_factory=OrderedDict)
    velocities: dict[int, _Velocity] = field(default_factory=dict)


class StabilizeDetections(Block):
    """Each box is a weighted mean of its place and the one before (`bbox_smoothing_coefficient` is the weight of the new one). A
    track that is missed is carried on with its velocity for at most `smoothing_window_size` frames."""

    types = ("roboflow_core/stabilize_detections@v1",)
    title = "Stabilize detections"
    fields = (
        image(),
        Field("detections", OBJECTS),
        option("smoothing_window_size", Either((Nothing(), Number(1, 1000, integer=True))), 3, INTEGER),
        option("bbox_smoothing_coefficient", Either((Nothing(), Number(0, 1))), 0.2, ZERO_TO_ONE),
    )
    outputs = gives(tracked_detections=OBJECTS)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._videos: dict[str, _Video] = {}

    def run(
        self,
        image: ImageValue,
        detections: Detections,
        smoothing_window_size: int | None,
        bbox_smoothing_coefficient: float | None,
    ) -> Detections:
        video = self._videos.setdefault(image.metadata.video_identifier, _Video())
        bounded(self._videos)
        weight = 0.2 if bbox_smoothing_coefficient is None else bbox_smoothing_coefficient
        ids = track_ids(detections)
        predicted = _moved_on(video, ids, detections, smoothing_window_size or 3)
        told: dict[int, Detections] = {}
        for i, track in enumerate(ids):
            one = detections.select(np.array([i]))
            before = video.last.get(track)
            told[track] = one if before is None else _mixed(one, before, one.xyxy, weight)
            video.last[track] = one
            video.last.move_to_end(track)
        for track, velocity in predicted.items():
            if track in told or track not in video.last:
                continue
            before = video.last[track]
            told[track] = _mixed(before, before, before.xyxy + np.tile(velocity, 2), weight)
            video.last[track] = told[track]
        _forget(video, told)
        parts = [replace(one, tracker_id=np.array([track], np.int64)) for track, one in told.items()]
        return joined(parts) if parts else empty_like(detections)


def _mixed(one: Detections, before: Detections, xyxy: Array, weight: float) -> Detections:
    return replace(one, xyxy=weight * xyxy + (1 - weight) * before.xyxy)


def _moved_on(video: _Video, ids: list[int], detections: Detections, window: int) -> dict[int, Array]:
    """The velocity of every track that is followed, after this frame's measurements; those missed too long are dropped."""
    seen: set[int] = set()
    for i, track in enumerate(ids):
        before = video.last.get(track)
        if before is None:
            continue
        seen.add(track)
        velocity = detections.xyxy[i, 2:].astype(np.float64) - before.xyxy[0, 2:]
        known = video.velocities.get(track)
        if known is None:
            video.velocities[track] = _Velocity(velocity, deque([velocity], maxlen=window))
        else:
            known.measured(velocity)
    predicted = {track: v.estimate for track, v in video.velocities.items()}
    for track, known in list(video.velocities.items()):
        known.variance += PROCESS_NOISE
        if track not in seen:
            if known.history:
                known.history.popleft()
            if not known.history:
                del video.velocities[track]
    return predicted


def _forget(video: _Video, told: dict[int, Any]) -> None:
    for track in [t for t in video.last if t not in video.velocities and t not in told]:
        del video.last[track]
    while len(video.last) > MAX_TRACKS:
        track, _ = video.last.popitem(last=False)
        video.velocities.pop(track, None)


BLOCKS: tuple[type[Block], ...] = (StabilizeDetections,)
