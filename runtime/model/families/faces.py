"""Face detectors: UltraFace, whose priors are decoded in the graph, and YuNet, without priors (2023) and with them (2021, 2022).

UltraFace: scores (N, priors, 2), boxes (N, priors, 4) x1 y1 x2 y2 as shares; RGB (value - 127) / 128, stretched. YuNet: score =
√(class × objectness or IoU), box from the cell's corner with exponential size, five landmarks; BGR 0 to 255. Sources: the outputs of
Linzaer's Ultra-Light-Fast-Generic-Face-Detector; Wu et al., YuNet, 2023; for the priors Liu et al., SSD, 2016 (variances 0.1, 0.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

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
    grid,
    grid_cells,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
    place_boxes,
    suppress,
)
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats
from wire.problem import Problem

LABELS = ("face",)
LANDMARKS = ("right eye", "left eye", "nose", "right mouth corner", "left mouth corner")
"""Right and left are the person's own."""
_STRIDES = (8, 16, 32)
_PRIOR_STRIDES = (8, 16, 32, 64)
_PRIOR_SIDES_PX = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
_MAX_LOG_SIZE = 20.0

Priors: TypeAlias = tuple[Floats, Floats]
"""Centres (A, 2) and sizes (A, 2) in tensor pixels."""


class UltraFace:
    """UltraFace, slim and RFB; any detector with decoded boxes and softmax scores of which class 0 is the background."""

    name = "ultraface"
    evaluation = Evaluation(score_threshold=0.01, iou_threshold=0.3)
    expects = "scores [N, priors, 1 + classes], class 0 being background, and decoded boxes [N, priors, 4] as shares"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        ports = _scores_and_boxes(graph.outputs)
        if ports is None:
            return None
        scores = graph.outputs[ports[0]]
        classes = (scores.shape[2] or 0) - 1
        if not named and (classes != 1 or (scores.shape[1] or 0) < 1000):
            return None
        return Match(
            self.name,
            Task.DETECTION,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                resize="stretch",
                scale=1.0,
                mean=(127.0, 127.0, 127.0),
                std=(128.0, 128.0, 128.0),
            ),
            DecodeSpec(score_threshold=0.7, iou_threshold=0.5),
            classes,
            f"{scores} with background and {classes} class, and a decoded box for each of {scores.shape[1]} priors",
            LABELS if classes == 1 else (),
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        ports = _scores_and_boxes(outputs)
        if ports is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, (outputs[ports[0]].shape[2] or 0) - 1)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        ports = _scores_and_boxes(outputs)
        assert ports is not None, "check() comes before decoder()"
        return UltraFaceDecoder(spec, *ports)


def _scores_and_boxes(outputs: Sequence[Port]) -> tuple[int, int] | None:
    if len(outputs) != 2 or any(len(port.shape) != 3 for port in outputs):
        return None
    if outputs[0].shape[1] is None or outputs[0].shape[1] != outputs[1].shape[1]:
        return None
    for scores, boxes in ((0, 1), (1, 0)):
        if outputs[boxes].shape[2] == 4 and (outputs[scores].shape[2] or 0) >= 2:
            return scores, boxes
    return None


