"""YOLO detectors of the lines v5 and v8/11: boxes decoded in the graph, centre and size in tensor pixels, NMS outside.

v8/11: one output (N, 4 + C, cells) of sigmoid scores, no objectness. v5: (N, 3 × cells, 5 + C), score = objectness × class.
Best class of a box only; NMS by class. Sources: the outputs' conventions as the exporters write them, and decoded
predictions of the authors' own code (tests/contract/test_decode_golden.py).
"""

from __future__ import annotations

import ast
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


class Yolo:
    """YOLOv5, YOLOv8 and YOLO11 detection."""

    name = "yolo"
    evaluation = Evaluation(iou_threshold=0.7, multi_label=True)
    expects = "one output [N, 4 + classes, cells] (v8, 11) or [N, 3 x cells, 5 + classes] (v5) of strides 8, 16, 32 (and 64)"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        head = _head_of(graph.outputs, graph.width, graph.height)
        if head is None or graph.metadata.get("task", "detect") != "detect":
            return None
        classes = _classes(graph.outputs[0], head)
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(graph.image.name, graph.width, graph.height, pad=114),
            DecodeSpec(iou_threshold=0.7, options={"head": head}),
            classes,
            f"one output {graph.outputs[0]}: boxes and {classes} class scores as {_LINES[head]} writes them",
            _names(graph.metadata.get("names", ""), classes),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        head = _head_of(outputs, spec.input.width, spec.input.height)
        if head is None or head != spec.decode.options.get("head", head):
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, _classes(outputs[0], head))

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        head = _head_of(outputs, spec.input.width, spec.input.height)
        return YoloDecoder(spec, with_objectness=head == "v5")


_LINES = {"v5": "YOLOv5", "v8": "YOLOv8 or YOLO11"}


def _head_of(outputs: Sequence[Port], width: int, height: int) -> str | None:
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, rows, columns = outputs[0].shape
    for strides in _STRIDES:
        cells = grid_cells(width, height, strides)
        if columns == cells and rows is not None and rows >= 5:
            return "v8"
        if rows == 3 * cells and columns is not None and columns >= 6:
            return "v5"
    return None


def _classes(output: Port, head: str) -> int:
    return (output.shape[1] or 0) - 4 if head == "v8" else (output.shape[2] or 0) - 5


def _names(text: str, classes: int) -> tuple[str, ...]:
    """Class names of the exporter's metadata (a Python dictionary or list as text); empty where they do not fit."""
    try:
        value = ast.literal_eval(text) if text else ()
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(value, dict):
        value = [value.get(i) for i in range(classes)]
    if not isinstance(value, (list, tuple)) or len(value) != classes:
        return ()
    return tuple(map(str, value)) if all(isinstance(name, str) and name for name in value) else ()


class YoloDecoder:
    """Decodes the output of one model."""

    def __init__(self, spec: ModelSpec, *, with_objectness: bool) -> None:
        self._spec = spec
        self._with_objectness = with_objectness

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        one = self._v5 if self._with_objectness else self._v8
        return [one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _v8(self, columns: Floats, geometry: Geometry) -> Answer:
        best = columns[4:].max(axis=0)
        if has_nan(best) or has_nan(columns[:4]):
            return not_a_number(self._spec)
        likely = np.flatnonzero(best > self._spec.decode.score_threshold)
        rows = np.ascontiguousarray(columns[:, likely].T)
        return self._finish(rows, rows[:, 4:], geometry)

    def _v5(self, rows: Floats, geometry: Geometry) -> Answer:
        if has_nan(rows):
            return not_a_number(self._spec)
        likely = rows[rows[:, 4] > self._spec.decode.score_threshold]
        return self._finish(likely, likely[:, 4:5] * likely[:, 5:], geometry)

    def _finish(self, rows: Floats, classes: Floats, geometry: Geometry) -> Answer:
        chosen, class_ids, scores = choose(classes, self._spec)
        boxes = from_centre(rows[chosen, 0:2], rows[chosen, 2:4])
        return finish(Candidates(boxes, scores, class_ids.astype(np.int32)), self._spec, geometry)
