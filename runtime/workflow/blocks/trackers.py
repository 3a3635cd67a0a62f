"""The trackers of the library `trackers`: SORT, ByteTrack, OC-SORT, BoT-SORT. One tracker a video and step, imported when the
first frame comes. Boxes alone are associated; masks and keypoints stay with theirs."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.flow import bounded
from runtime.workflow.blocks.tracking import NOMINAL_FPS, split_by_age
from runtime.workflow.fields import (
    BOOLEAN,
    BOXES,
    INTEGER,
    ZERO_TO_ONE,
    Choice,
    Either,
    Field,
    Flag,
    Nothing,
    Number,
    boxes,
    gives,
    image,
    option,
)
from runtime.workflow.values import Detections, ImageValue

SHARE = Either((Nothing(), Number()))
COUNT = Either((Nothing(), Number(0, 1_000_000, integer=True)))


def share(name: str, default: float) -> Field:
    return option(name, SHARE, default, ZERO_TO_ONE)


def count(name: str, default: int) -> Field:
    return option(name, COUNT, default, INTEGER)


CACHE = Field(
    "instances_cache_size", literal=Number(1, 1_000_000, integer=True), required=False, default=16384
)


class _Tracker(Block):
    """`library_name`: the class in `trackers`. A tracker is made with the settings of the first frame of its video."""

    library_name: ClassVar[str] = ""
    outputs = gives(tracked_detections=BOXES, new_instances=BOXES, already_seen_instances=BOXES)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._trackers: dict[str, Any] = {}
        self._known: dict[str, OrderedDict[int, None]] = {}

    def run(
        self, image: ImageValue, detections: Detections, instances_cache_size: int, **settings: Any
    ) -> tuple[Any, ...]:
        video = image.metadata.video_identifier
        tracker = self._trackers.get(video)
        if tracker is None:
            tracker = self._trackers[video] = self._made(image.metadata.fps or NOMINAL_FPS, settings)
            bounded(self._trackers)
        tracked = self._updated(tracker, image, detections)
        known = self._known.setdefault(video, OrderedDict())
        bounded(self._known)
        return split_by_age(tracked, known, instances_cache_size)

    def _made(self, fps: float, settings: dict[str, Any]) -> Any:
        return getattr(_library(), self.library_name)(frame_rate=fps, **settings)

    def _updated(self, tracker: Any, image: ImageValue, detections: Detections) -> Detections:
        """The detections that belong to a track, in the library's order, with its id."""
        from supervision import Detections as Boxes

        given = Boxes(
            xyxy=np.asarray(detections.xyxy, np.float64).reshape(-1, 4),
            confidence=np.asarray(detections.confidence, np.float64),
            class_id=np.asarray(detections.class_id, int),
            data={"row": np.arange(len(detections))},
        )
        found = tracker.update(given, **self.context(tracker, image))
        if found.tracker_id is None or not len(found):
            return replace(detections.select(np.zeros(0, np.intp)), tracker_id=np.zeros(0, np.int64))
        ids = np.asarray(found.tracker_id, np.int64)
        grown = ids >= 0
        kept = detections.select(np.asarray(found.data["row"], np.intp)[grown])
        return replace(kept, tracker_id=ids[grown], xyxy=np.asarray(found.xyxy, np.float64)[grown])

    def context(self, tracker: Any, image: ImageValue) -> dict[str, Any]:
        """What the tracker wants besides the boxes."""
        return {}


def _library() -> Any:
    """The library; its import warns about its own use of an older interface."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import trackers

    return trackers


class Sort(_Tracker):
    types = ("roboflow_core/trackers_sort@v1",)
    title = "SORT tracker"
    library_name = "SORTTracker"
    fields = (
        image(),
        boxes("detections"),
        share("minimum_iou_threshold", 0.3),
        count("minimum_consecutive_frames", 3),
        count("lost_track_buffer", 30),
        share("track_activation_threshold", 0.25),
        CACHE,
    )


class ByteTrack(_Tracker):
    types = ("roboflow_core/trackers_bytetrack@v1",)
    title = "ByteTrack tracker"
    library_name = "ByteTrackTracker"
    fields = (
        image(),
        boxes("detections"),
        share("minimum_iou_threshold", 0.1),
        count("minimum_consecutive_frames", 2),
        count("lost_track_buffer", 30),
        share("track_activation_threshold", 0.7),
        share("high_conf_det_threshold", 0.6),
        CACHE,
    )


class OcSort(_Tracker):
    types = ("roboflow_core/trackers_ocsort@v1",)
    title = "OC-SORT tracker"
    library_name = "OCSORTTracker"
    fields = (
        image(),
        boxes("detections"),
        share("minimum_iou_threshold", 0.3),
        count("minimum_consecutive_frames", 3),
        count("lost_track_buffer", 30),
        share("high_conf_det_threshold", 0.6),
        share("direction_consistency_weight", 0.2),
        count("delta_t", 3),
        CACHE,
    )


class BotSort(_Tracker):
    """With `enable_cmc` the camera's own motion is taken out, which costs a few milliseconds a frame."""

    types = ("roboflow_core/trackers_botsort@v1",)
    title = "BoT-SORT tracker"
    library_name = "BoTSORTTracker"
    fields = (
        image(),
        boxes("detections"),
        share("minimum_iou_threshold_first_assoc", 0.2),
        share("minimum_iou_threshold_second_assoc", 0.5),
        share("minimum_iou_threshold_unconfirmed_assoc", 0.3),
        count("minimum_consecutive_frames", 2),
        count("lost_track_buffer", 30),
        share("track_activation_threshold", 0.7),
        share("high_conf_det_threshold", 0.6),
        option("enable_cmc", Flag(), False, BOOLEAN),
        Field(
            "cmc_method",
            literal=Choice(("orb", "sift", "sparseOptFlow", "ecc")),
            required=False,
            default="sparseOptFlow",
        ),
        count("cmc_downscale", 2),
        option("instant_first_frame_activation", Flag(), False, BOOLEAN),
        CACHE,
    )

    def context(self, tracker: Any, image: ImageValue) -> dict[str, Any]:
        return {"frame": image.image} if getattr(tracker, "enable_cmc", False) else {}


BLOCKS: tuple[type[Block], ...] = (Sort, ByteTrack, OcSort, BotSort)
