"""RF-DETR and RF-DETR-seg: boxes (N, Q, 4), centre and size as shares of the image, class logits (N, Q, C), mask logits (N, Q, h, w).

Masks are interpolated to the picture and not cut to the boxes. Each class has a sigmoid of its own; the best of all Q × C values count, no NMS. With COCO's 91 slots the class is the category
id; a fine-tuned model's last slot is background and never counts. Source: the authors' post-processing, decoded
predictions of their own code (tests/contract/test_decode_golden.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtime.model.families.family import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Candidates,
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    from_centre,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
    place_boxes,
    suppress,
)
from runtime.model.geometry import Geometry
from runtime.model.labels import COCO91
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.model.upsample import Upsampler, stretched
from runtime.results import Answer, Floats, Result
from wire.problem import Problem

_COCO_SLOTS = 91
MAX_QUERIES = 1000


class RfDetr:
    """RF-DETR, detection and segmentation."""

    name = "rfdetr"
    evaluation = Evaluation(score_threshold=0.0)
    expects = "boxes [N, queries, 4] and class logits [N, queries, classes], for segmentation also mask logits [N, queries, h, w]"

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
            Task.DETECTION if found[2] is None else Task.INSTANCE_SEGMENTATION,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                resize="stretch",
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
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
            + (": COCO category ids" if background == "none" else ", the last being background")
            + ("" if found[2] is None else "; a mask for each query"),
            COCO91 if background == "none" else (),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        found = _find(outputs)
        if found is None or (found[2] is not None) != (spec.task is Task.INSTANCE_SEGMENTATION):
            return [outputs_problem(outputs, self.expects, self.name)]
        slots = outputs[found[1]].shape[2] or 0
        dropped = 0 if spec.decode.options.get("background", "none") == "none" else 1
        return labels_problem(spec.labels, slots - dropped)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        found = _find(outputs)
        assert found is not None, "check() comes before decoder()"
        return RfDetrDecoder(spec, *found)


def _telling(graph: Graph) -> bool:
    """Names as the authors' exporter writes them, or the sampling of deformable attention over COCO's category ids."""
    names = {port.name for port in graph.outputs}
    if names in ({"dets", "labels"}, {"dets", "labels", "masks"}):
        return True
    known = any("pred_boxes" in name for name in names)
    return "GridSample" in graph.ops and not known and any(p.shape[2] == _COCO_SLOTS for p in graph.outputs)


def _find(outputs: Sequence[Port]) -> tuple[int, int, int | None] | None:
    """Indices of boxes, logits and, where there are any, masks."""
    flat = [i for i, port in enumerate(outputs) if len(port.shape) == 3]
    maps = [i for i, port in enumerate(outputs) if len(port.shape) == 4]
    if len(flat) != 2 or len(maps) > 1 or len(outputs) != len(flat) + len(maps):
        return None
    queries = outputs[flat[0]].shape[1] or 0
    if not 0 < queries <= MAX_QUERIES or any(port.shape[1] != queries for port in outputs):
        return None
    for boxes, logits in (flat, flat[::-1]):
        if outputs[boxes].shape[2] == 4 and (outputs[logits].shape[2] or 0) >= 2:
            return boxes, logits, maps[0] if maps else None
    return None


class RfDetrDecoder:
    """Decodes the outputs of one model. Also for the raw outputs of RT-DETR and D-FINE, which mean the same."""

    def __init__(self, spec: ModelSpec, boxes: int, logits: int, masks: int | None = None) -> None:
        self._spec = spec
        self._boxes, self._logits, self._masks = boxes, logits, masks
        self._size = np.array([spec.input.width, spec.input.height], np.float32)
        self._drop_last = spec.decode.options.get("background", "none") == "last"
        share = min(max(spec.decode.score_threshold, 1e-6), 1 - 1e-6)
        self._least_logit = float(np.log(share / (1 - share))) - 1e-3
        self._newest: tuple[tuple[int, int], Upsampler] | None = None

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        boxes, logits = as_float(outputs[self._boxes]), as_float(outputs[self._logits])
        maps = None if self._masks is None else as_float(outputs[self._masks])
        return [
            self._one(boxes[i], logits[i], None if maps is None else maps[i], geometry)
            for i, geometry in enumerate(geometries)
        ]

    def _one(self, boxes: Floats, logits: Floats, maps: Floats | None, geometry: Geometry) -> Answer:
        if has_nan(boxes) or has_nan(logits):
            return not_a_number(self._spec)
        if self._drop_last:
            logits = logits[:, :-1]
        queries, class_ids = np.nonzero(logits > self._least_logit)
        scores = np.asarray(1 / (1 + np.exp(-np.clip(logits[queries, class_ids], -80, 80))), np.float32)
        above = scores > self._spec.decode.score_threshold
        queries, class_ids, scores = queries[above], class_ids[above], scores[above]
        placed = from_centre(boxes[queries, 0:2] * self._size, boxes[queries, 2:4] * self._size)
        candidates = Candidates(placed, scores, class_ids.astype(np.int32))
        keep = suppress(candidates, self._spec)
        if keep is None:
            return not_a_number(self._spec)
        result = place_boxes(candidates, keep, self._spec, geometry)
        return result if maps is None else self._with_masks(result, maps[queries[keep]], geometry)

    def _with_masks(self, result: Result, maps: Floats, geometry: Geometry) -> Answer:
        if has_nan(maps):
            return not_a_number(self._spec)
        size = (geometry.image_width_px, geometry.image_height_px)
        newest = self._newest  # two threads may decode at once: each keeps hold of its own
        if newest is None or newest[0] != size:
            newest = self._newest = size, stretched((maps.shape[1], maps.shape[2]), size)
        return replace(result, masks=tuple(newest[1].mask(one) for one in maps))
