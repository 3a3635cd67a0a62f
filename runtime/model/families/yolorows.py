"""What comes after a YOLO head has been read: suppression, and what follows the class scores of the rows that are left.

The same for rows of every line. Masks are coefficients × prototypes, interpolated to the picture, above 0, cut to the box; a
detection whose mask is empty is none. Oriented boxes are suppressed by probabilistic IoU. Source: predictions of the authors' own code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from runtime import masks
from runtime.model.families.family import (
    Candidates,
    Indices,
    has_nan,
    not_a_number,
    place_boxes,
    suppress,
)
from runtime.model.geometry import Geometry
from runtime.model.nms import oriented_nms, top
from runtime.model.spec import ModelSpec, Task
from runtime.model.upsample import Upsampler, by_letterbox, whole_pixels
from runtime.results import Answer, Floats, Ints, Result, corners_of


@dataclass(frozen=True)
class Rows:
    """Candidates above the threshold, in tensor pixels: boxes (N, 4) x1 y1 x2 y2, `extras` (N, E) what follows the classes,
    `centred` (N, 4) the same boxes as centre and size."""

    boxes: Floats
    scores: Floats
    class_ids: Ints
    extras: Floats
    centred: Floats


class YoloFinish:
    """From rows to the answer of one model. Keeps the interpolation of the newest picture's size."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._newest: tuple[Geometry, Upsampler] | None = None

    def __call__(self, rows: Rows, geometry: Geometry, prototypes: Floats | None) -> Answer:
        if has_nan(rows.extras) or (prototypes is not None and has_nan(prototypes)):
            return not_a_number(self._spec)
        if self._spec.task is Task.ORIENTED_DETECTION:
            return self._oriented(rows, geometry)
        candidates = Candidates(rows.boxes, rows.scores, rows.class_ids)
        keep = suppress(candidates, self._spec)
        if keep is None:
            return not_a_number(self._spec)
        result = place_boxes(candidates, keep, self._spec, geometry)
        if prototypes is not None:
            return self._with_masks(result, rows.extras[keep], prototypes, geometry)
        if self._spec.task is Task.KEYPOINTS:
            return replace(result, keypoints=self._keypoints(rows.extras[keep], geometry))
        return result

    def _keypoints(self, extras: Floats, geometry: Geometry) -> Floats:
        options = self._spec.decode.options
        points = extras.reshape(len(extras), int(options["keypoints"]), int(options["keypoint_values"]))
        seen = points[:, :, 2:3] if points.shape[2] == 3 else np.ones_like(points[:, :, :1])
        return np.concatenate([geometry.points_to_image(points[:, :, :2]), seen], axis=2)

    def _with_masks(
        self, result: Result, coefficients: Floats, prototypes: Floats, geometry: Geometry
    ) -> Result:
        flat = coefficients @ prototypes.reshape(len(prototypes), -1)
        logits = flat.reshape(-1, prototypes.shape[1], prototypes.shape[2])
        upsampler = self._upsampler_for(geometry, (prototypes.shape[1], prototypes.shape[2]))
        cut = whole_pixels(result.boxes).tolist()
        made = tuple(upsampler.mask(one, tuple(box)) for one, box in zip(logits, cut, strict=True))
        seen = np.array([masks.area(mask) > 0 for mask in made], np.bool_)
        return replace(result, masks=made).select(seen)

    def _upsampler_for(self, geometry: Geometry, map_hw: tuple[int, int]) -> Upsampler:
        newest = self._newest  # two threads may decode at once: each keeps hold of its own
        if newest is None or newest[0] != geometry:
            tensor_hw = (self._spec.input.height, self._spec.input.width)
            newest = self._newest = geometry, by_letterbox(map_hw, tensor_hw, geometry)
        return newest[1]

    def _oriented(self, rows: Rows, geometry: Geometry) -> Answer:
        turned = np.concatenate([rows.centred, rows.extras[:, -1:]], axis=1)
        if not np.isfinite(turned).all():
            return not_a_number(self._spec)
        keep = self._suppress_oriented(turned, rows)
        placed = in_image(turned[keep], geometry)
        corners = corners_of(placed)
        outer = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=self._spec.labels,
            boxes=outer,
            scores=rows.scores[keep],
            class_ids=(rows.class_ids[keep] - self._spec.decode.class_offset).astype(np.int32),
            oriented=placed,
        )

    def _suppress_oriented(self, turned: Floats, rows: Rows) -> Indices:
        decode = self._spec.decode
        if decode.nms == "none":
            return top(rows.scores, decode.max_detections)
        return oriented_nms(
            turned,
            rows.scores,
            rows.class_ids if decode.nms == "class" else None,
            iou_threshold=decode.iou_threshold,
            max_detections=decode.max_detections,
        )


def in_image(turned: Floats, geometry: Geometry) -> Floats:
    """Oriented boxes (N, 5) in tensor pixels → image pixels, not clipped; an aspect that the tensor changes is not undone."""
    gain = np.array([geometry.gain_x, geometry.gain_y], np.float32)
    offset = np.array([geometry.left_px, geometry.top_px], np.float32)
    out = turned.copy()
    out[:, 0:2] = (turned[:, 0:2] - offset) / gain
    out[:, 2:4] = turned[:, 2:4] / gain
    return np.asarray(out, np.float32)
