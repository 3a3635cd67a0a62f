"""How the answers of two models about the same pictures agree, summed over pictures. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from runtime.agreement import agree
from runtime.pipeline.sight import MAX_CLASSES, score_bin
from runtime.results import Answer, NoAnswer, Result
from wire.local import Likeness
from wire.local.pipeline import SCORE_BINS

SURE_SCORE = 0.4
"""An object seen with this confidence is not one that another model may well miss."""
OKS_DEVIATION = 0.05
"""Of every keypoint: about the mean of COCO's own, 0.025 to 0.107 (cocodataset.org/#keypoints-eval)."""


class LikenessBook:
    """Of one model step. `task` is the second model's."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._unanswered: dict[str, int] = {}
        self._counts = dict.fromkeys(
            ("compared", "live_sure", "other_blank", "other_sure", "live_blank", "blank_run", "live_objects"),
            0,
        )
        self._counts |= dict.fromkeys(("other_objects", "matched", "oks_count", "same_count"), 0)
        self._sums = dict.fromkeys(("iou_sum", "score_sum", "oks_sum", "same_sum"), 0.0)
        self._live_scores = [0] * SCORE_BINS
        self._other_scores = [0] * SCORE_BINS
        self._live_classes: dict[str, int] = {}
        self._other_classes: dict[str, int] = {}
        self._round_trips_ms = 0.0

    def add(self, live: Result, other: Answer, round_trip_s: float) -> None:
        """One picture."""
        if isinstance(other, NoAnswer):
            reason = other.reason.value
            self._unanswered[reason] = self._unanswered.get(reason, 0) + 1
            return
        self._counts["compared"] += 1
        self._round_trips_ms += 1000.0 * round_trip_s
        agreement = agree(live, other)
        if agreement.same is not None:
            self._sums["same_sum"] += agreement.same
            self._counts["same_count"] += 1
        if live.semantic is None and live.embedding is None:
            _count(live, self._live_scores, self._live_classes)
            _count(other, self._other_scores, self._other_classes)
        if live.classes is None and live.semantic is None and live.embedding is None:
            self._objects(live, other, len(agreement.pairs), sum(agreement.ious))
            self._matches(live, other, agreement.pairs)

    def told(self) -> Likeness:
        """The sums as they travel."""
        compared = self._counts["compared"]
        sums: dict[str, Any] = {name: round(value, 4) for name, value in self._sums.items()}
        return Likeness(
            task=self._task,
            unanswered=dict(self._unanswered),
            live_scores=list(self._live_scores),
            other_scores=list(self._other_scores),
            live_classes=_most(self._live_classes),
            other_classes=_most(self._other_classes),
            round_trip_ms=round(self._round_trips_ms / compared, 2) if compared else 0.0,
            **self._counts,
            **sums,
        )

    def _objects(self, live: Result, other: Result, matched: int, iou_sum: float) -> None:
        counts = self._counts
        counts["live_objects"] += len(live)
        counts["other_objects"] += len(other)
        counts["matched"] += matched
        self._sums["iou_sum"] += iou_sum
        if len(live) and float(live.scores.max()) >= SURE_SCORE:
            counts["live_sure"] += 1
            counts["other_blank"] += not len(other)
            counts["blank_run"] = 0 if len(other) else counts["blank_run"] + 1
        if len(other) and float(other.scores.max()) >= SURE_SCORE:
            counts["other_sure"] += 1
            counts["live_blank"] += not len(live)

    def _matches(self, live: Result, other: Result, pairs: Iterable[tuple[int, int]]) -> None:
        for i, j in pairs:
            self._sums["score_sum"] += float(other.scores[j]) - float(live.scores[i])
            if _same_points(live, other):
                self._sums["oks_sum"] += oks(live, i, other, j)
                self._counts["oks_count"] += 1


def _same_points(a: Result, b: Result) -> bool:
    return (
        a.keypoints is not None and b.keypoints is not None and a.keypoints.shape[1:] == b.keypoints.shape[1:]
    )


def oks(a: Result, i: int, b: Result, j: int) -> float:
    """Object keypoint similarity of two objects, 0 to 1, by the area of the first one's box; every keypoint counts."""
    assert a.keypoints is not None, "the caller has looked"
    assert b.keypoints is not None, "the caller has looked"
    box = a.boxes[i]
    area_px = max(1.0, float((box[2] - box[0]) * (box[3] - box[1])))
    off_px = np.linalg.norm(a.keypoints[i, :, :2] - b.keypoints[j, :, :2], axis=1)
    return float(np.exp(-(off_px**2) / (2.0 * area_px * (2.0 * OKS_DEVIATION) ** 2)).mean())


def _count(result: Result, scores: list[int], classes: dict[str, int]) -> None:
    if result.classes is not None:
        for _, name, score in result.top(1):
            scores[score_bin(score)] += 1
            classes[name] = classes.get(name, 0) + 1
        return
    for name, score in zip(result.class_names, result.scores.tolist(), strict=True):
        scores[score_bin(score)] += 1
        classes[name] = classes.get(name, 0) + 1


def _most(classes: dict[str, int]) -> dict[str, int]:
    most = sorted(classes, key=lambda name: -classes[name])[:MAX_CLASSES]
    told = {name: classes[name] for name in most}
    if rest := sum(classes.values()) - sum(told.values()):
        told[""] = told.get("", 0) + rest
    return told
