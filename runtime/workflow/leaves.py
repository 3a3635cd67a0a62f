"""Plain values given to a run, as their kinds want them: one reader a kind. A kind without a reader takes what it is given."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.geometry import polygon_problem
from wire.problem import shown

Reader = Callable[[Any], Any]


def read_leaf(value: Any, kinds: frozenset[str]) -> Any:
    """The value as the first of its kinds that can read it wants it.

    :raises StepFailed: kinds with a reader are declared, and none of them takes the value
    """
    known = [kind for kind in sorted(kinds) if kind in _READERS]
    for kind in known:
        try:
            return _READERS[kind](value)
        except (StepFailed, TypeError, ValueError, KeyError):
            continue
    if known:
        raise StepFailed(f"{' or '.join(known)} is expected, got {shown(value)}")
    return value


def _typed(*types: type) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError
        return value

    return read


def _float(value: Any) -> float:
    if not isinstance(value, (int, float, np.number)):
        raise TypeError
    return float(value)


def _share(value: Any) -> float:
    number = _float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError
    return number


def _point(value: Any) -> tuple[Any, ...]:
    point = tuple(_typed(list, tuple)(value)[:2])
    if len(point) != 2 or not all(isinstance(v, (int, float)) for v in point):
        raise ValueError
    return point


def _zone(value: Any) -> Any:
    if polygon_problem(value):
        raise ValueError
    return value


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(_typed(str)(value).replace("Z", "+00:00"))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(_typed(str)(value))


def _classification(value: Any) -> dict[str, Any]:
    entry: dict[str, Any] = _typed(dict)(value)
    if "predictions" not in entry or "image" not in entry:
        raise KeyError
    if "predicted_classes" not in entry and not {"top", "confidence"} <= set(entry):
        raise KeyError
    return entry


def _array(value: Any) -> Any:
    return np.asarray(_typed(list, tuple, np.ndarray)(value))


_TEXT = _typed(str)
_READERS: Mapping[str, Reader] = {
    "boolean": _typed(bool),
    "integer": _typed(int),
    "float": _float,
    "float_zero_to_one": _share,
    "string": _TEXT,
    **dict.fromkeys(
        (
            *("top_class", "parent_id", "inference_id", "prediction_type", "roboflow_model_id"),
            *("roboflow_project", "language_model_output"),
        ),
        _TEXT,
    ),
    "list_of_values": _typed(list, tuple),
    "dictionary": _typed(dict),
    "point": _point,
    "zone": _zone,
    "rgb_color": _typed(str, list, tuple),
    "timestamp": _timestamp,
    "bytes": _bytes,
    "classification_prediction": _classification,
    "numpy_array": _array,
    "contours": _typed(list, tuple, np.ndarray),
}
