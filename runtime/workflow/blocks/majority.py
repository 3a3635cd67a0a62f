"""The class of a tracked object by the majority of its frames. State is kept by video and by track, and bounded.

Source of the rules: Roboflow Workflows, page of the block `track_class_lock`. The recorded cases give every field.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.blocks.analytics import MAX_TRACKS, track_ids
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.fields import BOXES, INTEGER, ZERO_TO_ONE, Number, Report, boxes, gives, image, option
from runtime.workflow.geometry import iou_matrix
from runtime.workflow.values import Array, Detections, ImageValue, objects

_COUNT = Number(1, 100_000, integer=True)
_FRAMES = Number(0, 1_000_000, integer=True)
_SHARE = Number(0, 1)
MAX_CLASSES = 256
"""A track that is given more classes than this keeps the tallies it has."""


class Rules(NamedTuple):
    """The fields of the block."""

    min_votes: int
    vote_confidence: float
    lead_margin: int
    switch_after: int
    reattach_window: int
    reattach_iou: float
    state_ttl: int


@dataclass
class _Tally:
    """Votes for one class, and the sum of their confidences."""

    class_id: int
    votes: int = 0
    confidence: float = 0.0

    def add(self, confidence: float) -> None:
        self.votes += 1
        self.confidence += confidence


@dataclass
class _Track:
    """What is known of one object. `challenger` is the class that names itself in unbroken succession after the lock."""

    tallies: dict[str, _Tally] = field(default_factory=dict)
    locked: str | None = None
    challenger: str = ""
    streak: _Tally = field(default_factory=lambda: _Tally(0))
    seen_frame: int = 0
    box: Array = field(default_factory=lambda: np.zeros(4))

    def vote(self, name: str, class_id: int, confidence: float, rules: Rules) -> None:
        """Count one frame's class, where it is sure enough. What is not, or names the locked class, breaks a challenge."""
        sure = confidence >= rules.vote_confidence
        if self.locked is None:
            if sure:
                self._count(name, class_id, confidence)
            if self.tallies:
                self._lock(rules)
            return
        if not sure or name == self.locked:
            self.challenger = ""
            return
        if name != self.challenger:
            self.challenger, self.streak = name, _Tally(class_id)
        self.streak.add(confidence)
        if self.streak.votes >= rules.switch_after:
            self.locked, self.tallies = name, {name: self.streak}
            self.challenger = ""

    def _count(self, name: str, class_id: int, confidence: float) -> None:
        if name in self.tallies or len(self.tallies) < MAX_CLASSES:
            tally = self.tallies.setdefault(name, _Tally(class_id))
            tally.class_id = class_id
            tally.add(confidence)

    def _lock(self, rules: Rules) -> None:
        ranked = sorted(self.tallies.items(), key=lambda entry: -entry[1].votes)
        runner_up = ranked[1][1].votes if len(ranked) > 1 else 0
        name, first = ranked[0]
        if first.votes >= rules.min_votes and first.votes - runner_up >= rules.lead_margin:
            self.locked = name


@dataclass
class _Video:
    """The tracks of one video, the one not seen for longest first."""

    frame: int = 0
    tracks: OrderedDict[int, _Track] = field(default_factory=OrderedDict)

    def forget(self, ttl_frames: int) -> None:
        """Let go of tracks that were not seen for long, and of the oldest beyond the limit."""
        while self.tracks:
            oldest = next(iter(self.tracks.values()))
            if len(self.tracks) <= MAX_TRACKS and self.frame - oldest.seen_frame <= ttl_frames:
                return
            self.tracks.popitem(last=False)

    def take_over(self, box: Array, present: set[int], rules: Rules) -> _Track:
        """The state for a new track: that of a locked track that was lost hereabouts, else an empty one."""
        lost = [
            (number, track)
            for number, track in self.tracks.items()
            if track.locked is not None
            and number not in present
            and self.frame - track.seen_frame <= rules.reattach_window
        ]
        if not lost:
            return _Track()
        overlaps = iou_matrix(box[None].astype(np.float64), np.stack([t.box for _, t in lost]))[0]
        best = int(overlaps.argmax())
        if overlaps[best] <= 0 or overlaps[best] < rules.reattach_iou:
            return _Track()
        return self.tracks.pop(lost[best][0])


class TrackClassLock(Block):
    """Each detection gets the class that most of its track's frames named, once that class is locked. The confidence is
    then the mean of the votes for it; `class_locked` tells whether it is."""

    types = ("roboflow_core/track_class_lock@v1",)
    title = "Track class lock"
    fields = (
        image(),
        boxes("detections"),
        option("min_votes", _COUNT, 10, INTEGER),
        option("vote_confidence", _SHARE, 0.8, ZERO_TO_ONE),
        option("lead_margin", _FRAMES, 3, INTEGER),
        option("switch_after", _COUNT, 15, INTEGER),
        option("reattach_window", _FRAMES, 30, INTEGER),
        option("reattach_iou", _SHARE, 0.3, ZERO_TO_ONE),
        option("state_ttl", _COUNT, 300, INTEGER),
    )
    outputs = gives(tracked_detections=BOXES)

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        window, ttl = step.get("reattach_window", 30), step.get("state_ttl", 300)
        if isinstance(window, int) and isinstance(ttl, int) and window > ttl:
            report.add(
                f"{path}.reattach_window",
                f"is {window}, and state_ttl {ttl}: what is forgotten cannot be found again",
                "at most state_ttl",
            )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._videos: dict[str, _Video] = {}

    def run(self, image: ImageValue, detections: Detections, **fields: Any) -> Detections:
        rules = Rules(**fields)
        if rules.reattach_window > rules.state_ttl:
            raise StepFailed(
                f"reattach_window is {rules.reattach_window} and state_ttl {rules.state_ttl}: what is forgotten cannot be found again; "
                "give a larger state_ttl"
            )
        video = self._videos.setdefault(image.metadata.video_identifier, _Video())
        bounded(self._videos)
        video.frame += 1
        ids = track_ids(detections)
        present = set(ids)
        tracks = [
            self._follow(video, i, number, detections, present, rules) if number >= 0 else _Track()
            for i, number in enumerate(ids)
        ]
        video.forget(rules.state_ttl)
        return _settled(detections, tracks)

    def _follow(
        self, video: _Video, i: int, number: int, detections: Detections, present: set[int], rules: Rules
    ) -> _Track:
        """Enter one detection's vote; its track."""
        track = video.tracks.get(number) or video.take_over(detections.xyxy[i], present, rules)
        video.tracks[number] = track
        video.tracks.move_to_end(number)
        track.seen_frame, track.box = video.frame, detections.xyxy[i]
        name, class_id = str(detections.class_name[i]), int(detections.class_id[i])
        track.vote(name, class_id, float(detections.confidence[i]), rules)
        return track


def _settled(detections: Detections, tracks: list[_Track]) -> Detections:
    """The detections under the classes of their tracks."""
    names, class_ids = list(detections.class_name), detections.class_id.copy()
    confidence = detections.confidence.copy()
    locked = np.zeros(len(tracks), bool)
    for i, track in enumerate(tracks):
        if track.locked is None:
            continue
        tally = track.tallies[track.locked]
        names[i], class_ids[i], locked[i] = track.locked, tally.class_id, True
        confidence[i] = min(1.0, tally.confidence / tally.votes)
    settled = replace(detections, class_name=objects(names), class_id=class_ids, confidence=confidence)
    return settled.with_data(class_locked=locked)


BLOCKS = (TrackClassLock,)
