"""Several models about one picture: what enough of them agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOOLEAN,
    BOXES,
    DICTIONARY,
    FLOAT,
    INTEGER,
    LIST,
    ZERO_TO_ONE,
    Choice,
    DictOf,
    Either,
    Field,
    Flag,
    ListOf,
    Literal,
    Nothing,
    Number,
    Text,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.geometry import iou_matrix
from runtime.workflow.values import Array, Detections, empty_like, objects

COUNT = Number(1, integer=True)
SHARE = Number(0, 1)
OBJECTS: Literal = Either((Nothing(), COUNT, DictOf(COUNT)))
AGGREGATES = ("average", "max", "min")

_SCORES: dict[str, Callable[[Array], Any]] = {"average": np.mean, "max": np.max, "min": np.min}


class DetectionsConsensus(Block):
    """Boxes of different sources that overlap enough are one object; it counts when enough sources see it."""

    types = ("roboflow_core/detections_consensus@v1", "DetectionsConsensus")
    title = "Detections consensus"
    fields = (
        Field("predictions_batches", BOXES, shape="list"),
        need("required_votes", COUNT, INTEGER),
        option("class_aware", Flag(), True, BOOLEAN),
        option("iou_threshold", SHARE, 0.3, ZERO_TO_ONE, FLOAT),
        option("confidence", SHARE, 0.0, ZERO_TO_ONE, FLOAT),
        option("classes_to_consider", Either((Nothing(), ListOf(Text(256)))), None, LIST),
        option("required_objects", OBJECTS, None, INTEGER, DICTIONARY),
        option("presence_confidence_aggregation", Choice(AGGREGATES), "max"),
        option("detections_merge_confidence_aggregation", Choice(AGGREGATES), "average"),
        option("detections_merge_coordinates_aggregation", Choice(AGGREGATES), "average"),
    )
    outputs = gives(
        predictions=BOXES,
        object_present=kinds(BOOLEAN, DICTIONARY),
        presence_confidence=kinds(FLOAT, DICTIONARY),
    )

    def run(
        self,
        predictions_batches: list[Detections],
        classes_to_consider: list[str] | None,
        required_objects: Any,
        presence_confidence_aggregation: str,
        **how: Any,
    ) -> tuple[Any, ...]:
        sources = [_considered(d, classes_to_consider) for d in predictions_batches]
        merged = self._merged(sources, **how)
        present, scores = _presence(merged, required_objects, _SCORES[presence_confidence_aggregation])
        return merged, present, scores

    def _merged(
        self,
        sources: list[Detections],
        required_votes: int,
        class_aware: bool,
        iou_threshold: float,
        confidence: float,
        detections_merge_confidence_aggregation: str,
        detections_merge_coordinates_aggregation: str,
    ) -> Detections:
        """One detection for each object that enough sources see."""
        used: list[set[int]] = [set() for _ in sources]
        rows: list[tuple[Array, float, str, int]] = []
        for s, source in enumerate(sources):
            for i in range(len(source)):
                if i in used[s]:
                    continue
                members = _members(sources, used, s, i, class_aware, iou_threshold)
                if len(members) < required_votes:
                    continue
                for other, j in members:
                    used[other].add(j)
                row = _merge(
                    [(sources[other], j) for other, j in members],
                    detections_merge_confidence_aggregation,
                    detections_merge_coordinates_aggregation,
                )
                if row[1] >= confidence:
                    rows.append(row)
        return self._assembled(empty_like(sources[0]), rows)

    def _assembled(self, none: Detections, rows: list[tuple[Array, float, str, int]]) -> Detections:
        return replace(
            none,
            xyxy=np.array([box for box, _, _, _ in rows], np.float64).reshape(-1, 4),
            confidence=np.array([score for _, score, _, _ in rows], np.float64),
            class_name=objects([name for _, _, name, _ in rows]),
            class_id=np.array([number for _, _, _, number in rows], np.int64),
            detection_id=self.around.ids.take(len(rows)),
            tracker_id=None,
            masks=None,
            keypoints=None,
            data={},
        )


def _considered(detections: Detections, classes: list[str] | None) -> Detections:
    if classes is None:
        return detections
    return detections.select(np.array([name in classes for name in detections.class_name], bool))


def _members(
    sources: list[Detections], used: list[set[int]], s: int, i: int, class_aware: bool, iou_threshold: float
) -> list[tuple[int, int]]:
    """The box and the best unused match of every other source: (source, row)."""
    one, members = sources[s], [(s, i)]
    for other, candidates in enumerate(sources):
        if other == s or not len(candidates):
            continue
        likeness = iou_matrix(one.xyxy[i : i + 1], candidates.xyxy)[0]
        free = np.array([j not in used[other] for j in range(len(candidates))], bool)
        if class_aware:
            free &= candidates.class_name == one.class_name[i]
        likeness = np.where(free, likeness, -1.0)
        best = int(np.argmax(likeness))
        if likeness[best] > iou_threshold:
            members.append((other, best))
    return members


def _merge(members: list[tuple[Detections, int]], scores: str, boxes: str) -> tuple[Array, float, str, int]:
    """Box, score, class of several that are one: the class most of them name, the best scored of equals."""
    xyxy = np.array([d.xyxy[i] for d, i in members], np.float64)
    confidence = np.array([d.confidence[i] for d, i in members], np.float64)
    votes: dict[tuple[str, int], float] = {}
    for d, i in members:
        key = (str(d.class_name[i]), int(d.class_id[i]))
        votes[key] = votes.get(key, 0.0) + 1.0 + float(d.confidence[i]) * 1e-3
    name, number = max(votes, key=lambda key: votes[key])
    if boxes == "average":
        box = xyxy.mean(axis=0)
    else:
        areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
        box = xyxy[int(np.argmax(areas) if boxes == "max" else np.argmin(areas))]
    return box, float(_SCORES[scores](confidence)), name, number


def _presence(
    merged: Detections, required: Any, aggregate: Callable[[Array], Any]
) -> tuple[bool, dict[str, float]]:
    """Whether what is required is there, and how sure each class is."""
    names = merged.class_name.tolist()
    if isinstance(required, dict):
        present = all(names.count(name) >= count for name, count in required.items())
    else:
        present = len(names) >= (required or 1)
    if not present:
        return False, {}
    return True, {
        name: float(aggregate(merged.confidence[merged.class_name == name])) for name in dict.fromkeys(names)
    }


BLOCKS = (DetectionsConsensus,)
