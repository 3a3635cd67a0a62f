"""Values given to a run, as the slots want them: a batch is told from a single value, JSON becomes detections and frames' facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.definition import Input
from runtime.workflow.fields import ANY, BOXES, IMAGE, VIDEO_METADATA
from runtime.workflow.graph import Graph, Index, Lineage
from runtime.workflow.leaves import read_leaf
from runtime.workflow.values import (
    ROOT_ID,
    Array,
    DetectionIds,
    Detections,
    ImageValue,
    Origin,
    VideoMetadata,
    objects,
)
from wire.problem import shown

Values = dict[Index, Any]
MAX_BATCH = 4096


class Given:
    """The inputs of one run: slot values, the indices of every lineage, and what was wrong (`$inputs.name` → message)."""

    def __init__(self, graph: Graph, raw: Mapping[str, Any], ids: DetectionIds) -> None:
        self.errors: dict[str, str] = {}
        self.slots: list[Values] = [{} for _ in range(graph.slot_count)]
        self.batch_size = _batch_size(graph, raw)
        self.indices: dict[Lineage, list[Index]] = {(): [()]}
        self._ids = ids
        for item in graph.inputs.values():
            slot = graph.input_slots[item.name]
            if not item.dimensionality:
                self.slots[slot.number][()] = raw.get(item.name, item.default)
                continue
            top = self.indices.setdefault(slot.lineage[:1], [(i,) for i in range(self.batch_size)])
            try:
                self._fill(item, slot.lineage, raw, self.slots[slot.number], top)
            except (StepFailed, TypeError, ValueError, KeyError, IndexError) as e:
                self.errors[f"$inputs.{item.name}"] = str(e) or type(e).__name__
                for depth in range(2, slot.depth + 1):
                    self.indices.setdefault(slot.lineage[:depth], [])

    def _fill(
        self, item: Input, lineage: Lineage, raw: Mapping[str, Any], into: Values, top: list[Index]
    ) -> None:
        if raw.get(item.name) is None:
            raise StepFailed(f"input {item.name!r} is missing: give a value or a list of them")
        given = raw[item.name]
        if not isinstance(given, list):
            given = [given]
        if len(given) == 1:
            given = given * self.batch_size
        if len(given) != self.batch_size:
            raise StepFailed(
                f"input {item.name!r} has {len(given)} elements, the batch has {self.batch_size}: "
                "give one, or as many as the others"
            )
        level = list(zip(top, given, strict=True))
        for depth in range(2, item.dimensionality + 1):
            level = [((*index, j), v) for index, group in level for j, v in enumerate(_group(group, item))]
            self.indices[lineage[:depth]] = [index for index, _ in level]
        for index, value in level:
            into[index] = None if value is None else read_value(value, item.kinds, self._ids)


def _group(group: Any, item: Input) -> list[Any]:
    if not isinstance(group, list):
        raise StepFailed(
            f"input {item.name!r} takes lists within lists, {item.dimensionality} levels; got {shown(group)}"
        )
    return group


def _batch_size(graph: Graph, raw: Mapping[str, Any]) -> int:
    """The length of the first list that is longer than 1, else 1."""
    for item in graph.inputs.values():
        value = raw.get(item.name)
        if item.dimensionality and isinstance(value, list) and len(value) > 1:
            return min(len(value), MAX_BATCH)
    return 1


def read_value(value: Any, kinds: frozenset[str], ids: DetectionIds) -> Any:
    """One value as its kinds want it; values of other kinds are taken as they are.

    :raises StepFailed: the kinds are known and the value is none of them
    """
    if isinstance(value, (ImageValue, Detections, VideoMetadata)):
        return value
    if kinds == {IMAGE}:
        if isinstance(value, np.ndarray):
            return ImageValue(value)
        raise StepFailed(f"an image is expected, got {shown(value)}")
    if VIDEO_METADATA in kinds and isinstance(value, dict):
        return metadata_from_json(value)
    if kinds & BOXES:
        if isinstance(value, dict):
            return detections_from_json(value, ids)
        if kinds <= BOXES:
            raise StepFailed(f"detections are expected, got {shown(value)}")
    if VIDEO_METADATA in kinds and not kinds - {VIDEO_METADATA}:
        raise StepFailed(f"the facts of a frame are expected, an object, got {shown(value)}")
    return value if ANY in kinds else read_leaf(value, kinds)


def metadata_from_json(value: Mapping[str, Any]) -> VideoMetadata:
    """The facts of a frame; `frame_timestamp` in ISO 8601 or seconds since the epoch."""
    stamp = value.get("frame_timestamp", 0.0)
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    return VideoMetadata(
        str(value.get("video_identifier", "camera")),
        int(value.get("frame_number", 0)),
        float(stamp),
        float(value.get("fps") or 0.0),
        bool(value.get("comes_from_video_file", False)),
    )


def detections_from_json(value: Mapping[str, Any], ids: DetectionIds) -> Detections:
    """Detections in the form of an inference response.

    :raises StepFailed: `image` or `predictions` are missing, or an entry has no box
    """
    image, entries = value.get("image"), value.get("predictions")
    if not isinstance(image, dict) or not isinstance(entries, list):
        raise StepFailed("detections are expected: {image: {width, height}, predictions: [...]}")
    entries = [e for e in entries if not _is_sliver(e)]
    try:
        centre = np.array([[e["x"], e["y"]] for e in entries], np.float64).reshape(-1, 2)
        half = np.array([[e["width"], e["height"]] for e in entries], np.float64).reshape(-1, 2) / 2
        names = [str(e.get("class", e.get("class_name", ""))) for e in entries]
        class_ids = [int(e.get("class_id", 0)) for e in entries]
        scores = [float(e.get("confidence", 1.0)) for e in entries]
        wh = (int(image["width"]), int(image["height"]))
    except (KeyError, AttributeError, TypeError) as e:
        raise StepFailed(f"a prediction lacks {e}: x, y, width and height are needed") from e
    fresh = ids.take(len(entries))
    own = [e.get("detection_id", fresh[i]) for i, e in enumerate(entries)]
    tracked = [e.get("tracker_id") for e in entries]
    masks = _masks(entries, wh)
    keypoints, keypoint_names = _keypoints(entries)
    return Detections(
        np.hstack([centre - half, centre + half]),
        np.array(scores, np.float64),
        np.array(class_ids, np.int64),
        objects(names),
        objects(own),
        wh,
        np.array(tracked, np.int64) if entries and None not in tracked else None,
        origin=_origin(entries, wh),
        masks=masks,
        keypoints=keypoints,
        data=_columns(entries),
        prediction_type=_prediction_type(masks, keypoints),
        keypoint_names=keypoint_names,
        mask_form="rle" if entries and all("rle_mask" in e for e in entries) else "points",
    )


def _prediction_type(masks: Any, keypoints: Any) -> str:
    if masks:
        return "instance-segmentation"
    return "object-detection" if keypoints is None else "keypoint-detection"


def _run_length(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for name in ("rle", "rle_mask"):
        rle = entry.get(name)
        if isinstance(rle, dict) and {"size", "counts"} <= rle.keys():
            return rle
    return None


def _is_sliver(entry: Any) -> bool:
    """An outline of fewer than three points is no object."""
    if not isinstance(entry, dict) or _run_length(entry) is not None:
        return False
    points = entry.get("points")
    return isinstance(points, list) and len(points) < 3


def _masks(entries: list[Any], wh: tuple[int, int]) -> tuple[Mapping[str, Any], ...] | None:
    """The mask of every prediction, from run lengths or an outline; None where one has neither."""
    if not entries:
        return None
    from runtime.workflow.regions import from_polygon

    masks: list[Mapping[str, Any]] = []
    for entry in entries:
        rle, points = _run_length(entry), entry.get("points")
        if rle is not None:
            masks.append(rle)
        elif points:
            masks.append(from_polygon([[p["x"], p["y"]] for p in points], wh))
        else:
            return None
    return tuple(masks)


def _keypoints(entries: list[Any]) -> tuple[Array | None, Array | None]:
    """(N, K, 3) and the names (N, K), filled up to the most that any prediction has."""
    if not entries or "keypoints" not in entries[0]:
        return None, None
    found = [e.get("keypoints", []) for e in entries]
    most = max(map(len, found))
    points, names = np.zeros((len(found), most, 3)), np.full((len(found), most), "", object)
    for i, of_one in enumerate(found):
        for k, point in enumerate(of_one):
            points[i, k] = point["x"], point["y"], point.get("confidence", 1.0)
            names[i, k] = str(point.get("class", point.get("class_name", "")))
    return points, names


def _origin(entries: list[Any], wh: tuple[int, int]) -> Origin | None:
    """Where the picture lies in the camera's, where the predictions say so."""
    if not entries:
        return None
    parent, root = entries[0].get("parent_origin"), entries[0].get("root_parent_origin")
    if not isinstance(root, dict):
        return None
    own = parent if isinstance(parent, dict) else {}
    return Origin(
        str(entries[0].get("parent_id", ROOT_ID)),
        (int(own.get("offset_x", 0)), int(own.get("offset_y", 0))),
        (int(own.get("width", wh[0])), int(own.get("height", wh[1]))),
        (int(root.get("offset_x", 0)), int(root.get("offset_y", 0))),
        (int(root.get("width", wh[0])), int(root.get("height", wh[1]))),
    )


_KNOWN_COLUMNS = (
    "time_in_zone",
    "velocity",
    "speed",
    "smoothed_velocity",
    "smoothed_speed",
    "path_deviation",
    "angle",
    "height",
    "width",
    "area_px",
    "area_converted",
)
"""Numbers of a prediction that are kept as columns; width and height only beside a `rect`, else they are the box's."""
_KEPT_AS_IS = ("polygon", "rect", "data", "nearest_target_distance")


def _columns(entries: list[Any]) -> dict[str, Array]:
    """Columns that the first prediction has, so all must.

    :raises StepFailed: one of them lacks such a column
    """
    if not entries:
        return {}
    first = entries[0]
    names = [n for n in _KNOWN_COLUMNS if n in first and (n not in ("width", "height") or "rect" in first)]
    columns: dict[str, Array] = {}
    try:
        for name in names:
            columns[name] = np.array([e[name] for e in entries], np.float64)
        for name in _KEPT_AS_IS:
            if name in first:
                columns[name] = objects([e[name] for e in entries])
    except KeyError as e:
        raise StepFailed(f"the first prediction has {e}, another one lacks it: all or none must") from e
    return columns
