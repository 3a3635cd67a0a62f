"""RT-DETR and D-FINE: the best of all queries × classes, no suppression; /255 alone, stretched.

Three forms. *Raw*: boxes (N, Q, 4), centre and size as shares, and class logits (N, Q, C), as transformers exports them. *Finished*:
labels (N, Q), boxes (N, Q, 4) x1 y1 x2 y2, scores (N, Q); boxes in pixels of the size that the graph's second input names (which
packing binds to the model's own input), else in shares. *Joined*: one output (N, Q, 4 + C), centre and size as shares and scores.
Sources: Zhao et al., DETRs Beat YOLOs on Real-time Object Detection, 2024; Peng et al., D-FINE, 2024; their exporters' outputs.
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
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.rfdetr import MAX_QUERIES, RfDetrDecoder
from runtime.model.families.yolo import names_of
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_RAW_NAMES = ({"logits", "pred_boxes"}, {"pred_logits", "pred_boxes"})
_FINISHED_NAMES = {"labels", "boxes", "scores"}
_COCO_CLASSES = 80


class RtDetr:
    """RT-DETR (v1, v2) and D-FINE."""

    name = "rtdetr"
    evaluation = Evaluation(score_threshold=0.0)
    expects = (
        "boxes [N, queries, 4] and class logits [N, queries, classes]; or labels [N, queries], boxes [N, queries, 4] and scores "
        "[N, queries]; or one output [N, queries, 4 + classes]"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        form = _form(graph.outputs)
        if not form or not (named or _telling(graph, form)):
            return None
        ports = _ports(graph.outputs, form)
        queries = graph.outputs[ports[0]].shape[1] or 300
        classes = _classes(graph.outputs, form)
        options = {"form": form, "boxes": "pixels" if graph.sized else "shares"}
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(graph.image.name, graph.width, graph.height, resize="stretch"),
            DecodeSpec(score_threshold=0.5, nms="none", max_detections=queries, options=options),
            classes or _COCO_CLASSES,
            f"{queries} queries, {form}: " + ", ".join(str(graph.outputs[i]) for i in ports),
            names_of(graph.metadata, classes),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        form = _form(outputs)
        if not form or form != spec.decode.options.get("form", form):
            return [outputs_problem(outputs, self.expects, self.name)]
        classes = _classes(outputs, form)
        return labels_problem(spec.labels, classes) if classes else []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        form = _form(outputs)
        ports = _ports(outputs, form)
        if form == "raw":
            return RfDetrDecoder(spec, ports[0], ports[1])
        return JoinedDecoder(spec) if form == "joined" else FinishedDecoder(spec, *ports)


def _form(outputs: Sequence[Port]) -> str:
    """`raw`, `finished`, `joined`, or nothing."""
    ranks = sorted(len(port.shape) for port in outputs)
    queries = {port.shape[1] for port in outputs if len(port.shape) > 1}
    if len(queries) != 1 or not 0 < (next(iter(queries)) or 0) <= MAX_QUERIES:
        return ""
    last = sorted(port.shape[2] or 0 for port in outputs if len(port.shape) == 3)
    if ranks == [3, 3] and last[0] >= 2 and 4 in last:
        return "raw"
    if ranks == [2, 2, 3] and last == [4] and _labels_port(outputs) is not None:
        return "finished"
    return "joined" if ranks == [3] and last[0] > 4 else ""


def _labels_port(outputs: Sequence[Port]) -> int | None:
    flat = [i for i, port in enumerate(outputs) if len(port.shape) == 2]
    named = [i for i in flat if "label" in outputs[i].name.lower()]
    whole = [i for i in flat if outputs[i].dtype in ("int64", "int32")]
    return next(iter([*named, *whole]), None)


def _ports(outputs: Sequence[Port], form: str) -> tuple[int, ...]:
    """Boxes and logits; or boxes, labels and scores; or the one."""
    if form == "joined":
        return (0,)
    if form == "raw":
        boxes = next((i for i, p in enumerate(outputs) if "box" in p.name.lower() and p.shape[2] == 4), None)
        if boxes is None:
            boxes = next(i for i, port in enumerate(outputs) if port.shape[2] == 4)
        return boxes, 1 - boxes
    boxes = next(i for i, port in enumerate(outputs) if len(port.shape) == 3)
    labels = _labels_port(outputs)
    assert labels is not None, "a finished form has labels"
    return boxes, labels, 3 - boxes - labels


def _classes(outputs: Sequence[Port], form: str) -> int:
    """0 where the outputs do not tell."""
    if form == "raw":
        return outputs[_ports(outputs, form)[1]].shape[2] or 0
    return (outputs[0].shape[2] or 4) - 4 if form == "joined" else 0


def _telling(graph: Graph, form: str) -> bool:
    names = {port.name for port in graph.outputs}
    if form == "raw":
        other = any(port.shape[2] == 91 for port in graph.outputs)
        return names in _RAW_NAMES or (
            "GridSample" in graph.ops and not other and names != {"dets", "labels"}
        )
    if form == "finished":
        return names == _FINISHED_NAMES or "GridSample" in graph.ops
    return "rt-detr" in graph.metadata.get("description", "").lower().replace("rtdetr", "rt-detr")


class FinishedDecoder:
    """Labels, boxes and scores that the graph has chosen itself."""

    def __init__(self, spec: ModelSpec, boxes: int, labels: int, scores: int) -> None:
        self._spec = spec
        self._ports = boxes, labels, scores
        pixels = spec.decode.options.get("boxes") == "pixels"
        size = [spec.input.width, spec.input.height] * 2
        self._scale = np.array([1, 1, 1, 1] if pixels else size, np.float32)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        boxes, labels, scores = (outputs[i] for i in self._ports)
        return [
            self._one(as_float(boxes[i]), labels[i], as_float(scores[i]), geometry)
            for i, geometry in enumerate(geometries)
        ]

    def _one(self, boxes: Floats, labels: Output, scores: Floats, geometry: Geometry) -> Answer:
        if has_nan(boxes) or has_nan(scores):
            return not_a_number(self._spec)
        above = scores > self._spec.decode.score_threshold
        found = Candidates(boxes[above] * self._scale, scores[above], labels[above].astype(np.int32))
        return finish(found, self._spec, geometry)


class JoinedDecoder:
    """One output with box and class scores of each query."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._size = np.array([spec.input.width, spec.input.height], np.float32)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, rows: Floats, geometry: Geometry) -> Answer:
        if has_nan(rows):
            return not_a_number(self._spec)
        chosen, class_ids, scores = choose(rows[:, 4:], self._spec)
        boxes = from_centre(rows[chosen, 0:2] * self._size, rows[chosen, 2:4] * self._size)
        return finish(Candidates(boxes, scores, class_ids.astype(np.int32)), self._spec, geometry)
