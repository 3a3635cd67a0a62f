"""Outputs of a workflow as JSON: detections in the form of an inference response, pictures named, never embedded.

Bounded in depth, in entries and in the length of texts; what was cut off is said in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

import numpy as np

from runtime.workflow.values import ROOT_ID, Detections, ImageValue, VideoMetadata

MAX_DEPTH = 24
MAX_ENTRIES = 4096
"""Of one list or object."""
MAX_TEXT_CHARS = 65536
MAX_NODES = 100_000
"""Of one call: an event of more would not fit a message anyway."""


def to_json(value: Any) -> Any:
    """Any value of a workflow as JSON types; NaN and infinities become null."""
    return _Writer().write(value, 0)


def detections_json(detections: Detections) -> dict[str, Any]:
    """`{image: {width, height}, predictions: [{x, y, width, height, confidence, class, class_id, detection_id, …}]}`; x and y
    are the centre, all in pixels."""
    width_px, height_px = detections.image_wh
    return {"image": {"width": width_px, "height": height_px}, "predictions": predictions(detections)}


def predictions(detections: Detections) -> list[dict[str, Any]]:
    """One object a box."""
    if not len(detections):
        return []
    parent = detections.origin.parent_id if detections.origin is not None else ROOT_ID
    out: list[dict[str, Any]] = [
        {
            "width": x2 - x1,
            "height": y2 - y1,
            "x": (x1 + x2) / 2,
            "y": (y1 + y2) / 2,
            "confidence": confidence,
            "class_id": class_id,
            "class": name,
            "detection_id": detection_id,
            "parent_id": parent,
        }
        for (x1, y1, x2, y2), confidence, class_id, name, detection_id in zip(
            detections.xyxy.tolist(),
            detections.confidence.tolist(),
            detections.class_id.tolist(),
            detections.class_name.tolist(),
            detections.detection_id.tolist(),
            strict=True,
        )
    ]
    _add_optional(out, detections)
    return out


def _add_optional(out: list[dict[str, Any]], detections: Detections) -> None:
    columns: dict[str, list[Any]] = {name: values.tolist() for name, values in detections.data.items()}
    if detections.tracker_id is not None:
        columns["tracker_id"] = detections.tracker_id.tolist()
    if detections.masks and detections.mask_form == "rle":
        columns["rle_mask"] = [_mask(mask) for mask in detections.masks]
    elif detections.masks:
        columns["points"] = [_outline(mask) for mask in detections.masks]
    if detections.keypoints is not None:
        columns["keypoints"] = _keypoints(detections)
    has_rect = "rect" in columns
    for name, values in columns.items():
        if has_rect or name not in ("width", "height"):
            for entry, value in zip(out, values, strict=True):
                entry[name] = value


def _outline(mask: Mapping[str, Any]) -> list[dict[str, float]]:
    from runtime.workflow.regions import outline

    points = outline(mask)
    return [] if points is None else [{"x": float(x), "y": float(y)} for x, y in points.tolist()]


def _keypoints(detections: Detections) -> list[list[dict[str, Any]]]:
    """The points of each detection; a number stands for a name that is not known."""
    assert detections.keypoints is not None
    count = detections.keypoints.shape[1]
    unnamed = [[str(k) for k in range(count)]] * len(detections)
    names = unnamed if detections.keypoint_names is None else detections.keypoint_names.tolist()
    return [
        [
            {"class_id": k, "class": name, "confidence": score, "x": x, "y": y}
            for k, (name, (x, y, score)) in enumerate(zip(own, points, strict=True))
            if name
        ]
        for own, points in zip(names, detections.keypoints.tolist(), strict=True)
    ]


def _mask(mask: Mapping[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    return {
        "size": list(mask["size"]),
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


class _Writer:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def write(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, (bool, int)):
            return value.value if isinstance(value, Enum) else value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, str):
            text = str(value.value) if isinstance(value, Enum) else value
            return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"
        if depth >= MAX_DEPTH or self._left < 0:
            return {"left_out": type(value).__name__}
        return self._structure(value, depth)

    def _structure(self, value: Any, depth: int) -> Any:
        if isinstance(value, Detections):
            return self.write(detections_json(value), depth)
        if isinstance(value, ImageValue):
            return {"type": "image", "width": value.width_px, "height": value.height_px, "left_out": True}
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(list(value), depth)
        if isinstance(value, np.generic):
            return self.write(value.item(), depth)
        if isinstance(value, np.ndarray):
            if value.size > MAX_ENTRIES or (
                value.dtype == np.uint8 and value.ndim > 1
            ):  # pixels are a picture
                return {"type": "array", "shape": list(value.shape), "left_out": True}
            return self._sequence(value.tolist(), depth) if value.ndim else self.write(value.item(), depth)
        return self._other(value)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, entry in value.items():
            if len(out) >= MAX_ENTRIES or self._left < 0:
                out["left_out"] = len(value) - len(out)
                break
            out[str(name)] = self.write(entry, depth + 1)
        return out

    def _sequence(self, value: list[Any], depth: int) -> list[Any]:
        out: list[Any] = []
        for entry in value[:MAX_ENTRIES]:
            if self._left < 0:
                break
            out.append(self.write(entry, depth + 1))
        if len(out) < len(value):
            out.append({"left_out": len(value) - len(out)})
        return out

    def _other(self, value: Any) -> Any:
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, VideoMetadata):
            return {
                "video_identifier": value.video_identifier,
                "frame_number": value.frame_number,
                "frame_timestamp": value.timestamp.isoformat(),
                "fps": value.fps,
                "comes_from_video_file": value.comes_from_video_file,
            }
        if isinstance(value, (bytes, bytearray)):
            return {"type": "bytes", "length": len(value), "left_out": True}
        return {"left_out": type(value).__name__}
