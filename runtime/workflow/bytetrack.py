"""ByteTrack (Zhang et al., ECCV 2022): association of boxes over frames in two rounds, strong boxes first, weak ones second.

All tracks are held in arrays. The motion model is the paper's Kalman filter of constant velocity over centre, aspect ratio
and height; its noise is diagonal, so that it falls apart into four filters of two states, calculated together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.workflow.assignment import assign
from runtime.workflow.geometry import iou_matrix
from runtime.workflow.values import Array

POSITION_WEIGHT = 1 / 20
VELOCITY_WEIGHT = 1 / 160
"""Standard deviations as shares of the box's height, a frame (the paper's code)."""
WEAK_SCORE = 0.1
"""Boxes below this are not looked at."""
NEW_TRACK_MARGIN = 0.1
"""A new track needs a score this much above the activation threshold, unless that is beyond what a score can be."""
WEAK_LIMIT = 0.5
NEW_LIMIT = 0.7
"""Greatest cost of a match in the second round, and for tracks seen once only."""
SAME_LIMIT = 0.05
"""A found and a lost track closer than this (1 - IoU) are one."""
MAX_TRACKS = 1024

GIVEN_LIMIT = 0.5
"""1 - IoU of a box and the track whose id it gets."""
NEW, TRACKED, LOST = 0, 1, 2


@dataclass(frozen=True)
class Settings:
    """`lost_frames`: how long a track is looked for after it was last seen."""

    activation_threshold: float = 0.25
    matching_threshold: float = 0.8
    lost_frames: int = 30
    consecutive_frames: int = 1


class ByteTrack:
    """The tracks of one video."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._frame = 0
        self._next_id = 1
        self._place = np.zeros((0, 4))
        self._speed = np.zeros((0, 4))
        self._spread = np.zeros((3, 0, 4))
        self._state = np.zeros(0, np.int8)
        self._seen = np.zeros(0, np.int64)
        self._begun = np.zeros(0, np.int64)
        self._hits = np.zeros(0, np.int64)
        self._ids = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._state)

    def update(self, boxes: Array, scores: Array) -> Array:
        """The next frame's boxes (N, 4) x1 y1 x2 y2 and scores (N,): ids (N,) int64, -1 where a box belongs to no track yet."""
        self._frame += 1
        self._predict()
        boxes = boxes.astype(np.float64)
        limit = self._settings.activation_threshold
        strong = np.flatnonzero(scores >= limit)
        weak = np.flatnonzero((scores > WEAK_SCORE) & (scores < limit))
        old = np.flatnonzero(self._state != NEW)
        tracks, found = self._match(old, boxes, scores, strong, self._settings.matching_threshold, fuse=True)
        rest = np.setdiff1d(old[self._state[old] == TRACKED], tracks)
        again, low = self._match(rest, boxes, scores, weak, WEAK_LIMIT, fuse=False)
        left = np.setdiff1d(strong, found)
        new = np.flatnonzero(self._state == NEW)
        confirmed, third = self._match(new, boxes, scores, left, NEW_LIMIT, fuse=True)
        rows = np.concatenate([tracks, again, confirmed])
        picked = np.concatenate([found, low, third])
        self._state[np.setdiff1d(rest, again)] = LOST
        self._correct(rows, boxes[picked])
        begun = np.setdiff1d(left, third)
        sure = limit + NEW_TRACK_MARGIN
        begun = begun[scores[begun] >= (sure if sure <= 1 else limit)]
        self._begin(boxes[begun])
        self._drop(np.setdiff1d(new, confirmed))
        return self._given(boxes)

    def _given(self, boxes: Array) -> Array:
        """The id of each box: of the track that now lies on it, which need not be the one that it was matched with."""
        given = np.full(len(boxes), -1, np.int64)
        rows = np.flatnonzero(self._state == TRACKED)
        if len(rows) and len(boxes):
            found, tracks = assign(1 - iou_matrix(boxes, self._boxes(rows)), GIVEN_LIMIT)
            given[found] = self._ids[rows[tracks]]
        return given

    # --- motion -------------------------------------------------------------------------------------------------------

    def _predict(self) -> None:
        """Move every track that has been confirmed; new ones wait where they were seen."""
        rows = np.flatnonzero(self._state != NEW)
        if not len(rows):
            return
        self._speed[self._state == LOST, 3] = 0
        height = self._place[rows, 3]
        position, velocity, between = self._spread[:, rows]
        self._spread[0, rows] = position + 2 * between + velocity + _noise(height, POSITION_WEIGHT, 1e-2)
        self._spread[1, rows] = velocity + _noise(height, VELOCITY_WEIGHT, 1e-5)
        self._spread[2, rows] = between + velocity
        self._place[rows] += self._speed[rows]

    def _correct(self, rows: Array, boxes: Array) -> None:
        if not len(rows):
            return
        place, speed = self._place[rows], self._speed[rows]
        position, velocity, between = self._spread[:, rows]
        total = position + _noise(place[:, 3], POSITION_WEIGHT, 1e-1)
        gain, gain_speed = position / total, between / total
        off = _measured(boxes) - place
        self._place[rows] = place + gain * off
        self._speed[rows] = speed + gain_speed * off
        self._spread[0, rows] = position * (1 - gain)
        self._spread[1, rows] = velocity - gain_speed * between
        self._spread[2, rows] = between * (1 - gain)
        self._hits[rows] += 1
        sure = (self._state[rows] != NEW) | (self._hits[rows] >= self._settings.consecutive_frames)
        self._state[rows[sure]] = TRACKED
        self._seen[rows] = self._frame
        self._name(rows)

    def _name(self, rows: Array) -> None:
        """Ids for tracks that have been seen often enough."""
        wanting = rows[(self._ids[rows] < 0) & (self._hits[rows] >= self._settings.consecutive_frames)]
        self._ids[wanting] = np.arange(self._next_id, self._next_id + len(wanting))
        self._next_id += len(wanting)

    def _boxes(self, rows: Array) -> Array:
        place = self._place[rows]
        half = np.stack([place[:, 2] * place[:, 3], place[:, 3]], axis=1) / 2
        return np.hstack([place[:, :2] - half, place[:, :2] + half])

    # --- association --------------------------------------------------------------------------------------------------

    def _match(
        self, rows: Array, boxes: Array, scores: Array, picked: Array, limit: float, *, fuse: bool
    ) -> tuple[Array, Array]:
        """Pairs of least cost: tracks, and the boxes that are theirs."""
        if not len(rows) or not len(picked):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        likeness = iou_matrix(self._boxes(rows), boxes[picked])
        if fuse:
            likeness = likeness * scores[picked]
        first, second = assign(1 - likeness, limit)
        return rows[first], picked[second]

    # --- birth and end ------------------------------------------------------------------------------------------------

    def _begin(self, boxes: Array) -> None:
        boxes = boxes[: max(0, MAX_TRACKS - len(self))]
        count, start = len(boxes), len(self)
        measured = _measured(boxes)
        height = measured[:, 3]
        spread = np.zeros((3, count, 4))
        spread[0] = _noise(height, 2 * POSITION_WEIGHT, 1e-2)
        spread[1] = _noise(height, 10 * VELOCITY_WEIGHT, 1e-5)
        self._place = np.concatenate([self._place, measured])
        self._speed = np.concatenate([self._speed, np.zeros((count, 4))])
        self._spread = np.concatenate([self._spread, spread], axis=1)
        at_once = self._frame == 1 and self._settings.consecutive_frames <= 1
        state = np.full(count, TRACKED if at_once else NEW, np.int8)
        self._state = np.concatenate([self._state, state])
        now = np.full(count, self._frame, np.int64)
        self._seen, self._begun = np.concatenate([self._seen, now]), np.concatenate([self._begun, now])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
        self._ids = np.concatenate([self._ids, np.full(count, -1, np.int64)])
        if at_once:
            self._name(np.arange(start, start + count))

    def _drop(self, gone: Array) -> None:
        """Forget tracks not confirmed, lost for too long, or lost and found again under another id."""
        keep = np.ones(len(self), bool)
        keep[gone] = False
        lost = self._state == LOST
        keep &= ~(lost & (self._frame - self._seen > max(1, self._settings.lost_frames) + 1))
        tracked, missing = np.flatnonzero(~lost & keep), np.flatnonzero(lost & keep)
        if len(tracked) and len(missing):
            close = 1 - iou_matrix(self._boxes(tracked), self._boxes(missing)) < SAME_LIMIT
            for i, j in zip(*np.nonzero(close), strict=True):
                a, b = tracked[i], missing[j]
                older = self._seen[a] - self._begun[a] > self._seen[b] - self._begun[b]
                keep[b if older else a] = False
        if keep.all():
            return
        self._place, self._speed, self._spread = self._place[keep], self._speed[keep], self._spread[:, keep]
        self._state, self._seen, self._begun = self._state[keep], self._seen[keep], self._begun[keep]
        self._hits, self._ids = self._hits[keep], self._ids[keep]


def _measured(boxes: Array) -> Array:
    """Centre x, y, aspect ratio, height."""
    size = boxes[:, 2:] - boxes[:, :2]
    height = np.maximum(size[:, 1], 1e-6)
    centre = boxes[:, :2] + size / 2
    measured: Array = np.stack([centre[:, 0], centre[:, 1], size[:, 0] / height, height], axis=1)
    return measured


def _noise(height: Array, weight: float, aspect: float) -> Array:
    """Variances (N, 4) for boxes of the heights."""
    out = np.empty((len(height), 4))
    out[:] = ((weight * height) ** 2)[:, None]
    out[:, 2] = aspect**2
    return out
