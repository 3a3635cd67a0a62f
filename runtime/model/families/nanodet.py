"""NanoDet with the heads of generalised focal loss: for each stride class scores (N, cells, C) and box distributions
(N, cells, 4 × (reg_max + 1)).

A side's distance from the cell's centre is the expectation of its distribution, in strides. Source: Li et al., Generalized
Focal Loss, 2020, section 3; NanoDet's configuration (BGR, stretch, channel mean and deviation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.model.families.family import (
    Candidates,
    Decoder,
    Evaluation,
    Graph,
    Indices,
    Match,
    Output,
    Port,
    as_float,
    choose,
    finish,
    grid,
    grid_cells,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_MEAN = (103.53, 116.28, 123.675)
_STD = (57.375, 57.12, 58.395)
_REG_MAX = (7, 10, 16)
"""Published models use 7 and 10; 16 is the value of the paper."""


class NanoDet:
    """The family NanoDet (not Plus)."""

    name = "nanodet"
    evaluation = Evaluation(iou_threshold=0.6, multi_label=True)
    expects = "two outputs for each stride 8, 16, 32: scores [N, cells, classes] and distances [N, cells, 4 x (reg_max + 1)]"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        heads = _pair(graph.outputs, graph.width, graph.height)
        if heads is None:
            return None
        first = graph.outputs[heads[0][1]]
        classes, bins = first.shape[2] or 0, (graph.outputs[heads[0][2]].shape[2] or 0) // 4
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                colour="BGR",
                resize="stretch",
                scale=1.0,
                mean=_MEAN,
                std=_STD,
            ),
            DecodeSpec(score_threshold=0.35, iou_threshold=0.6, options={"reg_max": bins - 1}),
            classes,
            f"for each stride {', '.join(str(s) for s, _, _ in heads)} an output with {classes} class scores and one "
            f"with 4 x {bins} distances",
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        heads = _pair(outputs, spec.input.width, spec.input.height)
        if heads is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, outputs[heads[0][1]].shape[2] or 0)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        heads = _pair(outputs, spec.input.width, spec.input.height)
        assert heads is not None, "check() comes before decoder()"
        return NanoDetDecoder(spec, heads, (outputs[heads[0][2]].shape[2] or 0) // 4)


def _pair(outputs: Sequence[Port], width: int, height: int) -> list[tuple[int, int, int]] | None:
    """(stride, index of scores, index of distances) by rising stride, found by the rows of each output."""
    for strides in _STRIDES:
        if len(outputs) != 2 * len(strides):
            continue
        heads = [_level(outputs, stride, grid_cells(width, height, [stride])) for stride in strides]
        found = [head for head in heads if head is not None]
        if len(found) == len(strides):
            return found
    return None


def _level(outputs: Sequence[Port], stride: int, cells: int) -> tuple[int, int, int] | None:
    here = [i for i, port in enumerate(outputs) if len(port.shape) == 3 and port.shape[1] == cells]
    if len(here) != 2:
        return None
    for scores, distances in (here, here[::-1]):
        if outputs[distances].shape[2] in [4 * (r + 1) for r in _REG_MAX] and _is_scores(outputs, scores):
            return stride, scores, distances
    return None


def _is_scores(outputs: Sequence[Port], index: int) -> bool:
    """Where scores and distances could both be either, the names decide; otherwise the first of the two is the scores."""
    name = outputs[index].name.lower()
    return not any(word in name for word in ("dis", "reg", "box"))


class NanoDetDecoder:
    """Holds the cell centres of one model."""

    def __init__(self, spec: ModelSpec, heads: list[tuple[int, int, int]], bins: int) -> None:
        strides = [stride for stride, _, _ in heads]
        cells, self._strides = grid(spec.input.width, spec.input.height, strides, 0.5)
        self._centres = cells * self._strides
        self._score_outputs = [scores for _, scores, _ in heads]
        self._distance_outputs = [distances for _, _, distances in heads]
        self._bins = np.arange(bins, dtype=np.float32)
        self._limit = np.array([spec.input.width, spec.input.height] * 2, np.float32)
        self._spec = spec

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        floats = [as_float(output) for output in outputs]
        return [
            self._one([output[i] for output in floats], geometry) for i, geometry in enumerate(geometries)
        ]

    def _one(self, outputs: list[Floats], geometry: Geometry) -> Answer:
        scores = np.concatenate([outputs[i] for i in self._score_outputs])
        if has_nan(scores):
            return not_a_number(self._spec)
        cells, class_ids, kept_scores = choose(scores, self._spec)
        boxes = self._boxes(np.concatenate([outputs[i] for i in self._distance_outputs])[cells], cells)
        return finish(Candidates(boxes, kept_scores, class_ids.astype(np.int32)), self._spec, geometry)

    def _boxes(self, distributions: Floats, cells: Indices) -> Floats:
        logits = distributions.reshape(-1, 4, len(self._bins))
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        distances = (weights @ self._bins) / weights.sum(axis=2) * self._strides[cells]
        centres = self._centres[cells]
        boxes = np.concatenate([centres - distances[:, 0:2], centres + distances[:, 2:4]], axis=1)
        return np.clip(boxes, 0, self._limit, out=boxes)
