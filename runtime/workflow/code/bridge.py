"""Values as code written for the original engine knows them, and back: `sv.Detections`, pictures, batches."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime import masks
from runtime.workflow.block import StepFailed
from runtime.workflow.graph import Index
from runtime.workflow.values import (
    Array,
    DetectionIds,
    Detections,
    ImageValue,
    Origin,
    VideoMetadata,
    objects,
)

_OWN = (
    "class_name",
    "detection_id",
    "parent_id",
    "image_dimensions",
    "prediction_type",
    "_origin",
    "rle_mask",
)
"""Columns of `sv.Detections.data` that have a place of their own here."""


class Batch:
    """The elements of a batch, with their indices."""

    def __init__(self, content: Sequence[Any], indices: Sequence[Index] | None = None) -> None:
        self._content = list(content)
        self._indices: list[Index] = (
            list(indices) if indices is not None else [(i,) for i in range(len(self._content))]
        )

    @classmethod
    def init(cls, content: Sequence[Any], indices: Sequence[Index] | None = None) -> Batch:
        return cls(content, indices)

    @property
    def indices(self) -> list[Index]:
        return self._indices

    def __getitem__(self, index: int) -> Any:
        return self._content[index]

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._content)

    def iter_with_indices(self) -> Iterator[tuple[Index, Any]]:
        return zip(self._indices, self._content, strict=True)


@dataclass(frozen=True)
class _Coordinates:
    left_top_x: int
    left_top_y: int
    origin_width: int
    origin_height: int


@dataclass(frozen=True)
class _Ancestor:
    parent_id: str
    origin_coordinates: _Coordinates | None = None


class Picture:
    """A picture as code sees it; pixels are shared, and must not be written to."""

    def __init__(
        self,
        parent_metadata: Any = None,
        numpy_image: Array | None = None,
        workflow_root_ancestor_metadata: Any = None,
        video_metadata: VideoMetadata | None = None,
        *,
        own: ImageValue | None = None,
        **_: Any,
    ) -> None:
        if own is None and numpy_image is None:
            raise StepFailed("a picture made by code needs numpy_image")
        self.own = own or ImageValue(np.asarray(numpy_image), video_metadata or VideoMetadata())

    @property
    def numpy_image(self) -> Array:
        return self.own.image

    @property
    def base64_image(self) -> str:
        import cv2

        return base64.b64encode(cv2.imencode(".jpg", self.own.image)[1].tobytes()).decode()

    @property
    def video_metadata(self) -> VideoMetadata:
        return self.own.metadata

    @property
    def parent_metadata(self) -> _Ancestor:
        placed = self.own.placed
        return _Ancestor(placed.parent_id, _Coordinates(*placed.parent_xy, *placed.parent_wh))

    @property
    def workflow_root_ancestor_metadata(self) -> _Ancestor:
        placed = self.own.placed
        return _Ancestor("image", _Coordinates(*placed.root_xy, *placed.root_wh))

    @classmethod
    def copy_and_replace(cls, origin_image_data: Picture, **changes: Any) -> Picture:
        """The same place and frame with other pixels (`numpy_image=`)."""
        pixels = changes.get("numpy_image")
        return cls(own=origin_image_data.own if pixels is None else origin_image_data.own.redrawn(pixels))

    @classmethod
    def create_crop(
        cls,
        origin_image_data: Picture,
        crop_identifier: str,
        cropped_image: Array,
        offset_x: int,
        offset_y: int,
        **_: Any,
    ) -> Picture:
        """A part of a picture, whose top-left corner lies at the offset."""
        height, width = cropped_image.shape[:2]
        x, y = int(offset_x), int(offset_y)
        placed = origin_image_data.own.cut(x, y, x + width, y + height, crop_identifier)
        return cls(own=placed.redrawn(cropped_image))


def to_code(value: Any) -> Any:
    """A value of the workflow as code sees it."""
    if isinstance(value, Detections):
        return _supervision(value)
    if isinstance(value, ImageValue):
        return Picture(own=value)
    if isinstance(value, list):
        return [to_code(entry) for entry in value]
    if isinstance(value, dict):
        return {name: to_code(entry) for name, entry in value.items()}
    return value


def to_workflow(value: Any, ids: DetectionIds) -> Any:
    """What code answers, as the workflow keeps it."""
    if isinstance(value, Picture):
        return value.own
    if isinstance(value, list):
        return [to_workflow(entry, ids) for entry in value]
    if isinstance(value, dict):
        return {name: to_workflow(entry, ids) for name, entry in value.items()}
    if type(value).__name__ == "Detections" and hasattr(value, "xyxy") and hasattr(value, "data"):
        return _detections(value, ids)
    return value


def _supervision(detections: Detections) -> Any:
    import supervision as sv

    count = len(detections)
    width, height = detections.image_wh
    parent = detections.origin.parent_id if detections.origin is not None else "image"
    data: dict[str, Any] = {
        **detections.data,
        "class_name": detections.class_name.astype(str) if count else np.array([], str),
        "detection_id": detections.detection_id.astype(str) if count else np.array([], str),
        "parent_id": np.array([parent] * count),
        "image_dimensions": np.tile(np.array([[height, width]]), (count, 1)),
        "prediction_type": np.array([detections.prediction_type] * count),
        "_origin": objects([detections.origin] * count),
    }
    bitmaps = None
    if detections.masks is not None:
        bitmaps = masks.decode_all(detections.masks, (height, width))
    if detections.keypoints is not None:
        data["keypoints_xy"] = detections.keypoints[..., :2]
        data["keypoints_confidence"] = detections.keypoints[..., 2]
    return sv.Detections(
        xyxy=np.array(detections.xyxy, np.float64).reshape(-1, 4),
        mask=bitmaps,
        confidence=np.array(detections.confidence, np.float64),
        class_id=np.array(detections.class_id, np.int64),
        tracker_id=None if detections.tracker_id is None else detections.tracker_id.copy(),
        data=data,
    )


def _detections(value: Any, ids: DetectionIds) -> Detections:
    count, data = len(value), value.data

    def column(name: str, otherwise: list[Any]) -> Array:
        return objects([str(entry) for entry in data[name]] if name in data else otherwise)

    height, width = (
        (int(v) for v in data["image_dimensions"][0]) if count and "image_dimensions" in data else (0, 0)
    )
    origin = data["_origin"][0] if count and "_origin" in data else None
    class_ids = value.class_id if value.class_id is not None else np.zeros(count, np.int64)
    scores = value.confidence if value.confidence is not None else np.ones(count)
    keypoints = None
    if "keypoints_xy" in data and "keypoints_confidence" in data and count:
        keypoints = np.concatenate([data["keypoints_xy"], data["keypoints_confidence"][..., None]], axis=2)
    kept = {n: np.asarray(v) for n, v in data.items() if n not in _OWN and not n.startswith("keypoints_")}
    kind = str(data["prediction_type"][0]) if count and "prediction_type" in data else "object-detection"
    return Detections(
        np.asarray(value.xyxy, np.float64),
        np.asarray(scores, np.float64),
        np.asarray(class_ids, np.int64),
        column("class_name", [str(i) for i in class_ids]),
        column("detection_id", list(ids.take(count)) if "detection_id" not in data else []),
        (width, height),
        value.tracker_id,
        origin if isinstance(origin, Origin) else None,
        None if value.mask is None else tuple(masks.encode(bitmap) for bitmap in value.mask),
        keypoints,
        kept,
        kind,
    )
