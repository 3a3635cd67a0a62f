"""YOLO26 and YOLOv10 end to end: one output (N, Q, 6 + extras) of finished rows x1 y1 x2 y2 score class, no suppression.

A row of an oriented detector is centre, size, score, class, angle. One anchor may appear with several classes. Extras are as in
`yolo.py`. Sources: the outputs' conventions as the exporters write them, and predictions of the authors' own code
(tests/contract/test_decode_golden.py).
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
    grid_cells,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.yolo import Extras, literal, names_of, prototypes_of, told
from runtime.model.families.yolorows import Rows, YoloFinish
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_COLUMNS = 6
_MAX_ROWS = 1000
_ORDERING = ("TopK", "NonMaxSuppression")
"""Operators without which no graph ends in a list of the best rows."""


class YoloEnd:
    """YOLO26 and YOLOv10, end to end: detection, segmentation, pose, oriented boxes."""

    name = "yolo-end2end"
    evaluation = Evaluation(iou_threshold=0.7)
    expects = (
        f"an output [N, rows, {_COLUMNS}] of x1 y1 x2 y2 score class, at most {_MAX_ROWS} rows, with mask coefficients and "
        "prototypes [N, K, h, w], keypoints or an angle behind the class"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        extras = Extras.of_graph(graph)
        if extras is None or not _fits(graph.outputs, extras):
            return None
        if not (named or _telling(graph)):
            return None
        names = literal(graph.metadata.get("names", ""))
        classes = len(names) if isinstance(names, (dict, list, tuple)) else 0
        rows = graph.outputs[0].shape[1] or 300
        return Match(
            self.name,
            extras.task,
            InputSpec(graph.image.name, graph.width, graph.height, pad=114),
            DecodeSpec(nms="none", max_detections=rows, options={"classes": classes, **extras.options()}),
            classes,
            f"output {graph.outputs[0]}: {rows} finished rows of box, score and class" + told(extras),
            names_of(graph.metadata, classes) if classes else (),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if not _fits(outputs, Extras.of_spec(spec)):
            return [outputs_problem(outputs, self.expects, self.name)]
        classes = int(spec.decode.options.get("classes", 0))
        return labels_problem(spec.labels, classes) if classes else []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return YoloEndDecoder(spec)


def _fits(outputs: Sequence[Port], extras: Extras) -> bool:
    if not outputs or len(outputs[0].shape) != 3 or len(outputs) != 1 + bool(extras.coefficients):
        return False
    _, rows, columns = outputs[0].shape
    fits = rows is None or 0 < rows <= _MAX_ROWS
    return fits and columns == _COLUMNS + extras.columns and extras.coefficients == prototypes_of(outputs)


def _telling(graph: Graph) -> bool:
    """The exporter's word, or a graph that sorts its rows and does not have one for each cell."""
    if graph.metadata.get("end2end", "").lower() == "true":
        return True
    cells = grid_cells(graph.width, graph.height, (8, 16, 32))
    return any(op in graph.ops for op in _ORDERING) and graph.outputs[0].shape[1] not in (cells, 3 * cells)


class YoloEndDecoder:
    """Decodes the outputs of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._finish = YoloFinish(spec)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        prototypes = as_float(outputs[1]) if len(outputs) == 2 else None
        return [
            self._one(batch[i], geometry, None if prototypes is None else prototypes[i])
            for i, geometry in enumerate(geometries)
        ]

    def _one(self, rows: Floats, geometry: Geometry, prototypes: Floats | None) -> Answer:
        if has_nan(rows):
            return not_a_number(self._spec)
        above = rows[rows[:, 4] > self._spec.decode.score_threshold]
        turned = self._spec.task is Task.ORIENTED_DETECTION
        found = Rows(
            above[:, :4],
            above[:, 4],
            np.round(above[:, 5]).astype(np.int32),
            above[:, _COLUMNS:],
            above[:, :4] if turned else above[:, :0],
        )
        return self._finish(found, geometry, prototypes)
