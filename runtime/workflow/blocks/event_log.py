"""What tracked objects did, told over time: when each appeared and how long it stayed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import (
    DICTIONARY,
    FLOAT,
    INSTANCE_SEGMENTATION,
    INTEGER,
    OBJECT_DETECTION,
    Either,
    Field,
    Nothing,
    Number,
    gives,
    image,
    kinds,
    option,
)
from runtime.workflow.values import Detections, ImageValue, VideoMetadata

OBJECTS = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
FRAMES = Number(1, 10_000_000, integer=True)
MAX_EVENTS = 4096
"""Objects of one video that are remembered; the one not seen for longest is forgotten first."""


@dataclass
class Event:
    """One tracked object. Times are in seconds: since the epoch (`*_timestamp`), and since the video's first frame."""

    tracker_id: int
    class_name: str
    first_seen_frame: int
    first_seen_timestamp: float
    last_seen_frame: int
    last_seen_timestamp: float
    first_seen_relative: float
    last_seen_relative: float
    frame_count: int = 1


@dataclass
class _Log:
    frames: int = 0
    flushed: int = 0
    started_s: float | None = None
    events: OrderedDict[int, Event] = field(default_factory=OrderedDict)


class DetectionEventLog(Block):
    """An object is logged once it was seen in `frame_threshold` frames, and complete once it was not seen for `stale_frames`;
    that is looked up every `flush_interval` frames."""

    types = ("roboflow_core/detection_event_log@v1",)
    title = "Detection event log"
    fields = (
        image(),
        Field("detections", OBJECTS),
        option("frame_threshold", FRAMES, 30, INTEGER),
        option("flush_interval", FRAMES, 30, INTEGER),
        option("stale_frames", FRAMES, 300, INTEGER),
        option("reference_timestamp", Either((Nothing(), Number())), None, FLOAT),
        option("fallback_fps", Number(above=0), 1.0, FLOAT),
    )
    outputs = gives(
        event_log=kinds(DICTIONARY),
        detections=OBJECTS,
        total_logged=kinds(INTEGER),
        total_pending=kinds(INTEGER),
        complete_events=kinds(DICTIONARY),
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._logs: dict[str, _Log] = {}

    def run(
        self,
        image: ImageValue,
        detections: Detections,
        frame_threshold: int,
        flush_interval: int,
        stale_frames: int,
        fallback_fps: float,
        reference_timestamp: float | None,
    ) -> tuple[Any, ...]:
        metadata = image.metadata
        log = self._logs.setdefault(metadata.video_identifier, _Log())
        bounded(self._logs)
        log.frames += 1
        log.flushed = log.flushed or log.frames
        complete: dict[str, Any] = {}
        if log.frames - log.flushed >= flush_interval:
            complete = _completed(log, stale_frames, frame_threshold)
            log.flushed = log.frames
        _see(log, detections, _relative_s(log, metadata, fallback_fps), metadata.frame_timestamp_wall)
        events = {str(track): dict(vars(event)) for track, event in log.events.items()}
        logged = {k: e for k, e in events.items() if e["frame_count"] >= frame_threshold}
        pending = {k: e for k, e in events.items() if k not in logged}
        told = {"logged": logged, "pending": pending}
        return told, detections, len(logged), len(pending), complete


def _relative_s(log: _Log, metadata: VideoMetadata, fallback_fps: float) -> float:
    """Seconds since the first frame: by the frames' own time, or by their number where they have none."""
    if not metadata.frame_timestamp_wall:
        return max(metadata.frame_number - 1, 0) / (metadata.fps or fallback_fps)
    if log.started_s is None:
        log.started_s = metadata.frame_timestamp_wall
    return metadata.frame_timestamp_wall - log.started_s


def _completed(log: _Log, stale_frames: int, frame_threshold: int) -> dict[str, Any]:
    stale = [t for t, e in log.events.items() if log.frames - e.last_seen_frame > stale_frames]
    gone = [log.events.pop(track) for track in stale]
    return {str(e.tracker_id): dict(vars(e)) for e in gone if e.frame_count >= frame_threshold}


def _see(log: _Log, detections: Detections, relative_s: float, wall_s: float) -> None:
    if detections.tracker_id is None:
        return
    for track, name in zip(detections.tracker_id.tolist(), detections.class_name.tolist(), strict=True):
        event = log.events.get(track)
        if event is None:
            log.events[track] = Event(
                track, name, log.frames, wall_s, log.frames, wall_s, relative_s, relative_s
            )
            continue
        event.last_seen_frame, event.last_seen_timestamp = log.frames, wall_s
        event.last_seen_relative = relative_s
        event.frame_count += 1
    while len(log.events) > MAX_EVENTS:
        del log.events[min(log.events, key=lambda t: log.events[t].last_seen_frame)]


BLOCKS = (DetectionEventLog,)
