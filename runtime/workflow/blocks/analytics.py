"""What tracked objects do: cross a line, stay in a zone, move. State is kept by video and by track, and bounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import (
    BOOLEAN,
    BOXES,
    FLOAT,
    INTEGER,
    LIST,
    STRING,
    VIDEO_METADATA,
    ZONE,
    Choice,
    Either,
    Field,
    Flag,
    ListOf,
    Literal,
    Nothing,
    Number,
    Polygon,
    Segment,
    boxes,
    gives,
    image,
    kinds,
    need,
    option,
)
from runtime.workflow.geometry import polygon_problem
from runtime.workflow.values import ANCHORS, Array, Detections, ImageValue, VideoMetadata, anchor_points
from runtime.workflow.zones import PaintedZones
from wire.problem import shown

MAX_TRACKS = 4096
"""State is kept for so many tracks of a video; the one not seen for longest is forgotten first."""

ANCHOR: Literal = Choice(tuple(ANCHORS))
T = TypeVar("T")


class Tracks(Generic[T]):
    """Something for each track, the least recently used forgotten beyond `MAX_TRACKS`."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, T] = OrderedDict()

    def get(self, track: int) -> T | None:
        value = self._of.get(track)
        if value is not None:
            self._of.move_to_end(track)
        return value

    def put(self, track: int, value: T) -> T:
        self._of[track] = value
        self._of.move_to_end(track)
        while len(self._of) > MAX_TRACKS:
            self._of.popitem(last=False)
        return value

    def drop(self, track: int) -> None:
        self._of.pop(track, None)

    def __len__(self) -> int:
        return len(self._of)


def track_ids(detections: Detections) -> list[int]:
    """The ids of the tracks.

    :raises StepFailed: nothing tracked
    """
    if detections.tracker_id is None:
        if len(detections):
            raise StepFailed("detections have no tracker_id: put a tracker before this step")
        return []
    ids: list[int] = detections.tracker_id.tolist()
    return ids


# --- line ---------------------------------------------------------------------------------------------------------------


ABSENT_FRAMES = 2
"""A track that was not seen for so many frames is new to the line when it comes back, as in the original."""


@dataclass
class _Track:
    """`left`: whether it was last seen on the left of the line's direction."""

    left: bool
    seen_frame: int


@dataclass
class _Line:
    """Counts of one video, and the tracks of its last frames."""

    count_in: int = 0
    count_out: int = 0
    frame: int = 0
    tracks: dict[int, _Track] = field(default_factory=dict)

    def begin(self, ids: list[int]) -> None:
        """A frame with these tracks: those that were away too long are forgotten."""
        self.frame += 1
        for number in ids:
            if number in self.tracks:
                self.tracks[number].seen_frame = self.frame
        oldest = self.frame - ABSENT_FRAMES
        self.tracks = {n: track for n, track in self.tracks.items() if track.seen_frame > oldest}

    def turned(self, number: int, left: bool) -> bool:
        """Whether a track, now on this side, was on the other one before."""
        before = self.tracks.get(number)
        self.tracks[number] = _Track(left, self.frame)
        return before is not None and before.left != left


