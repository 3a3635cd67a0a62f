"""MoveNet: the keypoints of one person (N, 1, 17, 3), or of several (N, P, 56) with a box each; y, x, score as shares of the input.

A person's box is the outer box of the keypoints that are seen, its score the mean of all; several persons bring their own. Input: RGB 0 to
255, the picture in the middle of a square, black around it. Source: the MoveNet model cards (single pose, multi pose), 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.model.families.family import (
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.nms import top
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, Result
from wire.problem import Problem

_POINTS = 17
_SEEN = 0.2
"""Of a keypoint's score, as the authors' own tracking crops have it."""
_COLUMNS = 3 * _POINTS + 5
"""Of a row of the form for several persons: the points, then y1 x1 y2 x2 score."""


class MoveNet:
    """MoveNet, single and multi pose."""

    name = "movenet"
    evaluation = Evaluation(score_threshold=0.0)
    expects = f"one output [N, 1, {_POINTS}, 3] of y x score, or [N, persons, {_COLUMNS}]"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        if not _fits(graph.outputs):
            return None
        several = len(graph.outputs[0].shape) == 3
        return Match(
            self.name,
            Task.KEYPOINTS,
            InputSpec(graph.image.name, graph.width, graph.height, pad=0, scale=1.0),
            DecodeSpec(score_threshold=0.25, nms="none", max_detections=20, options={"keypoints": _POINTS}),
            1,
            f"one output {graph.outputs[0]}: {_POINTS} keypoints of "
            + ("each of several persons" if several else "1 person"),
            ("person",),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if not _fits(outputs):
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, 1)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return MoveNetDecoder(spec, several=len(outputs[0].shape) == 3)


def _fits(outputs: Sequence[Port]) -> bool:
    if len(outputs) != 1:
        return False
    shape = outputs[0].shape
    return shape[1:] == (1, _POINTS, 3) or (
        len(shape) == 3 and shape[2] == _COLUMNS and (shape[1] or 0) <= 20
    )


class MoveNetDecoder:
    """Decodes the output of one model."""

    def __init__(self, spec: ModelSpec, *, several: bool) -> None:
        self._spec = spec
        self._several = several
        self._size = np.array([spec.input.width, spec.input.height], np.float32)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, values: Floats, geometry: Geometry) -> Answer:
        if has_nan(values):
            return not_a_number(self._spec)
        points = values[:, : 3 * _POINTS].reshape(-1, _POINTS, 3) if self._several else values
        places = geometry.points_to_image(points[:, :, 1::-1] * self._size)
        keypoints = np.concatenate([places, points[:, :, 2:3]], axis=2)
        if self._several:
            corners = values[:, [52, 51, 54, 53]] * np.tile(self._size, 2)
            boxes, scores = geometry.to_image(corners), values[:, 55]
        else:
            boxes, scores = self._seen(keypoints)
        keep = top(scores, self._spec.decode.max_detections)
        keep = keep[scores[keep] > self._spec.decode.score_threshold]
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=self._spec.labels,
            boxes=boxes[keep],
            scores=scores[keep],
            class_ids=np.zeros(len(keep), np.int32),
            keypoints=keypoints[keep],
        )

    @staticmethod
    def _seen(keypoints: Floats) -> tuple[Floats, Floats]:
        """Outer box of the one person's keypoints that are seen, and the mean score of all; score 0 where none is seen."""
        clear = keypoints[0][keypoints[0, :, 2] > _SEEN]
        if not len(clear):
            return np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
        box = np.concatenate([clear[:, :2].min(axis=0), clear[:, :2].max(axis=0)])
        return box[None], keypoints[0, :, 2].mean(keepdims=True)
