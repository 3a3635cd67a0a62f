"""Heads of generalised focal loss: NanoDet and PicoDet, for each stride class scores (N, cells, C) and box distributions
(N, cells, 4 × (reg_max + 1)); NanoDet-Plus, both in one output (N, cells, C + 4 × (reg_max + 1)).

A side's distance from the cell's centre (NanoDet-Plus: its corner) is the expectation of its distribution, in strides. Sources: Li et
al., Generalized Focal Loss, 2020, section 3; the configurations of NanoDet (BGR, stretch, channel mean and deviation) and of PicoDet
(RGB, ImageNet's mean and deviation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from runtime.model.families.family import (
    IMAGENET_MEAN,
    IMAGENET_STD,
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
    labels_problem,
    nothing,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.shrink import Head
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_NANODET_MEAN = (103.53, 116.28, 123.675)
_NANODET_STD = (57.375, 57.12, 58.395)
_REG_MAX = (7, 10, 16)
"""Published models use 7 and 10; 16 is the value of the paper."""

Heads: TypeAlias = list[tuple[int, int, int]]
"""(stride, index of the scores, index of the distances) by rising stride; one output may be both."""


class NanoDet:
    """NanoDet (not Plus): three levels."""

    name = "nanodet"
    evaluation = Evaluation(iou_threshold=0.6, multi_label=True)
    strides: tuple[int, ...] = (8, 16, 32)
    centre = 0.5
    expects = "two outputs for each stride 8, 16, 32: scores [N, cells, classes] and distances [N, cells, 4 x (reg_max + 1)]"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        heads = self.heads(graph.outputs, graph.width, graph.height)
        if heads is None:
            return None
        classes, bins = self.sizes(graph.outputs, heads)
        return Match(
            self.name,
            Task.DETECTION,
            self.input(graph),
            DecodeSpec(score_threshold=0.35, iou_threshold=0.6, options={"reg_max": bins - 1}),
            classes,
            f"levels of stride {', '.join(str(s) for s, _, _ in heads)} with {classes} class scores and 4 x {bins} distances",
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        heads = self.heads(outputs, spec.input.width, spec.input.height)
        if heads is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, self.sizes(outputs, heads)[0])

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        heads = self.heads(outputs, spec.input.width, spec.input.height)
        assert heads is not None, "check() comes before decoder()"
        return GflDecoder(spec, heads, *self.sizes(outputs, heads), self.centre)

    def head(self, outputs: Sequence[Port], spec: ModelSpec) -> Head | None:
        """What may be chosen from within the graph."""
        heads = self.heads(outputs, spec.input.width, spec.input.height)
        if heads is None:
            return None
        scores = (0, self.sizes(outputs, heads)[0])
        if heads[0][1] == heads[0][2]:
            return Head(((0,),), scores)
        return Head(tuple((level[1], level[2]) for level in heads), scores)

    def input(self, graph: Graph) -> InputSpec:
        """The usual preprocessing."""
        return InputSpec(
            graph.image.name,
            graph.width,
            graph.height,
            colour="BGR",
            resize="stretch",
            scale=1.0,
            mean=_NANODET_MEAN,
            std=_NANODET_STD,
        )

    def heads(self, outputs: Sequence[Port], width: int, height: int) -> Heads | None:
        """Where the levels are, found by the rows of each output."""
        if len(outputs) != 2 * len(self.strides):
            return None
        levels = [_level(outputs, stride, grid_cells(width, height, [stride])) for stride in self.strides]
        found = [level for level in levels if level is not None]
        return found if len(found) == len(self.strides) else None

    def sizes(self, outputs: Sequence[Port], heads: Heads) -> tuple[int, int]:
        """Classes, and bins of a distribution."""
        _, scores, distances = heads[0]
        return outputs[scores].shape[2] or 0, (outputs[distances].shape[2] or 0) // 4


class PicoDet(NanoDet):
    """PicoDet as PaddleDetection exports it without its own suppression: four levels."""

    name = "picodet"
    strides = (8, 16, 32, 64)
    expects = "two outputs for each stride 8, 16, 32, 64: scores [N, cells, classes] and distances [N, cells, 4 x (reg_max + 1)]"

    def input(self, graph: Graph) -> InputSpec:
        return InputSpec(
            graph.image.name,
            graph.width,
            graph.height,
            resize="stretch",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )


class NanoDetPlus(NanoDet):
    """NanoDet-Plus: four levels in one output."""

    name = "nanodet-plus"
    strides = (8, 16, 32, 64)
    centre = 0.0
    expects = "one output [N, cells, classes + 4 x 8] with a row for each cell of strides 8, 16, 32, 64"

    def heads(self, outputs: Sequence[Port], width: int, height: int) -> Heads | None:
        if len(outputs) != 1 or len(outputs[0].shape) != 3:
            return None
        fits = outputs[0].shape[1] == grid_cells(width, height, self.strides)
        return [(s, 0, 0) for s in self.strides] if fits and self.sizes(outputs, [])[0] > 0 else None

    def sizes(self, outputs: Sequence[Port], heads: Heads) -> tuple[int, int]:
        bins = _REG_MAX[0] + 1
        return (outputs[0].shape[2] or 0) - 4 * bins, bins


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


class GflDecoder:
    """Holds the cells of one model."""

    def __init__(self, spec: ModelSpec, heads: Heads, classes: int, bins: int, centre: float) -> None:
        strides = [stride for stride, _, _ in heads]
        cells, sizes = grid(spec.input.width, spec.input.height, strides, centre)
        self._centres = np.concatenate([cells * sizes] * 2, axis=1)
        self._steps = sizes * np.array([-1, -1, 1, 1], np.float32)
        """By cell, for each side of the box: where distances start, and what a distance of one moves it by."""
        self._joined = heads[0][1] == heads[0][2]
        self._pairs = [(scores, distances) for _, scores, distances in heads]
        self._classes = classes
        self._bins = np.arange(bins, dtype=np.float32)
        self._limit = np.array([spec.input.width, spec.input.height] * 2, np.float32)
        self._spec = spec

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        floats = [as_float(output) for output in outputs]
        return [
            self._one(self._parts([output[i] for output in floats]), geometry)
            for i, geometry in enumerate(geometries)
        ]

    def _parts(self, outputs: list[Floats]) -> list[tuple[Floats, Floats]]:
        """Scores and distances level by level; where one output holds all levels, of all at once."""
        if self._joined:
            return [(outputs[0][:, : self._classes], outputs[0][:, self._classes :])]
        return [(outputs[scores], outputs[distances]) for scores, distances in self._pairs]

    def _one(self, levels: list[tuple[Floats, Floats]], geometry: Geometry) -> Answer:
        found, first_cell = [], 0
        for scores, distances in levels:
            rows, class_ids, chosen = choose(scores, self._spec)
            if len(rows):
                found.append((rows + first_cell, class_ids, chosen, distances[rows]))
            first_cell += len(scores)
        if not found:
            return nothing(self._spec, geometry)
        cells, class_ids, chosen, distances = (
            parts[0] if len(found) == 1 else np.concatenate(parts) for parts in zip(*found, strict=True)
        )
        return self._finished(cells, class_ids, chosen, distances, geometry)

    def of_rows(self, rows: Floats, cells: Indices, others: Sequence[Output], geometry: Geometry) -> Answer:
        """As `shrink.RowDecoder` has it."""
        chosen, class_ids, scores = choose(rows[:, : self._classes], self._spec)
        return self._finished(cells[chosen], class_ids, scores, rows[chosen, self._classes :], geometry)

    def _finished(
        self, cells: Indices, class_ids: Indices, scores: Floats, distances: Floats, geometry: Geometry
    ) -> Answer:
        return finish(Candidates(self._boxes(distances, cells), scores, class_ids), self._spec, geometry)

    def _boxes(self, distributions: Floats, cells: Indices) -> Floats:
        weights = distributions.reshape(-1, 4, len(self._bins))
        weights = weights - np.maximum.reduce(weights, axis=2, keepdims=True)
        np.exp(weights, out=weights)
        totals = np.add.reduce(weights, axis=2)
        weights *= self._bins
        boxes: Floats = np.add.reduce(weights, axis=2)
        boxes /= totals
        boxes *= self._steps[cells]
        boxes += self._centres[cells]
        np.maximum(boxes, 0, out=boxes)
        np.minimum(boxes, self._limit, out=boxes)
        return boxes
