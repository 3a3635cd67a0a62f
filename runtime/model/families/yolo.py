"""YOLO of the lines v5 and v8/11: detection, instance segmentation, keypoints, oriented boxes. Boxes decoded in the graph, NMS outside.

v8/11: one output (N, 4 + C + extras, cells) of sigmoid scores, no objectness. v5: (N, 3 × cells, 5 + C + extras), score =
objectness × class. Extras are coefficients of mask prototypes (a second output (N, K, h, w)), keypoints, or an angle. Sources: the
outputs' conventions as the exporters write them, and predictions of the authors' own code (tests/contract/test_decode_golden.py).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.model.families.family import (
    Decoder,
    Evaluation,
    Graph,
    Indices,
    Match,
    Output,
    Port,
    as_float,
    choose,
    from_centre,
    grid_cells,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.yolorows import Rows, YoloFinish
from runtime.model.geometry import Geometry
from runtime.model.shrink import Head
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_LINES = {"v5": "YOLOv5", "v8": "YOLOv8 or YOLO11"}
TASKS = {
    "detect": Task.DETECTION,
    "segment": Task.INSTANCE_SEGMENTATION,
    "pose": Task.KEYPOINTS,
    "obb": Task.ORIENTED_DETECTION,
}
"""The exporter's word for each task."""


@dataclass(frozen=True)
class Extras:
    """What follows the class scores of a row: mask coefficients, `keypoints` × `values` (2 or 3), an angle."""

    task: Task
    coefficients: int = 0
    keypoints: int = 0
    values: int = 0

    @property
    def columns(self) -> int:
        return self.coefficients + self.keypoints * self.values + (self.task is Task.ORIENTED_DETECTION)

    def options(self) -> dict[str, Any]:
        """As `DecodeSpec.options` keeps it."""
        pairs = {
            "coefficients": self.coefficients,
            "keypoints": self.keypoints,
            "keypoint_values": self.values,
        }
        return {name: value for name, value in pairs.items() if value}

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> Extras:
        asked = spec.decode.options
        names = ("coefficients", "keypoints", "keypoint_values")
        return cls(spec.task, *(int(asked.get(name, 0)) for name in names))

    @classmethod
    def of_graph(cls, graph: Graph) -> Extras | None:
        """By the exporter's metadata, else by the outputs: a second output of prototypes means masks."""
        prototypes = prototypes_of(graph.outputs)
        task = TASKS.get(graph.metadata.get("task", "segment" if prototypes else "detect"))
        if task is None or (task is Task.INSTANCE_SEGMENTATION) != bool(prototypes):
            return None
        if task is not Task.KEYPOINTS:
            return cls(task, prototypes)
        shape = literal(graph.metadata.get("kpt_shape", ""))
        good = isinstance(shape, (list, tuple)) and len(shape) == 2 and all(isinstance(v, int) for v in shape)
        return cls(task, 0, *shape) if good and shape[0] > 0 and shape[1] in (2, 3) else None