class UltraFaceDecoder:
    """Decodes the outputs of one model."""

    def __init__(self, spec: ModelSpec, scores: int, boxes: int) -> None:
        self._spec = spec
        self._scores, self._boxes = scores, boxes
        self._size = np.array([spec.input.width, spec.input.height] * 2, np.float32)

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        scores, boxes = as_float(outputs[self._scores]), as_float(outputs[self._boxes])
        return [self._one(scores[i], boxes[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, scores: Floats, boxes: Floats, geometry: Geometry) -> Answer:
        if has_nan(scores) or has_nan(boxes):
            return not_a_number(self._spec)
        rows, class_ids = np.nonzero(scores[:, 1:] > self._spec.decode.score_threshold)
        found = Candidates(boxes[rows] * self._size, scores[rows, class_ids + 1], class_ids.astype(np.int32))
        return finish(found, self._spec, geometry)


class YuNet:
    """YuNet."""

    name = "yunet"
    evaluation = Evaluation(score_threshold=0.02, iou_threshold=0.45)
    expects = (
        "for each stride 8, 16, 32 outputs cls and obj [N, cells, 1], bbox [N, cells, 4], kps [N, cells, 10]; or loc [N, priors, 14], "
        "conf [N, priors, 2], iou [N, priors, 1]"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        form = _yunet_form(graph.outputs, graph.width, graph.height)
        if not form:
            return None
        options = {"form": form, "keypoints": len(LANDMARKS), "keypoint_names": list(LANDMARKS)}
        return Match(
            self.name,
            Task.KEYPOINTS,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                colour="BGR",
                anchor="top-left",
                rounding="down",
                pad=0,
                scale=1.0,
            ),
            DecodeSpec(score_threshold=0.6, iou_threshold=0.3, options=options),
            1,
            f"{len(graph.outputs)} outputs of a face detector with five landmarks, {form}; 1 class",
            LABELS,
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        form = _yunet_form(outputs, spec.input.width, spec.input.height)
        if not form or form != spec.decode.options.get("form", form):
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, 1)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        if _yunet_form(outputs, spec.input.width, spec.input.height) == "priors":
            return PriorDecoder(spec, outputs)
        return YuNetDecoder(spec, outputs)


def _yunet_form(outputs: Sequence[Port], width: int, height: int) -> str:
    columns = sorted(port.shape[2] or 0 for port in outputs if len(port.shape) == 3)
    if len(outputs) == 12 and columns == [1] * 6 + [4] * 3 + [10] * 3:
        cells = sorted(port.shape[1] or 0 for port in outputs)
        return "cells" if cells == sorted([grid_cells(width, height, [s]) for s in _STRIDES] * 4) else ""
    if len(outputs) != 3 or sorted(port.shape[-1] or 0 for port in outputs) != [1, 2, 14]:
        return ""
    rows = {port.shape[-2] for port in outputs}
    return "priors" if rows == {len(priors(width, height)[0])} else ""


def priors(width: int, height: int) -> Priors:
    """Priors of YuNet, level by level, row by row, each cell's sizes in turn; sides rounded down as its pooling does."""
    centres, sizes = [], []
    for stride, sides in zip(_PRIOR_STRIDES, _PRIOR_SIDES_PX, strict=True):
        cells, _ = grid(width // stride * stride, height // stride * stride, [stride], 0.5)
        centres.append(np.repeat(cells * stride, len(sides), axis=0))
        sizes.append(np.tile(np.array(sides, np.float32)[:, None].repeat(2, axis=1), (len(cells), 1)))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sizes)


class _Landmarked:
    """Suppression and placing of faces with landmarks."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def _finish(self, boxes: Floats, points: Floats, scores: Floats, geometry: Geometry) -> Answer:
        found = Candidates(boxes, scores, np.zeros(len(scores), np.int32))
        keep = suppress(found, self._spec)
        if keep is None or not np.isfinite(points).all():
            return not_a_number(self._spec)
        places = geometry.points_to_image(points[keep].reshape(-1, len(LANDMARKS), 2))
        sure = np.broadcast_to(scores[keep][:, None, None], (len(keep), len(LANDMARKS), 1))
        result = place_boxes(found, keep, self._spec, geometry)
        return replace(result, keypoints=np.concatenate([places, sure], axis=2).astype(np.float32))


class YuNetDecoder(_Landmarked):
    """The form without priors: one prediction a cell."""

    def __init__(self, spec: ModelSpec, outputs: Sequence[Port]) -> None:
        super().__init__(spec)
        width, height = spec.input.width, spec.input.height
        self._cells, self._strides = grid(width, height, _STRIDES, 0.0)
        by_rows = sorted(range(len(outputs)), key=lambda i: -(outputs[i].shape[1] or 0))
        single = [i for i in by_rows if outputs[i].shape[2] == 1]
        self._scores = [[i for i in single if word in outputs[i].name.lower()] for word in ("cls", "obj")]
        if any(len(part) != len(_STRIDES) for part in self._scores):
            self._scores = [
                single[0::2],
                single[1::2],
            ]  # class and objectness are multiplied: which is which is all one
        self._boxes = [i for i in by_rows if outputs[i].shape[2] == 4]
        self._points = [i for i in by_rows if outputs[i].shape[2] == 10]

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        floats = [as_float(output) for output in outputs]
        return [self._one([o[i] for o in floats], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, outputs: list[Floats], geometry: Geometry) -> Answer:
        if any(has_nan(output) for output in outputs):
            return not_a_number(self._spec)
        sure = [np.concatenate([outputs[i][:, 0] for i in part]).clip(0, 1) for part in self._scores]
        scores = np.sqrt(sure[0] * sure[1])
        rows = np.flatnonzero(scores > self._spec.decode.score_threshold)
        cells, strides = self._cells[rows], self._strides[rows]
        boxes = np.concatenate([outputs[i] for i in self._boxes])[rows]
        points = np.concatenate([outputs[i] for i in self._points])[rows].reshape(-1, len(LANDMARKS), 2)
        sizes = np.exp(np.minimum(boxes[:, 2:4], _MAX_LOG_SIZE)) * strides
        placed = from_centre((boxes[:, 0:2] + cells) * strides, sizes)
        return self._finish(placed, (points + cells[:, None]) * strides[:, None], scores[rows], geometry)


class PriorDecoder(_Landmarked):
    """The form with priors."""

    def __init__(self, spec: ModelSpec, outputs: Sequence[Port]) -> None:
        super().__init__(spec)
        self._centres, self._sizes = priors(spec.input.width, spec.input.height)
        columns = [port.shape[-1] for port in outputs]
        self._loc, self._conf, self._iou = (columns.index(wanted) for wanted in (14, 2, 1))

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        rows = len(self._centres)
        loc, conf, iou = (
            as_float(outputs[i]).reshape(-1, rows, outputs[i].shape[-1])
            for i in (self._loc, self._conf, self._iou)
        )
        return [self._one(loc[i], conf[i], iou[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, loc: Floats, conf: Floats, iou: Floats, geometry: Geometry) -> Answer:
        if has_nan(loc) or has_nan(conf) or has_nan(iou):
            return not_a_number(self._spec)
        scores = np.sqrt(conf[:, 1].clip(0, 1) * iou[:, 0].clip(0, 1))
        rows = np.flatnonzero(scores > self._spec.decode.score_threshold)
        centres, sizes, moved = self._centres[rows], self._sizes[rows], loc[rows]
        grown = np.exp(np.minimum(moved[:, 2:4] * np.float32(0.2), _MAX_LOG_SIZE)) * sizes
        placed = from_centre(centres + moved[:, 0:2] * np.float32(0.1) * sizes, grown)
        points = moved[:, 4:].reshape(-1, len(LANDMARKS), 2) * np.float32(0.1) * sizes[:, None]
        return self._finish(placed, points + centres[:, None], scores[rows], geometry)
