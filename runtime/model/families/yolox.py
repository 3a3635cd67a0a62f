"""YOLOX: one output (N, cells, 5 + C), cx cy w h objectness classes, sigmoids inside the graph.

Exported with or without its grid decoding; without, `centre = (value + cell) * stride`, `size = exp(value) * stride`. Score
is objectness × class. Source: Ge et al., YOLOX, 2021, section 2, and its exporter's defaults (BGR 0 to 255, letterbox to
the top left corner, sides rounded down, padding 114). Its authors measure AP with every class of a box and NMS at 0.65.
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
    from_centre,
    grid,
    grid_cells,
    labels_problem,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.shrink import Head
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_MAX_LOG_SIZE = 20.0
"""exp of more than this is no box of any image: bounds the exponential of a model gone astray."""


class YoloX:
    """The family YOLOX."""

    name = "yolox"
    evaluation = Evaluation(iou_threshold=0.65, multi_label=True)
    expects = "one output [N, cells, 5 + classes], one row for each cell of strides 8, 16, 32 (and 64)"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        strides = _strides_of(graph.outputs, graph.width, graph.height)
        if strides is None or (len(strides) > 3 and not named):  # four levels in one output are NanoDet-Plus
            return None
        decoded = graph.ops.get("Exp", 0) > 0
        classes = (graph.outputs[0].shape[2] or 0) - 5
        return Match(
            self.name,
            Task.DETECTION,
            _input(graph),
            DecodeSpec(options={"strides": list(strides), "decoded": decoded}),
            classes,
            f"one output {graph.outputs[0]}: a row for each cell of strides {', '.join(map(str, strides))}, "
            f"{classes} classes after box and objectness, "
            + ("grid decoded in the graph" if decoded else "grid not decoded in the graph"),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if _strides_of(outputs, spec.input.width, spec.input.height) is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, (outputs[0].shape[2] or 5) - 5)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return YoloXDecoder(spec)

    def head(self, outputs: Sequence[Port], spec: ModelSpec) -> Head | None:
        """What may be chosen from within the graph."""
        return Head(((0,),), (5, outputs[0].shape[2] or 5), 4)


def _input(graph: Graph) -> InputSpec:
    return InputSpec(
        graph.image.name,
        graph.width,
        graph.height,
        colour="BGR",
        anchor="top-left",
        rounding="down",
        pad=114,
        scale=1.0,
    )


def _strides_of(outputs: Sequence[Port], width: int, height: int) -> tuple[int, ...] | None:
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, rows, columns = outputs[0].shape
    if columns is not None and columns < 6:
        return None
    fitting = (s for s in _STRIDES if rows is None or rows == grid_cells(width, height, s))
    return next(fitting, None)


class YoloXDecoder:
    """Holds the grid of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        options = spec.decode.options
        self._spec = spec
        self._decoded = bool(options.get("decoded", False))
        strides = [int(s) for s in options.get("strides", _STRIDES[0])]
        self._cells, self._strides = grid(spec.input.width, spec.input.height, strides, 0.0)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, rows: Floats, geometry: Geometry) -> Answer:
        low = rows[:, 4] <= self._spec.decode.score_threshold
        # Those whose objectness is no number are among them.
        likely = np.logical_not(low, out=low).nonzero()[0]
        return self.of_rows(rows[likely], likely, (), geometry)

    def of_rows(self, rows: Floats, cells: Indices, others: Sequence[Output], geometry: Geometry) -> Answer:
        """As `shrink.RowDecoder` has it."""
        chosen, class_ids, scores = choose(rows[:, 4:5] * rows[:, 5:], self._spec)
        boxes = self._boxes(rows[:, :4][chosen], cells[chosen])
        return finish(Candidates(boxes, scores, class_ids), self._spec, geometry)

    def _boxes(self, rows: Floats, cells: Indices) -> Floats:
        if self._decoded:
            return from_centre(rows[:, 0:2], rows[:, 2:4])
        strides = self._strides[cells]
        centres = (rows[:, 0:2] + self._cells[cells]) * strides
        return from_centre(centres, np.exp(np.minimum(rows[:, 2:4], _MAX_LOG_SIZE)) * strides)
