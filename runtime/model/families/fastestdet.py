"""FastestDet: one output (N, 5 + C, rows, columns): objectness, x y offsets, width, height, class probabilities.

Centre = (cell + tanh(offset)) / cells, size = sigmoid(value), both as a share of the image; score = objectness^0.6 ×
class^0.4. Source: the project's own ONNX Runtime example (dog-qiuqiu/FastestDet).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.model.families.family import (
    Candidates,
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    choose,
    finish,
    from_centre,
    grid,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_STRIDE = 16
_OBJECTNESS_POWER = 0.6
_CLASS_POWER = 0.4


class FastestDet:
    """The family FastestDet."""

    name = "fastestdet"
    evaluation = Evaluation(iou_threshold=0.45, multi_label=False)
    expects = "one output [N, 5 + classes, height / 16, width / 16]"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        if not _fits(graph.outputs, graph.width, graph.height) or not (named or "Softmax" in graph.ops):
            return None
        classes = (graph.outputs[0].shape[1] or 5) - 5
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(graph.image.name, graph.width, graph.height, colour="BGR", resize="stretch"),
            DecodeSpec(score_threshold=0.65),
            classes,
            f"one output {graph.outputs[0]}: a map of stride {_STRIDE} with objectness, box and a softmax over "
            f"{classes} classes",
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if not _fits(outputs, spec.input.width, spec.input.height):
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, (outputs[0].shape[1] or 5) - 5)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return FastestDetDecoder(spec)


def _fits(outputs: Sequence[Port], width: int, height: int) -> bool:
    if len(outputs) != 1 or len(outputs[0].shape) != 4:
        return False
    _, channels, rows, columns = outputs[0].shape
    return (
        (channels or 0) >= 6 and rows == -(-height // _STRIDE) and columns == -(-width // _STRIDE)
    )  # fmt: skip


class FastestDetDecoder:
    """Decodes the map of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._size = np.array([spec.input.width, spec.input.height], np.float32)
        self._places, _ = grid(spec.input.width, spec.input.height, [_STRIDE], 0.0)
        self._cells_wh = self._places[-1] + 1

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, maps: Floats, geometry: Geometry) -> Answer:
        if has_nan(maps):
            return not_a_number(self._spec)
        flat = maps.reshape(maps.shape[0], -1)
        objectness = np.minimum(np.maximum(flat[0], 0), 1) ** _OBJECTNESS_POWER
        likely = (objectness > self._spec.decode.score_threshold).nonzero()[0]
        rows = flat[:, likely].T
        classes = np.minimum(np.maximum(rows[:, 5:], 0), 1) ** _CLASS_POWER
        chosen, class_ids, scores = choose(objectness[likely, None] * classes, self._spec)
        cells, rows = likely[chosen], rows[chosen]
        places = self._places[cells]
        centres = (places + np.tanh(rows[:, 1:3])) / self._cells_wh * self._size
        sizes = _sigmoid(rows[:, 3:5]) * self._size
        boxes = from_centre(centres, sizes)
        return finish(Candidates(boxes, scores, class_ids.astype(np.int32)), self._spec, geometry)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)
