"""Operations on detections: properties, order, selection, movement, names. Factories of checked parameters → a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.query.properties import extract, extract_or_none
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
        column = extract_or_none(one, name)
        return None if column is None else column.tolist()[0]

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


def rename(p: Mapping[str, Any]) -> Callable[[Any, Mapping[str, Any]], Any]:
    """`class_map` and `strict` may be names of parameters."""
    first_id = p["new_classes_id_offset"]

    def run(value: Any, env: Mapping[str, Any]) -> Detections:
        detections = detections_of(value, "DetectionsRename")
        class_map, strict = _named(p["class_map"], env, dict), _named(p["strict"], env, bool)
        return _renamed(detections, class_map, strict, first_id)

    return run


def _named(value: Any, env: Mapping[str, Any], wanted: type) -> Any:
    if isinstance(value, str):
        if value not in env:
            raise StepFailed(f"parameter {value!r} is not given; add it to the step's parameters")
        value = env[value]
    if not isinstance(value, wanted):
        raise StepFailed(f"DetectionsRename takes a {wanted.__name__} here, got {type(value).__name__}")
    return value


def _renamed(detections: Detections, class_map: Mapping[Any, Any], strict: bool, first_id: int) -> Detections:
    if not len(detections):
        return detections
    names = detections.class_name.tolist()
    if strict and (missing := sorted(set(names) - set(class_map))):
        raise StepFailed(f"DetectionsRename: class_map has no {missing[0]!r}; add it or set strict to false")
    ids: dict[str, int] = {}
    if not strict:
        ids = {n: int(i) for n, i in zip(names, detections.class_id.tolist(), strict=True)}
    fresh = [name for name in sorted(set(class_map.values())) if name not in ids]
    ids |= {name: i + (0 if strict else first_id) for i, name in enumerate(fresh)}
    new = [class_map.get(name, name) for name in names]
    return replace(
        detections, class_name=objects(new), class_id=np.array([ids[name] for name in new], np.int64)
    )


def by_parent_class(p: Mapping[str, Any]) -> Function:
    """The detections of the parent class, then the others whose centre lies in one of them."""
    parent = p["parent_class"]

    def pick(value: Any) -> Detections:
        detections = detections_of(value, "PickDetectionsByParentClass")
        is_parent = detections.class_name == parent
        if not is_parent.any():
            return empty_like(detections)
        outer = detections.xyxy[is_parent]
        centres = detections.centres[:, None, :]
        inside = ((centres >= outer[None, :, :2]) & (centres <= outer[None, :, 2:])).all(axis=2).any(axis=1)
        return detections.select(
            np.concatenate([np.flatnonzero(is_parent), np.flatnonzero(inside & ~is_parent)])
        )

    return pick
