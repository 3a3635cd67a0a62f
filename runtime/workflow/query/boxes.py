"""Operations on detections: properties, order, selection, movement, names. Factories of checked parameters → a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.query.properties import extract
from runtime.workflow.values import Array, Detections, empty_like, objects

Function = Callable[[Any], Any]


def detections_of(value: Any, operation: str) -> Detections:
    if not isinstance(value, Detections):
        raise StepFailed(f"{operation} takes detections, got {type(value).__name__}")
    return value


def extract_all(p: Mapping[str, Any]) -> Function:
    name = p["property_name"]
    return lambda v: extract(detections_of(v, "DetectionsPropertyExtract"), name).tolist()


def extract_one(p: Mapping[str, Any]) -> Function:
    name = p["property_name"]

    def read(value: Any) -> Any:
        one = detections_of(value, "ExtractDetectionProperty")
        if len(one) != 1:
            raise StepFailed(f"ExtractDetectionProperty takes one detection, got {len(one)}")
        return extract(one, name).tolist()[0]

    return read


SORTS: dict[str, Callable[[Detections], Array]] = {
    "confidence": lambda d: d.confidence,
    "x_min": lambda d: d.xyxy[:, 0],
    "x_max": lambda d: d.xyxy[:, 2],
    "y_min": lambda d: d.xyxy[:, 1],
    "y_max": lambda d: d.xyxy[:, 3],
    "size": lambda d: d.areas,
    "center_x": lambda d: d.centres[:, 0],
    "center_y": lambda d: d.centres[:, 1],
}


def sort(p: Mapping[str, Any]) -> Function:
    key, ascending = SORTS[p["mode"]], p["ascending"]

    def run(value: Any) -> Detections:
        detections = detections_of(value, "SortDetections")
        order = np.argsort(key(detections))
        return detections.select(order if ascending else order[::-1])

    return run


def selection(p: Mapping[str, Any]) -> Function:
    pick: Callable[[Detections], Any] = {
        "left_most": lambda d: np.argmin(d.centres[:, 0]),
        "right_most": lambda d: np.argmax(d.centres[:, 0]),
        "top_confidence": lambda d: np.argmax(d.confidence),
        "first": lambda d: 0,
        "last": lambda d: len(d) - 1,
    }[p["mode"]]

    def select(value: Any) -> Detections:
        detections = detections_of(value, "DetectionsSelection")
        return detections.select(np.array([int(pick(detections))])) if len(detections) else detections

    return select


def _moved(dx1: float, dy1: float, dx2: float, dy2: float, operation: str) -> Function:
    by = np.array([dx1, dy1, dx2, dy2])

    def move(value: Any) -> Detections:
        detections = detections_of(value, operation)
        return replace(detections, xyxy=detections.xyxy + by)

    return move


def offset(p: Mapping[str, Any]) -> Function:
    x, y = p["offset_x"] / 2, p["offset_y"] / 2
    return _moved(-x, -y, x, y, "DetectionsOffset")


def shift(p: Mapping[str, Any]) -> Function:
    x, y = p["shift_x"], p["shift_y"]
    return _moved(x, y, x, y, "DetectionsShift")


def rename(p: Mapping[str, Any]) -> Function:
    class_map, strict, first_id = p["class_map"], p["strict"], p["new_classes_id_offset"]
    targets = sorted(set(class_map.values()))

    def run(value: Any) -> Detections:
        detections = detections_of(value, "DetectionsRename")
        if not len(detections):
            return detections
        names = detections.class_name.tolist()
        if strict and (missing := sorted(set(names) - set(class_map))):
            raise StepFailed(
                f"DetectionsRename: class_map has no {missing[0]!r}; add it or set strict to false"
            )
        ids: dict[str, int] = {}
        if not strict:
            ids = {n: int(i) for n, i in zip(names, detections.class_id.tolist(), strict=True)}
        fresh = [name for name in targets if name not in ids]
        ids |= {name: i + (0 if strict else first_id) for i, name in enumerate(fresh)}
        new = [class_map.get(name, name) for name in names]
        return replace(
            detections, class_name=objects(new), class_id=np.array([ids[name] for name in new], np.int64)
        )

    return run


def by_parent_class(p: Mapping[str, Any]) -> Function:
    parent = p["parent_class"]

    def pick(value: Any) -> Detections:
        detections = detections_of(value, "PickDetectionsByParentClass")
        outer = detections.xyxy[detections.class_name == parent]
        if not len(outer):
            return empty_like(detections)
        centres = detections.centres[:, None, :]
        inside = ((centres >= outer[None, :, :2]) & (centres <= outer[None, :, 2:])).all(axis=2).any(axis=1)
        return detections.select(inside & (detections.class_name != parent))

    return pick
