"""How far two answers about one picture agree, without anybody knowing which is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.model.nms import iou_matrix
from runtime.results import Result

SAME_IOU = 0.5
"""Two boxes of one class that overlap so much are the same object: PASCAL VOC's threshold."""


@dataclass(frozen=True)
class Agreement:
    """Of one picture. `difference` grows with what differs, 0 is the same; `only_a`, `only_b` are indices of detections.

    `ious`, `score_offs`: of the matched pairs. `matched`, `alone_a`, `alone_b`: by class name.
    `same`: share of equal pixels, or whether the best class is the same, for answers about the whole picture; else None.
    """

    difference: float
    only_a: tuple[int, ...] = ()
    only_b: tuple[int, ...] = ()
    ious: tuple[float, ...] = ()
    score_offs: tuple[float, ...] = ()
    keypoint_offs: tuple[float, ...] = ()
    matched: Counter[str] = field(default_factory=Counter)
    alone_a: Counter[str] = field(default_factory=Counter)
    alone_b: Counter[str] = field(default_factory=Counter)
    same: float | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    """The matched ones: index in a, index in b."""


def agree(a: Result | None, b: Result | None) -> Agreement:
    """Compare two answers; None is no answer, which agrees with nothing but itself."""
    if a is None or b is None:
        return Agreement(0.0 if a is b else float("inf"), same=float(a is b))
    if a.semantic is not None and b.semantic is not None:
        return _maps(a.semantic, b.semantic)
    if a.embedding is not None and b.embedding is not None:
        cosine = float(np.dot(a.embedding, b.embedding))
        return Agreement(1.0 - cosine, same=cosine)
    if a.classes is not None and b.classes is not None:
        off = float(np.abs(a.classes - b.classes).max()) if a.classes.shape == b.classes.shape else 1.0
        same = _best(a) == _best(b)
        return Agreement(off + (not same), score_offs=(off,), same=float(same))
    return _detections(a, b)


def _best(result: Result) -> str:
    assert result.classes is not None, "the caller has looked"
    return result.label(int(np.argmax(result.classes))) if len(result.classes) else ""


def _maps(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Agreement:
    same = float((a == b).mean()) if a.shape == b.shape else 0.0
    return Agreement(1.0 - same, same=same)


def _detections(a: Result, b: Result) -> Agreement:
    pairs = _pairs(a, b)
    taken_a, taken_b = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    only_a = tuple(i for i in range(len(a)) if i not in taken_a)
    only_b = tuple(j for j in range(len(b)) if j not in taken_b)
    ious = tuple(iou for _, _, iou in pairs)
    score_offs = tuple(abs(float(a.scores[i]) - float(b.scores[j])) for i, j, _ in pairs)
    points = _keypoint_offs(a, b, pairs)
    names_a, names_b = _names(a), _names(b)
    alone = [float(a.scores[i]) for i in only_a] + [float(b.scores[j]) for j in only_b]
    return Agreement(
        sum(alone) + sum(1.0 - iou for iou in ious) + sum(score_offs) + sum(points),
        only_a,
        only_b,
        ious,
        score_offs,
        points,
        Counter(names_a[i] for i, _, _ in pairs),
        Counter(names_a[i] for i in only_a),
        Counter(names_b[j] for j in only_b),
        pairs=tuple((i, j) for i, j, _ in pairs),
    )


def _names(result: Result) -> tuple[str, ...]:
    return result.texts if result.texts is not None else result.class_names


def _pairs(a: Result, b: Result) -> list[tuple[int, int, float]]:
    """(index in a, index in b, IoU) of the same objects, the best overlap first."""
    if not len(a) or not len(b):
        return []
    names_a, names_b = np.array(_names(a), object), np.array(_names(b), object)
    iou = iou_matrix(a.boxes, b.boxes) * (names_a[:, None] == names_b[None])
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    pairs = []
    for i, j in sorted(np.argwhere(iou >= SAME_IOU).tolist(), key=lambda ij: -iou[ij[0], ij[1]]):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j, float(iou[i, j])))
    return pairs


def _keypoint_offs(a: Result, b: Result, pairs: list[tuple[int, int, float]]) -> tuple[float, ...]:
    """Mean distance of the keypoints of each pair, as a share of the picture's longer side."""
    if a.keypoints is None or b.keypoints is None or a.keypoints.shape[1:] != b.keypoints.shape[1:]:
        return ()
    side = max(a.image_wh)
    return tuple(
        float(np.linalg.norm(a.keypoints[i, :, :2] - b.keypoints[j, :, :2], axis=1).mean()) / side
        for i, j, _ in pairs
    )


class Tally:
    """Sums the agreements of many pictures."""

    def __init__(self) -> None:
        self.pictures = 0
        self.alike = 0
        self._ious: list[float] = []
        self._score_offs: list[float] = []
        self._keypoint_offs: list[float] = []
        self._same: list[float] = []
        self._matched: Counter[str] = Counter()
        self._alone_a: Counter[str] = Counter()
        self._alone_b: Counter[str] = Counter()

    def add(self, agreement: Agreement) -> None:
        self.pictures += 1
        self.alike += not agreement.only_a and not agreement.only_b and agreement.same in (None, 1.0)
        self._ious += agreement.ious
        self._score_offs += agreement.score_offs
        self._keypoint_offs += agreement.keypoint_offs
        self._same += [] if agreement.same is None else [agreement.same]
        self._matched += agreement.matched
        self._alone_a += agreement.alone_a
        self._alone_b += agreement.alone_b

    def figures(self) -> dict[str, float | int | None]:
        """The headline: what does not concern the task is left out."""
        matched, alone_a, alone_b = (sum(c.values()) for c in (self._matched, self._alone_a, self._alone_b))
        found = 2 * matched + alone_a + alone_b
        figures: dict[str, float | int | None] = {"pictures": self.pictures, "pictures alike": self.alike}
        if found or not self._same:
            figures |= {
                "agreement %": round(200.0 * matched / found, 2) if found else None,
                "found by both": matched,
                "only by A": alone_a,
                "only by B": alone_b,
                "mean IoU %": _mean(self._ious, 100.0, 2),
            }
        if self._same:
            figures["same %"] = _mean(self._same, 100.0, 3)
        if self._score_offs:
            figures["mean score off"] = _mean(self._score_offs, 1.0, 5)
            figures["worst score off"] = round(max(self._score_offs), 5)
        if self._keypoint_offs:
            figures["keypoints off %"] = _mean(self._keypoint_offs, 100.0, 4)
        return figures

    def classes(self) -> dict[str, dict[str, float | int | None]]:
        """By class name, those that differ most first."""
        names = set(self._matched) | set(self._alone_a) | set(self._alone_b)
        rows = {n: (self._matched[n], self._alone_a[n], self._alone_b[n]) for n in names}
        order = sorted(rows, key=lambda n: (-(rows[n][1] + rows[n][2]), -rows[n][0], n))
        return {n: dict(zip(("both", "only A", "only B"), rows[n], strict=True)) for n in order}


def _mean(values: list[float], times: float, digits: int) -> float | None:
    return round(times * float(np.mean(values)), digits) if values else None