class LineCounterV2(Block):
    """Counts tracks whose anchor has gone from one side of a line to the other. Onto its left, seen from its first point with
    y downwards, is out of the right: `in`. Ids below zero are of tracks that are not sure yet."""

    types = ("roboflow_core/line_counter@v2",)
    title = "Line counter"
    fields = (
        image(),
        boxes("detections"),
        need("line_segment", Segment(), LIST),
        option("triggering_anchor", Either((Nothing(), ANCHOR)), None, STRING),
    )
    outputs = gives(
        count_in=kinds(INTEGER),
        count_out=kinds(INTEGER),
        detections_in=BOXES,
        detections_out=BOXES,
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._lines: dict[str, _Line] = {}

    def run(
        self, image: ImageValue, detections: Detections, line_segment: Any, triggering_anchor: str | None
    ) -> tuple[Any, ...]:
        return self.count(image.metadata, detections, line_segment, triggering_anchor)

    def count(
        self, metadata: VideoMetadata, detections: Detections, segment: Any, anchor: str | None
    ) -> tuple[Any, ...]:
        """Counts so far, and the detections that have crossed in this frame."""
        line = self._lines.setdefault(metadata.video_identifier, _Line())
        bounded(self._lines)
        ids = track_ids(detections)
        line.begin(ids)
        into: list[int] = []
        out: list[int] = []
        for i, left in enumerate(_sides(detections, segment, anchor)):
            if left is not None and ids[i] >= 0 and line.turned(ids[i], left):
                (into if left else out).append(i)
        line.count_in += len(into)
        line.count_out += len(out)
        crossed = [detections.select(np.array(rows, np.intp)) for rows in (into, out)]
        return line.count_in, line.count_out, *crossed


def _sides(detections: Detections, segment: Any, anchor: str | None) -> list[bool | None]:
    """For each detection the side on which all its anchors are; None where they straddle, or lie beyond the line's ends."""
    line = np.asarray(segment, np.float64)
    if line.shape != (2, 2):
        raise StepFailed(f"line_segment takes two points, got {shown(segment)}")
    if not len(detections):
        return []
    names = (anchor,) if anchor else ("TOP_LEFT", "TOP_RIGHT", "BOTTOM_LEFT", "BOTTOM_RIGHT")
    points = np.stack([anchor_points(detections, name) for name in names]) - line[0]
    way = line[1] - line[0]
    along = points @ way
    left = points[..., 1] * way[0] - points[..., 0] * way[1] < 0
    clear = ((along >= 0) & (along <= way @ way) & (left == left[0])).all(axis=0)
    return [side if known else None for side, known in zip(left[0].tolist(), clear.tolist(), strict=True)]


class LineCounterV1(LineCounterV2):
    types = ("roboflow_core/line_counter@v1",)
    fields = (
        Field("metadata", kinds(VIDEO_METADATA)),
        *LineCounterV2.fields[1:3],
        option("triggering_anchor", ANCHOR, "CENTER", STRING),
    )
    outputs = gives(count_in=kinds(INTEGER), count_out=kinds(INTEGER))

    def run(  # type: ignore[override]
        self,
        metadata: VideoMetadata,
        detections: Detections,
        line_segment: Any,
        triggering_anchor: str | None,
    ) -> tuple[Any, ...]:
        return self.count(metadata, detections, line_segment, triggering_anchor)[:2]


# --- zone ---------------------------------------------------------------------------------------------------------------


class TimeInZoneV2(Block):
    """Adds to each track the seconds since it came into the zone."""

    types = ("roboflow_core/time_in_zone@v2",)
    title = "Time in zone"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        boxes("detections"),
        need("zone", Polygon(), LIST, ZONE),
        option("triggering_anchor", ANCHOR, "CENTER", STRING),
        option("remove_out_of_zone_detections", Flag(), True, BOOLEAN),
        option("reset_out_of_zone_detections", Flag(), True, BOOLEAN),
    )
    outputs = gives(timed_detections=BOXES)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._since: dict[str, Tracks[list[float]]] = {}
        self._painted = PaintedZones()

    def run(
        self,
        image: ImageValue,
        detections: Detections,
        zone: Any,
        triggering_anchor: str,
        remove_out_of_zone_detections: bool,
        reset_out_of_zone_detections: bool,
    ) -> Detections:
        return self.timed(
            image.metadata,
            detections,
            [zone],
            triggering_anchor,
            remove_out_of_zone_detections,
            reset_out_of_zone_detections,
        )

    def timed(
        self,
        metadata: VideoMetadata,
        detections: Detections,
        zones: list[Any],
        anchor: str,
        remove: bool,
        reset: bool,
    ) -> Detections:
        """The detections with `time_in_zone`, in seconds; within any of the zones counts."""
        since = self._since.setdefault(metadata.video_identifier, Tracks())
        bounded(self._since)
        inside = self._inside(anchor_points(detections, anchor), zones)
        times = np.zeros(len(detections), np.float64)
        for i, track in enumerate(track_ids(detections)):
            if inside[i]:
                start = since.get(track) or since.put(track, [metadata.time_s])
                times[i] = metadata.time_s - start[0]
            elif reset or not remove:
                since.drop(track)
        timed = detections.with_data(time_in_zone=times)
        return timed.select(inside) if remove else timed

    def _inside(self, points: Array, zones: list[Any]) -> Array:
        inside = np.zeros(len(points), bool)
        for zone in zones:
            if problem := polygon_problem(zone):
                raise StepFailed(f"zone takes {problem}, got {shown(zone)}")
            inside |= self._painted.inside(points, zone)
        return inside


