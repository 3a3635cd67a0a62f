"""What flows between the steps of a workflow: pictures, detections, the facts of a frame. Owns no pixels and no model.

Arrays are shared, never copied, and must not be written to; whoever changes a value makes a new one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.results import Result

Array: TypeAlias = npt.NDArray[Any]
Index: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.intp]

ROOT_ID = "image"


class DetectionIds:
    """Ids of detections, in the form of a UUID: the first 24 digits are random once, the last 12 count."""

    def __init__(self, seed: uuid.UUID | None = None) -> None:
        self._prefix = str(seed or uuid.uuid4())[:24]
        self._next = 0

    def take(self, count: int) -> Array:
        """The next `count` ids, (count,) object."""
        first, prefix = self._next, self._prefix
        self._next += count
        return objects([f"{prefix}{n:012x}" for n in range(first, first + count)])


@dataclass(frozen=True)
class VideoMetadata:
    """Where a frame comes from. `frame_timestamp_wall` is in seconds since the epoch; 0 fps means unknown."""

    video_identifier: str = "camera"
    frame_number: int = 0
    frame_timestamp_wall: float = 0.0
    fps: float = 0.0
    comes_from_video_file: bool = False

    @property
    def timestamp(self) -> datetime:
        return datetime.fromtimestamp(self.frame_timestamp_wall, timezone.utc)

    @property
    def time_s(self) -> float:
        """The time of the frame: by its number in a file, by the clock of a live camera."""
        if self.comes_from_video_file and self.fps:
            return self.frame_number / self.fps
        return self.frame_timestamp_wall


@dataclass(frozen=True)
class Origin:
    """Where a picture lies within the one it was cut from (`parent_*`) and within the camera's (`root_*`), in pixels.

    `parent_id` names the detection or picture it was cut by. `scale` is root pixels per pixel of this picture.
    """

    parent_id: str = ROOT_ID
    parent_xy: tuple[int, int] = (0, 0)
    parent_wh: tuple[int, int] = (0, 0)
    root_xy: tuple[int, int] = (0, 0)
    root_wh: tuple[int, int] = (0, 0)
    scale: tuple[float, float] = (1.0, 1.0)

    @property
    def is_root(self) -> bool:
        return self.root_xy == (0, 0) and self.scale == (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class ImageValue:
    """A picture: (H, W, 3) or (H, W) uint8, BGR. `metadata` is the frame's, also in a crop of it. `in_place`: whether it is known
    that each pixel lies where `origin` says in the camera's picture of that frame."""

    image: npt.NDArray[np.uint8]
    metadata: VideoMetadata = VideoMetadata()
    origin: Origin | None = None
    in_place: bool = False

    @property
    def width_px(self) -> int:
        return int(self.image.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.image.shape[0])

    @property
    def wh(self) -> tuple[int, int]:
        return self.width_px, self.height_px

    @property
    def placed(self) -> Origin:
        """The origin; a picture without one is its own root."""
        return self.origin or Origin(parent_wh=self.wh, root_wh=self.wh)

    def cut(self, x_px: int, y_px: int, right_px: int, bottom_px: int, parent_id: str = "") -> ImageValue:
        """The part between two corners, which must lie inside; the pixels are shared."""
        own = self.placed
        root_xy = (
            own.root_xy[0] + round(x_px * own.scale[0]),
            own.root_xy[1] + round(y_px * own.scale[1]),
        )
        origin = Origin(parent_id or own.parent_id, (x_px, y_px), self.wh, root_xy, own.root_wh, own.scale)
        return ImageValue(self.image[y_px:bottom_px, x_px:right_px], self.metadata, origin, self.in_place)

    def redrawn(self, image: npt.NDArray[np.uint8]) -> ImageValue:
        """The same place and frame with other pixels, which may lie elsewhere than they did."""
        return ImageValue(image, self.metadata, self.origin)

    def drawn_over(self, image: npt.NDArray[np.uint8]) -> ImageValue:
        """The same with other pixels, of which none shows what lies elsewhere in the camera's picture."""
        kept = self.in_place and image.shape[:2] == self.image.shape[:2]
        return ImageValue(image, self.metadata, self.origin, kept)

    @property
    def window(self) -> tuple[float, float, float, float, tuple[int, int]]:
        """Left, top, width and height of what it shows, in pixels of the camera's picture, and the size of that."""
        own = self.placed
        across, down = own.scale
        return own.root_xy[0], own.root_xy[1], self.width_px * across, self.height_px * down, own.root_wh


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections in one picture.

    xyxy: (N, 4) float, pixels of the picture. confidence: (N,) float, 0 to 1. class_id: (N,) int. class_name and
    detection_id: (N,) object, strings. tracker_id: (N,) int64, or None where nothing tracked. image_wh: the picture's size.
    origin: where that picture lies in the camera's; None where it is the camera's own.
    masks: N run-length masks (COCO, compressed), or None. mask_form: how masks are written in JSON, `points` (an outline) or `rle`.
    keypoints: (N, K, 3) float, x, y, score, or None. keypoint_names: (N, K) object, strings; "" where an object has fewer points.
    data: more per-box values by name, each (N, …).
    """

    xyxy: Array
    confidence: Array
    class_id: Array
    class_name: Array
    detection_id: Array
    image_wh: tuple[int, int] = (0, 0)
    tracker_id: Array | None = None
    origin: Origin | None = None
    masks: tuple[Mapping[str, Any], ...] | None = None
    keypoints: Array | None = None
    data: Mapping[str, Array] = field(default_factory=dict)
    prediction_type: str = "object-detection"
    keypoint_names: Array | None = None
    mask_form: str = "points"

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def areas(self) -> Array:
        """(N,) px²."""
        box = self.xyxy
        areas: Array = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        return areas

    @property
    def centres(self) -> Array:
        """(N, 2) float, x y."""
        centres: Array = (self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2
        return centres

    def select(self, keep: Index) -> Detections:
        """The detections of a mask or an index array, everything else as it is."""
        index = keep.nonzero()[0] if keep.dtype == np.bool_ else keep
        return Detections(
            self.xyxy[index],
            self.confidence[index],
            self.class_id[index],
            self.class_name[index],
            self.detection_id[index],
            self.image_wh,
            None if self.tracker_id is None else self.tracker_id[index],
            self.origin,
            None if self.masks is None else tuple(self.masks[int(i)] for i in index),
            None if self.keypoints is None else self.keypoints[index],
            {name: values[index] for name, values in self.data.items()} if self.data else self.data,
            self.prediction_type,
            None if self.keypoint_names is None else self.keypoint_names[index],
            self.mask_form,
        )

    def with_data(self, **columns: Array) -> Detections:
        """With more per-box values; a column of the same name is replaced."""
        return replace(self, data={**self.data, **columns})

    def in_root(self) -> Detections:
        """In the coordinates of the camera's picture."""
        origin = self.origin
        if origin is None:
            return self
        if origin.is_root and self.image_wh == origin.root_wh:
            return replace(self, origin=None)
        scale = np.array(origin.scale * 2, np.float64)
        offset = np.array(origin.root_xy * 2, np.float64)
        return replace(
            self.placed_at(offset, scale, origin.root_wh),
            image_wh=origin.root_wh,
            origin=None,
        )

    def placed_at(self, offset: Array, scale: Array, wh: tuple[int, int]) -> Detections:
        """Boxes, keypoints, masks and polygons times a scale, plus an offset (both (4,), x y x y), in a picture of `wh`."""
        keypoints, masks, data = self.keypoints, self.masks, self.data
        if keypoints is not None:
            keypoints = keypoints.copy()
            keypoints[..., :2] = keypoints[..., :2] * scale[:2] + offset[:2]
        if masks:
            from runtime.workflow.regions import moved

            masks = tuple(moved(m, wh, offset[:2].tolist(), scale[:2].tolist()) for m in masks)
        if "polygon" in data:
            shifted = [(np.asarray(p) * scale[:2] + offset[:2]).tolist() for p in data["polygon"]]
            data = {**data, "polygon": objects(shifted)}
        return replace(
            self, xyxy=self.xyxy * scale + offset, keypoints=keypoints, masks=masks, data=data, image_wh=wh
        )


