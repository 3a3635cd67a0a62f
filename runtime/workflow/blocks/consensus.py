"""Several models about one picture: what enough of them agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from runtime.masks import decode, encode
from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOOLEAN,
    BOXES,
    DICTIONARY,
    INSTANCE_SEGMENTATION,
    INTEGER,
    LIST,
    OBJECT_DETECTION,
    RLE_INSTANCE_SEGMENTATION,
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
from runtime.workflow.regions import box_of
from runtime.workflow.values import Array, Detections, empty_like, objects

COUNT = Number(1, integer=True)
OBJECTS_OUT = kinds(OBJECT_DETECTION, INSTANCE_SEGMENTATION)
SHARE = Number(0, 1)
OBJECTS: Literal = Either((Nothing(), COUNT, DictOf(COUNT)))
AGGREGATES = ("average", "max", "min")

_SCORES: dict[str, Callable[[Array], Any]] = {"average": np.mean, "max": np.max, "min": np.min}


_MASKS: dict[str, Callable[[list[Array]], Any]] = {
    "union": lambda masks: encode(np.any(masks, axis=0)),
    "intersection": lambda masks: encode(np.all(masks, axis=0)),
    "max": lambda masks: encode(max(masks, key=np.count_nonzero)),
    "min": lambda masks: encode(min(masks, key=np.count_nonzero)),
}


class _Row(NamedTuple):
    box: Array
    score: float
    name: str
    number: int
    mask: Any


class DetectionsConsensus(Block):
    """Boxes of different sources that overlap enough are one object; it counts when enough sources see it."""

    types = ("roboflow_core/detections_consensus@v1", "DetectionsConsensus")
    title = "Detections consensus"
    fields = (
        Field("predictions_batches", BOXES - {RLE_INSTANCE_SEGMENTATION}, shape="list"),
        need("required_votes", COUNT, INTEGER),
        option("class_aware", Flag(), True, BOOLEAN),
        option("iou_threshold", SHARE, 0.3, ZERO_TO_ONE),
        option("confidence", SHARE, 0.0, ZERO_TO_ONE),
        option("classes_to_consider", Either((Nothing(), ListOf(Text(256)))), None, LIST),
        option("required_objects", OBJECTS, None, INTEGER, DICTIONARY),
        option("presence_confidence_aggregation", Choice(AGGREGATES), "max"),
        option("detections_merge_confidence_aggregation", Choice(AGGREGATES), "average"),
        option("detections_merge_coordinates_aggregation", Choice(AGGREGATES), "average"),
        option("detections_merge_mask_aggregation", Choice(tuple(_MASKS)), "union"),
    )
    outputs = gives(
        predictions=OBJECTS_OUT,
        object_present=kinds(BOOLEAN, DICTIONARY),
        presence_confidence=kinds(ZERO_TO_ONE, DICTIONARY),
    )

    def run(
        self,
        predictions_batches: list[Detections],
        classes_to_consider: list[str] | None,
        required_objects: Any,
        presence_confidence_aggregation: str,
        class_aware: bool,
        **how: Any,
    ) -> tuple[Any, ...]:
        sources = [_considered(d, classes_to_consider) for d in predictions_batches]
        merged = self._merged(sources, class_aware=class_aware, **how)
        aggregate = _SCORES[presence_confidence_aggregation]
        present, scores = _presence(merged, required_objects, aggregate, class_aware)
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
        detections_merge_mask_aggregation: str,
    ) -> Detections:
        """One detection for each object that enough sources see."""
        used: list[set[int]] = [set() for _ in sources]
        rows: list[_Row] = []
        for s, source in enumerate(sources):
            for i in range(len(source)):
                if i in used[s]:
                    continue
                members = _members(sources, used, s, i, class_aware, iou_threshold)
                if len(members) < required_votes:
                    continue
                row = _merge(
                    [(sources[other], j) for other, j in members],
                    detections_merge_confidence_aggregation,
                    detections_merge_coordinates_aggregation,
                    detections_merge_mask_aggregation,
                )
                if row.score >= confidence:
                    rows.append(row)
                    for other, j in members:
                        used[other].add(j)
        return self._assembled(empty_like(sources[0]), rows)

    def _assembled(self, none: Detections, rows: list[_Row]) -> Detections:
        masked = bool(rows) and all(row.mask is not None for row in rows)
        return replace(
            none,
            xyxy=np.array([row.box for row in rows], np.float64).reshape(-1, 4),
            confidence=np.array([row.score for row in rows], np.float64),
            class_name=objects([row.name for row in rows]),
            class_id=np.array([row.number for row in rows], np.int64),
            detection_id=self.around.ids.take(len(rows)),
            tracker_id=None,
            masks=tuple(row.mask for row in rows if row.mask is not None) if masked else None,
            keypoints=None,
            keypoint_names=None,
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


def _merge(members: list[tuple[Detections, int]], scores: str, boxes: str, masks: str) -> _Row:
    """Several that are one. The class is the most frequent one (`average`), or that of the best or the least scored."""
    xyxy = np.array([d.xyxy[i] for d, i in members], np.float64)
    confidence = np.array([d.confidence[i] for d, i in members], np.float64)
    named = [(str(d.class_name[i]), int(d.class_id[i])) for d, i in members]
    if scores == "average":
        name, number = Counter(named).most_common(1)[0][0]
    else:
        name, number = named[int(np.argmax(confidence) if scores == "max" else np.argmin(confidence))]
    mask = None
    if any(d.masks is not None for d, _ in members):
        mask = _MASKS[masks]([_bitmap(d, i) for d, i in members])
        box = np.array(box_of(mask), np.float64)
    elif boxes == "average":
        box = xyxy.mean(axis=0)
    else:
        areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
        box = xyxy[int(np.argmax(areas) if boxes == "max" else np.argmin(areas))]
    return _Row(box, float(_SCORES[scores](confidence)), name, number, mask)


def _bitmap(detections: Detections, i: int) -> Array:
    if detections.masks is None:
        width, height = detections.image_wh
        return np.zeros((height, width), bool)
    return decode(detections.masks[i])


def _presence(
    merged: Detections, required: Any, aggregate: Callable[[Array], Any], class_aware: bool
) -> tuple[bool, dict[str, float]]:
    """Whether what is required is there, and how sure each class is, or any object where classes do not count."""
    names = merged.class_name.tolist()
    if isinstance(required, dict) and not class_aware:
        required = sum(required.values())
    if isinstance(required, dict):
        present = bool(names) and all(names.count(name) >= count for name, count in required.items())
    else:
        present = len(names) >= (required or 1)
    if not present:
        return False, {}
    if not class_aware:
        return True, {"any_object": float(aggregate(merged.confidence))}
    return True, {
        name: float(aggregate(merged.confidence[merged.class_name == name])) for name in dict.fromkeys(names)
    }


BLOCKS = (DetectionsConsensus,)