class TimeInZoneV1(TimeInZoneV2):
    types = ("roboflow_core/time_in_zone@v1",)
    fields = (
        image(),
        Field("metadata", kinds(VIDEO_METADATA)),
        *TimeInZoneV2.fields[1:],
    )

    def run(self, metadata: VideoMetadata, image: ImageValue, **values: Any) -> Detections:  # type: ignore[override]
        return super().run(ImageValue(image.image, metadata), **values)


class TimeInZoneV3(TimeInZoneV2):
    """Also takes several zones."""

    types = ("roboflow_core/time_in_zone@v3",)
    fields = tuple(
        need("zone", Either((Polygon(), ListOf(Polygon(), max_items=64))), LIST, ZONE)
        if f.name == "zone"
        else f
        for f in TimeInZoneV2.fields
    )

    def run(self, image: ImageValue, detections: Detections, zone: Any, **values: Any) -> Detections:  # type: ignore[override]
        zones = [zone] if not polygon_problem(zone) else list(zone)
        return self.timed(
            image.metadata,
            detections,
            zones,
            values["triggering_anchor"],
            values["remove_out_of_zone_detections"],
            values["reset_out_of_zone_detections"],
        )


# --- motion -------------------------------------------------------------------------------------------------------------


@dataclass
class _Motion:
    at_s: float
    place: Array
    velocity: Array


class Velocity(Block):
    """Adds velocity (x, y), speed, and both smoothed (exponential mean), per second, in pixels or metres."""

    types = ("roboflow_core/velocity@v1",)
    title = "Velocity"
    fields = (
        image(),
        boxes("detections"),
        option("smoothing_alpha", Number(0, 1), 0.5, FLOAT),
        option("pixels_per_meter", Number(above=0), 1.0, FLOAT),
    )
    outputs = gives(velocity_detections=BOXES)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._motions: dict[str, Tracks[_Motion]] = {}

    def run(
        self, image: ImageValue, detections: Detections, smoothing_alpha: float, pixels_per_meter: float
    ) -> Detections:
        motions = self._motions.setdefault(image.metadata.video_identifier, Tracks())
        bounded(self._motions)
        at_s, centres = image.metadata.time_s, detections.centres
        now, smooth = np.zeros((len(detections), 2)), np.zeros((len(detections), 2))
        for i, track in enumerate(track_ids(detections)):
            before = motions.get(track)
            if before is not None:
                passed_s = at_s - before.at_s
                if passed_s > 0:
                    now[i] = (centres[i] - before.place) / passed_s
                smooth[i] = smoothing_alpha * now[i] + (1 - smoothing_alpha) * before.velocity
            motions.put(track, _Motion(at_s, centres[i], smooth[i].copy()))
        now, smooth = now / pixels_per_meter, smooth / pixels_per_meter
        return detections.with_data(
            velocity=now,
            speed=np.linalg.norm(now, axis=1),
            smoothed_velocity=smooth,
            smoothed_speed=np.linalg.norm(smooth, axis=1),
        )


BLOCKS = (LineCounterV1, LineCounterV2, TimeInZoneV1, TimeInZoneV2, TimeInZoneV3, Velocity)