def objects(values: list[Any]) -> Array:
    """(N,) object: Python values as they are, also where they are lists of equal length."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def empty_like(reference: Detections) -> Detections:
    """No detections in the picture of others."""
    return reference.select(np.zeros(0, np.intp))


def from_result(result: Result, image: ImageValue, ids: DetectionIds) -> Detections:
    """What a model saw in a picture; the arrays are shared."""
    labels = result.labels
    count = len(result)
    last = int(result.class_ids.max()) if count else -1
    if 0 <= last < len(labels) and int(result.class_ids.min()) >= 0:
        names = objects([labels[i] for i in result.class_ids.tolist()])
    else:
        names = objects([result.label(int(i)) for i in result.class_ids])
    kind = "keypoint-detection" if result.keypoints is not None else "object-detection"
    if result.masks is not None:
        kind = "instance-segmentation"
    return Detections(
        result.boxes,
        result.scores,
        result.class_ids,
        names,
        ids.take(count),
        image.wh,
        origin=image.origin,
        masks=result.masks,
        keypoints=result.keypoints,
        prediction_type=kind,
    )


def to_result(detections: Detections, labels: tuple[str, ...]) -> Result:
    """The detections as a model's result, e.g. to be drawn; `labels` are those of the model that made them."""
    return Result(
        detections.image_wh,
        labels,
        detections.xyxy,
        detections.confidence,
        detections.class_id,
        detections.masks,
        detections.keypoints,
    )


def joined(one: Result, other: Result) -> Result:
    """The detections of two results of one model in one picture; what only one of them has is left out."""
    masks = None if one.masks is None or other.masks is None else one.masks + other.masks
    same = one.keypoints is not None and other.keypoints is not None
    return Result(
        one.image_wh,
        one.labels,
        np.concatenate([one.boxes, other.boxes]),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.class_ids, other.class_ids]),
        masks,
        np.concatenate([one.keypoints, other.keypoints]) if same else None,
    )


ANCHORS: dict[str, tuple[float, float]] = {
    "CENTER": (0.5, 0.5),
    "CENTER_LEFT": (0.0, 0.5),
    "CENTER_RIGHT": (1.0, 0.5),
    "TOP_LEFT": (0.0, 0.0),
    "TOP_CENTER": (0.5, 0.0),
    "TOP_RIGHT": (1.0, 0.0),
    "BOTTOM_LEFT": (0.0, 1.0),
    "BOTTOM_CENTER": (0.5, 1.0),
    "BOTTOM_RIGHT": (1.0, 1.0),
    "CENTER_OF_MASS": (0.5, 0.5),
}
"""Points of a box, as shares of its width and height from its top-left corner. Without a mask the centre of mass is the centre."""


def anchor_points(detections: Detections, anchor: str) -> Array:
    """(N, 2) float, x y of one point of each box; the centre of mass is that of the mask, on whole pixels, where there are masks."""
    if anchor == "CENTER_OF_MASS" and detections.masks:
        from runtime.workflow.regions import centre_of_mass

        return np.array([centre_of_mass(mask) for mask in detections.masks], np.float64)
    share = np.array(ANCHORS[anchor])
    box = detections.xyxy
    points: Array = box[:, :2] * (1.0 - share) + box[:, 2:] * share
    return points
