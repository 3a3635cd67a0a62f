"""What the models of a binding find, counted frame by frame in a few microseconds: the figures an update is judged by.

Pure. The counts begin anew with each binding, so that the figures of two models are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from runtime.results import Result
from wire.local import Sight
from wire.local.pipeline import LATENCY_BINS, LATENCY_FIRST_MS, LATENCY_STEP, SCORE_BINS

MAX_CLASSES = 24
"""So many class names are told each second; the rest is told in one figure."""
MAX_KNOWN = 1000
_LOG_STEP = math.log(LATENCY_STEP)


class SightBook:
    """Counts since its making."""

    def __init__(self) -> None:
        self._asked = 0
        self._empty = 0
        self._run = 0
        self._counted = False
        self._unanswered: dict[str, int] = {}
        self._scores = [0] * SCORE_BINS
        self._classes: dict[str, int] = {}
        self._latency: dict[int, int] = {}

    def result(self, found: Iterable[Result], latency_s: float | None) -> None:
        """A frame with its answers, one of each model step; a latency that says nothing about the models is None."""
        self._asked += 1
        if latency_s is not None:
            bin_ = latency_bin(1000.0 * latency_s)
            self._latency[bin_] = self._latency.get(bin_, 0) + 1
        seen = sum(self._count(result) for result in found)
        if seen or not self._counted:
            self._run = 0
        else:
            self._empty += 1
            self._run += 1

    def unanswered(self, reason: str) -> None:
        """A frame without an answer."""
        self._asked += 1
        self._unanswered[reason] = self._unanswered.get(reason, 0) + 1

    def told(self) -> Sight:
        """The figures as they travel."""
        most = sorted(self._classes, key=lambda name: -self._classes[name])[:MAX_CLASSES]
        classes = {name: self._classes[name] for name in most}
        if rest := sum(self._classes.values()) - sum(classes.values()):
            classes[""] = classes.get("", 0) + rest
        latency = {str(bin_): count for bin_, count in sorted(self._latency.items())}
        return Sight(
            self._asked,
            self._empty,
            self._run,
            dict(self._unanswered),
            list(self._scores),
            classes,
            latency,
            self._counted,
        )

    def _count(self, result: Result) -> int:
        if result.semantic is not None or result.embedding is not None:
            return 0
        self._counted = True
        if result.classes is not None:
            best = result.top(1)
            names, scores = [name for _, name, _ in best], [score for _, _, score in best]
        else:
            names, scores = list(result.class_names), result.scores.tolist()
        for name, score in zip(names, scores, strict=True):
            self._scores[score_bin(score)] += 1
            known = name if name in self._classes or len(self._classes) < MAX_KNOWN else ""
            self._classes[known] = self._classes.get(known, 0) + 1
        return len(scores)


def found(answers: Mapping[str, Result], predictions: Mapping[str, Result]) -> list[Result]:
    """What each model step gave: after the step's own thresholds where it finds objects, else the model's answer."""
    return [predictions.get(step, answer) for step, answer in answers.items()]


def score_bin(score: float) -> int:
    """The bin of a confidence; what is no number lies in the first."""
    return min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS))) if math.isfinite(score) else 0


def latency_bin(latency_ms: float) -> int:
    """The bin of a time from capture to result."""
    if latency_ms <= LATENCY_FIRST_MS:
        return 0
    return min(LATENCY_BINS - 1, int(math.log(latency_ms / LATENCY_FIRST_MS) / _LOG_STEP))