class Yolo:
    """YOLOv5, YOLOv8 and YOLO11: detection, segmentation, pose, oriented boxes."""

    name = "yolo"
    evaluation = Evaluation(iou_threshold=0.7, multi_label=True)
    expects = (
        "an output [N, 4 + classes, cells] (v8, 11) or [N, 3 x cells, 5 + classes] (v5) of strides 8, 16, 32 (and 64), "
        "with mask coefficients and prototypes [N, K, h, w], keypoints or an angle behind the classes"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        extras = Extras.of_graph(graph)
        head = _head_of(graph.outputs, graph.width, graph.height)
        if extras is None or head is None:
            return None
        classes = _classes(graph.outputs[0], head, extras)
        if classes < 1:
            return None
        return Match(
            self.name,
            extras.task,
            InputSpec(graph.image.name, graph.width, graph.height, pad=114),
            DecodeSpec(iou_threshold=0.7, options={"head": head, **extras.options()}),
            classes,
            f"output {graph.outputs[0]}: boxes and {classes} class scores as {_LINES[head]} writes them"
            + told(extras),
            names_of(graph.metadata, classes),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        head, extras = _head_of(outputs, spec.input.width, spec.input.height), Extras.of_spec(spec)
        fits = head is not None and head == spec.decode.options.get("head", head)
        fits = fits and extras.coefficients == prototypes_of(outputs)
        if head is None or not fits or _classes(outputs[0], head, extras) < 1:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, _classes(outputs[0], head, extras))

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        head, extras = _head_of(outputs, spec.input.width, spec.input.height), Extras.of_spec(spec)
        assert head is not None, "check() comes before decoder()"
        return YoloDecoder(spec, head, _classes(outputs[0], head, extras))

    def head(self, outputs: Sequence[Port], spec: ModelSpec) -> Head | None:
        """What may be chosen from within the graph."""
        line, extras = _head_of(outputs, spec.input.width, spec.input.height), Extras.of_spec(spec)
        if line is None:
            return None
        before = 4 if line == "v8" else 5
        scores = (before, before + _classes(outputs[0], line, extras))
        return Head(((0,),), scores, None if line == "v8" else 4, columns_first=line == "v8")


def told(extras: Extras) -> str:
    """What the extras are, in words."""
    if extras.task is Task.INSTANCE_SEGMENTATION:
        return f", and {extras.coefficients} coefficients of the mask prototypes in the second output"
    if extras.task is Task.KEYPOINTS:
        return f", and {extras.keypoints} keypoints of {extras.values} values"
    return ", and an angle" if extras.task is Task.ORIENTED_DETECTION else ""


def _head_of(outputs: Sequence[Port], width: int, height: int) -> str | None:
    if (
        len(outputs) not in (1, 2)
        or len(outputs[0].shape) != 3
        or (len(outputs) == 2) != bool(prototypes_of(outputs))
    ):
        return None
    _, rows, columns = outputs[0].shape
    for strides in _STRIDES:
        cells = grid_cells(width, height, strides)
        if columns == cells and rows is not None and rows >= 5:
            return "v8"
        if rows == 3 * cells and columns is not None and columns >= 6:
            return "v5"
    return None


def prototypes_of(outputs: Sequence[Port]) -> int:
    """How many mask prototypes the second output holds; 0 where it holds none."""
    if len(outputs) != 2 or len(outputs[1].shape) != 4:
        return 0
    return outputs[1].shape[1] or 0


def _classes(output: Port, head: str, extras: Extras) -> int:
    columns = (output.shape[1] or 0) - 4 if head == "v8" else (output.shape[2] or 0) - 5
    return columns - extras.columns


def literal(text: str) -> Any:
    """A value of the exporter's metadata, written as Python writes it; None where it is none."""
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def names_of(metadata: dict[str, str], classes: int) -> tuple[str, ...]:
    """Class names of the exporter's metadata (a dictionary or list as text); empty where they do not fit."""
    value = literal(metadata.get("names", ""))
    if isinstance(value, dict):
        value = [value.get(i) for i in range(classes)]
    if not isinstance(value, (list, tuple)) or len(value) != classes:
        return ()
    return tuple(map(str, value)) if all(isinstance(name, str) and name for name in value) else ()


class YoloDecoder:
    """Decodes the outputs of one model."""

    def __init__(self, spec: ModelSpec, head: str, classes: int) -> None:
        self._spec = spec
        self._classes = classes
        self._line = head
        self._one = self._v5 if head == "v5" else self._v8
        self._finish = YoloFinish(spec)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        prototypes = as_float(outputs[1]) if len(outputs) == 2 else None
        return [
            self._one(batch[i], geometry, None if prototypes is None else prototypes[i])
            for i, geometry in enumerate(geometries)
        ]

    def _v8(self, columns: Floats, geometry: Geometry, prototypes: Floats | None) -> Answer:
        best = columns[4 : 4 + self._classes].max(axis=0)
        if has_nan(best) or has_nan(columns[:4]):
            return not_a_number(self._spec)
        likely = np.flatnonzero(best > self._spec.decode.score_threshold)
        return self._rows(np.ascontiguousarray(columns[:, likely].T), geometry, prototypes)

    def of_rows(self, rows: Floats, cells: Indices, others: Sequence[Output], geometry: Geometry) -> Answer:
        """As `shrink.RowDecoder` has it."""
        return self._rows(rows, geometry, as_float(others[0][0]) if others else None)

    def _rows(self, rows: Floats, geometry: Geometry, prototypes: Floats | None) -> Answer:
        if self._line == "v8":
            return self._chosen(rows, rows[:, 4 : 4 + self._classes], 4, geometry, prototypes)
        scores = rows[:, 4:5] * rows[:, 5 : 5 + self._classes]
        return self._chosen(rows, scores, 5, geometry, prototypes)

    def _v5(self, rows: Floats, geometry: Geometry, prototypes: Floats | None) -> Answer:
        if has_nan(rows):
            return not_a_number(self._spec)
        return self._rows(rows[rows[:, 4] > self._spec.decode.score_threshold], geometry, prototypes)

    def _chosen(
        self, rows: Floats, classes: Floats, before: int, geometry: Geometry, prototypes: Floats | None
    ) -> Answer:
        chosen, class_ids, scores = choose(classes, self._spec)
        centre = rows[chosen, 0:4]
        found = Rows(
            from_centre(centre[:, 0:2], centre[:, 2:4]),
            scores,
            class_ids.astype(np.int32),
            rows[chosen, before + self._classes :],
            centre,
        )
        return self._finish(found, geometry, prototypes)
