"""RF-DETR detection: boxes (N, Q, 4), centre and size as shares of the image, and class logits (N, Q, C).

Each class has a sigmoid of its own; the best of all Q × C values count, no NMS. With COCO's 91 slots the class is the category
id; a fine-tuned model's last slot is background and never counts. Source: the authors' post-processing, decoded
predictions of their own code (tests/contract/test_decode_golden.py).
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
    finish,
    from_centre,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.geometry import Geometry
from runtime.model.labels import COCO91
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

_COCO_SLOTS = 91
_MAX_QUERIES = 1000
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class RfDetr:
    """RF-DETR detection (not segmentation)."""

    name = "rfdetr"
    evaluation = Evaluation(score_threshold=0.0)
    expects = "two outputs: boxes [N, queries, 4] and class logits [N, queries, classes]"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        found = _find(graph.outputs)
        if found is None or not (named or _telling(graph)):
            return None
        slots = graph.outputs[found[1]].shape[2] or 0
        background = "none" if slots == _COCO_SLOTS else "last"
        classes = slots if background == "none" else slots - 1
        queries = graph.outputs[found[0]].shape[1]
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                resize="stretch",
                mean=_MEAN,
                std=_STD,
                exact="float",
            ),
            DecodeSpec(
                score_threshold=0.5,
                nms="none",
                max_detections=queries or 300,
                options={"background": background},
            ),
            classes,
            f"{queries} queries with a box and {slots} class logits each"
            + (": COCO category ids" if background == "none" else ", the last being background"),
            COCO91 if background == "none" else (),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        found = _find(outputs)
        if found is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        slots = outputs[found[1]].shape[2] or 0
        dropped = 0 if spec.decode.options.get("background", "none") == "none" else 1
        return labels_problem(spec.labels, slots - dropped)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        found = _find(outputs)
        assert found is not None, "check() comes before decoder()"
        return RfDetrDecoder(spec, *found)


def _telling(graph: Graph) -> bool:
    """Names as the authors' exporter writes them, or the sampling of deformable attention."""
    return {port.name for port in graph.outputs} == {"dets", "labels"} or "GridSample" in graph.ops


def _find(outputs: Sequence[Port]) -> tuple[int, int] | None:
    """Indices of boxes and logits."""
    if len(outputs) != 2 or any(len(port.shape) != 3 for port in outputs):
        return None
    for boxes, logits in ((0, 1), (1, 0)):
        same = outputs[boxes].shape[1] == outputs[logits].shape[1]
        if same and outputs[boxes].shape[2] == 4 and 0 < (outputs[boxes].shape[1] or 0) <= _MAX_QUERIES:
            return (boxes, logits) if (outputs[logits].shape[2] or 0) >= 2 else None
    return None


class RfDetrDecoder:
    """Decodes the outputs of one model."""

    def __init__(self, spec: ModelSpec, boxes: int, logits: int) -> None:
        self._spec = spec
        self._boxes, self._logits = boxes, logits
        self._size = np.array([spec.input.width, spec.input.height], np.float32)
        self._drop_last = spec.decode.options.get("background", "none") == "last"
        share = min(max(spec.decode.score_threshold, 1e-6), 1 - 1e-6)
        self._least_logit = float(np.log(share / (1 - share))) - 1e-3

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        boxes, logits = as_float(outputs[self._boxes]), as_float(outputs[self._logits])
        return [self._one(boxes[i], logits[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, boxes: Floats, logits: Floats, geometry: Geometry) -> Answer:
        if has_nan(boxes) or has_nan(logits):
            return not_a_number(self._spec)
        if self._drop_last:
            logits = logits[:, :-1]
        queries, class_ids = np.nonzero(logits > self._least_logit)
        scores = np.asarray(1 / (1 + np.exp(-np.clip(logits[queries, class_ids], -80, 80))), np.float32)
        above = scores > self._spec.decode.score_threshold
        queries, class_ids, scores = queries[above], class_ids[above], scores[above]
        placed = from_centre(boxes[queries, 0:2] * self._size, boxes[queries, 2:4] * self._size)
        return finish(Candidates(placed, scores, class_ids.astype(np.int32)), self._spec, geometry)
