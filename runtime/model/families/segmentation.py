"""Semantic segmentation: one output of class scores (N, C, h, w) or (N, h, w, C), or a finished class map (N, h, w) or (N, 1, h, w).

The class of each cell is the best one; the map goes to the picture's size by the nearest cell, the padding of a letterbox cut away.
Class 0 is the background as far as drawing and regions go.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from runtime.model.families.family import (
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    has_nan,
    labels_problem,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.wholeimage import scaling
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, Image, Result
from wire.problem import Problem

_MAX_CLASSES = 256
_CELLS = 32768
"""Looked at together: what is kept of them stays in the second level of the cache, and calls of numpy's are few."""
_MAX_STRIDE = 8
"""Coarser maps are something else: detectors have strides of 8 and more."""


class Segmentation:
    """Semantic segmentation."""

    name = "segmentation"
    evaluation = Evaluation()
    expects = (
        "one output of class scores [N, classes, h, w] or [N, h, w, classes], or a class map [N, h, w] of whole numbers, with sides at "
        f"least an eighth of the input's; at most {_MAX_CLASSES} classes"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        axis = _class_axis(graph.outputs, graph.width, graph.height)
        if axis is None:
            return None
        classes = (graph.outputs[0].shape[axis] or 0) if axis else 0
        pixels = scaling(graph)
        return Match(
            self.name,
            Task.SEMANTIC_SEGMENTATION,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                resize="stretch",
                scale=pixels.scale,
                mean=pixels.mean,
                std=pixels.std,
            ),
            DecodeSpec(nms="none"),
            classes,
            f"one output {graph.outputs[0]}: "
            + (f"scores of {classes} classes for each cell" if classes else "a finished class map"),
            assumed=pixels.why,
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        axis = _class_axis(outputs, spec.input.width, spec.input.height)
        if axis is None:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, outputs[0].shape[axis] or 0) if axis else []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        axis = _class_axis(outputs, spec.input.width, spec.input.height)
        assert axis is not None, "check() comes before decoder()"
        return SegmentationDecoder(spec, axis)


def _class_axis(outputs: Sequence[Port], width: int, height: int) -> int | None:
    """1 or 3 for class scores, 0 for a finished map, None where the output is neither."""
    if len(outputs) != 1:
        return None
    shape, whole = outputs[0].shape, outputs[0].dtype.startswith(("int", "uint"))
    if whole and (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)):
        return 0 if _is_map(shape[-2:], width, height) else None
    if len(shape) != 4 or whole:
        return None
    if _is_map(shape[2:], width, height) and 2 <= (shape[1] or 0) <= _MAX_CLASSES:
        return 1
    return 3 if _is_map(shape[1:3], width, height) and 2 <= (shape[3] or 0) <= _MAX_CLASSES else None


def _is_map(sides: Sequence[int | None], width: int, height: int) -> bool:
    rows, columns = sides[0] or 0, sides[1] or 0
    return height / _MAX_STRIDE <= rows <= height and width / _MAX_STRIDE <= columns <= width


class SegmentationDecoder:
    """Decodes the output of one model."""

    def __init__(self, spec: ModelSpec, class_axis: int) -> None:
        self._spec = spec
        self._axis = class_axis

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        return [self._one(outputs[0][i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, values: Output, geometry: Geometry) -> Answer:
        classes: Image | None
        if self._axis:
            classes = best_classes(as_float(values), last=self._axis == 3)
            if classes is None:
                return not_a_number(self._spec)
        else:
            classes = values.reshape(values.shape[-2:]).clip(0, _MAX_CLASSES - 1).astype(np.uint8)
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=self._spec.labels,
            semantic=_to_image(classes, self._spec.input, geometry),
        )


def best_classes(scores: Floats, *, last: bool) -> Image | None:
    """The index of the best class of each cell, the lowest of equals: (C, h, w), or (h, w, C) where the classes come `last`, to (h, w).
    None where a score is no number.

    Class by class over a few rows that stay in the cache: several times faster than an argmax along a short axis.
    """
    rows, columns = scores.shape[:2] if last else scores.shape[1:]
    classes = scores.shape[2] if last else scores.shape[0]
    out = np.zeros((rows, columns), np.uint8)
    step = min(max(1, _CELLS // columns), rows)
    better = np.empty(step * columns, np.bool_)
    work = np.empty((classes, step * columns) if last else (1, step * columns), np.float32)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        cells = (part.stop - start) * columns
        if last:  # many times faster than cv2.split; a whole `work` is written to where it is
            turned = np.ascontiguousarray(scores[part]).reshape(-1, classes)
            planes = cv2.transpose(turned, work if cells == work.shape[1] else None)
            best = planes[0]
        else:
            planes, best = scores[:, part].reshape(classes, -1), work[0, :cells]
            best[:] = planes[0]
        if not _choose(planes, best, out[part].reshape(-1), better[:cells]):
            return None
    return out


def _choose(planes: Floats, best: Floats, index: Image, better: npt.NDArray[np.bool_]) -> bool:
    """Writes to `index`, which is 0, the best plane of each cell; False where a score is no number. `best`: plane 0, becomes the
    largest; `better`: scratch."""
    number = better.view(np.uint8)
    for k in range(1, len(planes)):
        np.greater(planes[k], best, out=better)
        np.maximum(best, planes[k], out=best)
        np.multiply(number, np.uint8(k), out=number)
        np.maximum(index, number, out=index)  # later numbers are larger
    return not has_nan(best)


def _to_image(classes: Image, spec: InputSpec, geometry: Geometry) -> Image:
    """The class of each pixel of the picture, (H, W) uint8."""
    size = (geometry.image_width_px, geometry.image_height_px)
    whole = (geometry.resized_width_px, geometry.resized_height_px) == (spec.width, spec.height)
    if not whole:
        classes = cv2.resize(classes, (spec.width, spec.height), interpolation=cv2.INTER_NEAREST)
        left, top = geometry.left_px, geometry.top_px
        inside = classes[
            max(0, top) : top + geometry.resized_height_px, max(0, left) : left + geometry.resized_width_px
        ]
        if left < 0 or top < 0:  # cut away before the model: nothing is known there, which is background
            canvas = np.zeros((geometry.resized_height_px, geometry.resized_width_px), np.uint8)
            canvas[-top : -top + inside.shape[0], -left : -left + inside.shape[1]] = inside
            inside = canvas
        classes = inside
    if (classes.shape[1], classes.shape[0]) == size:
        return np.ascontiguousarray(classes)
    return np.asarray(cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST), np.uint8)
