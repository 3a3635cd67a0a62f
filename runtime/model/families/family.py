"""What a model family is: how it is recognised in a graph, what its outputs must look like, how they become a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.model.geometry import Geometry
from runtime.model.nms import ClassIds, nms, top
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, NoAnswer, Result
from wire.problem import Problem
from wire.reasons import Reason

Output: TypeAlias = npt.NDArray[Any]
Indices: TypeAlias = npt.NDArray[np.intp]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of pixels 0 to 1, red, green, blue: what models trained from ImageNet's weights are fed with."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph. `shape` holds None where the graph leaves a side open; `dtype` is numpy's name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} [{sides}] {self.dtype}"


@dataclass(frozen=True)
class Graph:
    """What recognition may look at. `image` is the input that takes the picture, its size resolved to numbers.

    ops: how often each operator occurs. makers: by output, the operator whose result it is (what only moves values passed over).
    metadata: the exporter's own key-value pairs. head: arithmetic on the picture by constants before the first layer: operator and
    constants. sized: a second input asked for the picture's size and was bound to this input's.
    """

    image: Port
    outputs: tuple[Port, ...]
    width: int
    height: int
    layout: str = "NCHW"
    ops: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    makers: dict[str, str] = field(default_factory=dict)
    sized: bool = False
    head: tuple[tuple[str, tuple[float, ...]], ...] = ()


@dataclass(frozen=True)
class Match:
    """A recognised family with its usual input and decoding. `why` is for people; `labels` where the file holds them; `assumed`: how
    pixels are scaled, in words, where the graph cannot tell for certain."""

    family: str
    task: Task
    input: InputSpec
    decode: DecodeSpec
    classes: int
    why: str
    labels: tuple[str, ...] = ()
    assumed: str = ""


@dataclass(frozen=True)
class Evaluation:
    """How the family's authors decode when they measure AP on COCO: nearly every box counts, not only the likely ones."""

    score_threshold: float = 0.001
    iou_threshold: float = 0.65
    multi_label: bool = False
    max_detections: int = 100


class Decoder(Protocol):
    """Outputs of one call, in the graph's order, to one answer for each image. Several threads may call it at once."""

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        """outputs: batched, at least `len(geometries)` images each. Never raises for what a model answers."""


class Family(Protocol):
    """One family. Stateless: a decoder is made for each loaded model."""

    name: str
    expects: str
    """The outputs it can read, in words: what an error message quotes."""
    evaluation: Evaluation

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        """The match, or None. `named`: a person said it is this family, so the shapes alone decide."""

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        """What in the outputs does not fit the family, the input and the labels."""

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        """A decoder for outputs that `check` has passed."""


@dataclass(frozen=True)
class Candidates:
    """What a head proposes for one image, before suppression: boxes (N, 4) in tensor pixels, scores, class ids."""

    boxes: Floats
    scores: Floats
    class_ids: ClassIds


def finish(candidates: Candidates, spec: ModelSpec, geometry: Geometry) -> Answer:
    """Suppress, cut to the best, and move to image pixels. Numbers that are none become `NoAnswer(MODEL_NAN)`."""
    if not len(candidates.scores):
        return nothing(spec, geometry)
    keep = suppress(candidates, spec)
    return not_a_number(spec) if keep is None else place_boxes(candidates, keep, spec, geometry)


def nothing(spec: ModelSpec, geometry: Geometry) -> Result:
    """No detections."""
    return Result((geometry.image_width_px, geometry.image_height_px), spec.labels)


def suppress(candidates: Candidates, spec: ModelSpec) -> Indices | None:
    """Indices of the candidates that are left, best first; None where a number is none."""
    boxes, scores = candidates.boxes, candidates.scores
    if not (are_finite(boxes) and are_finite(scores)):
        return None
    decode = spec.decode
    if decode.nms == "none":
        return top(scores, decode.max_detections)
    return nms(
        boxes,
        scores,
        candidates.class_ids if decode.nms == "class" else None,
        iou_threshold=decode.iou_threshold,
        max_detections=decode.max_detections,
    )


def place_boxes(candidates: Candidates, keep: Indices, spec: ModelSpec, geometry: Geometry) -> Result:
    """The kept candidates in image pixels, clipped."""
    return Result(
        image_wh=(geometry.image_width_px, geometry.image_height_px),
        labels=spec.labels,
        boxes=geometry.to_image(candidates.boxes[keep]),
        scores=candidates.scores[keep].astype(np.float32, copy=False),
        class_ids=(candidates.class_ids[keep] - spec.decode.class_offset).astype(np.int32, copy=False),
    )


def choose(scores: Floats, spec: ModelSpec) -> tuple[Indices, Indices, Floats]:
    """Rows, class ids and scores above the threshold, of class scores (N, C).

    The best class of each row; with the option `multi_label` every class of it, as evaluations of detectors have it. A score that is
    no number is among them, for `suppress` to find.
    """
    hits, found = likely(scores, spec.decode.score_threshold)
    columns = max(1, scores.shape[1])
    rows = hits // columns
    if spec.decode.options.get("multi_label", False) or len(set(rows.tolist())) == len(rows):
        return rows, hits - rows * columns, found
    rows = rows[np.concatenate([[True], rows[1:] != rows[:-1]])]
    several = scores[rows]
    class_ids = several.argmax(axis=1)
    return rows, class_ids, several[np.arange(len(rows)), class_ids]


def likely(scores: Floats, threshold: float) -> tuple[Indices, Floats]:
    """Where, in (N, C) as one line, scores are above the threshold or no number; and those scores. One pass over all as one line is
    many times faster than a maximum of each row."""
    line = scores.ravel()
    low = line <= threshold
    hits = np.logical_not(low, out=low).nonzero()[0]
    return hits, line[hits]


def not_a_number(spec: ModelSpec) -> NoAnswer:
    return NoAnswer(Reason.MODEL_NAN, f"model {spec.name!r} answered values that are not numbers")


def are_finite(values: Floats) -> bool:
    """Whether all are numbers. The largest and the smallest tell: both are NaN where any value is."""
    if not values.size:
        return True
    with np.errstate(invalid="ignore"):
        largest, least = np.maximum.reduce(values, axis=None), np.minimum.reduce(values, axis=None)
    return math.isfinite(largest) and math.isfinite(least)


def has_nan(output: Output) -> bool:
    """Whether any value is NaN. One pass at memory speed: the maximum of numbers and a NaN is NaN, and differs from itself."""
    if not output.size:
        return False
    with np.errstate(invalid="ignore"):
        largest = np.maximum.reduce(output, axis=None)
    return bool(largest != largest)


def as_float(output: Output) -> Floats:
    """The output as float32, copied only where it is of another type."""
    return np.asarray(output, np.float32)


def grid_cells(width: int, height: int, strides: Sequence[int]) -> int:
    """How many cells a detector with one prediction a cell has."""
    return sum(-(-width // s) * -(-height // s) for s in strides)


def grid(width: int, height: int, strides: Sequence[int], centre: float) -> tuple[Floats, Floats]:
    """Cell positions (A, 2) x y in cells, plus `centre`, and strides (A, 1), level by level, row by row."""
    places, sizes = [], []
    for stride in strides:
        columns, rows = -(-width // stride), -(-height // stride)
        y, x = np.mgrid[0:rows, 0:columns]
        places.append(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32) + np.float32(centre))
        sizes.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(places), np.concatenate(sizes)


def from_centre(centre_xy: Floats, size_wh: Floats) -> Floats:
    """(N, 4) x1 y1 x2 y2 of centres and sizes."""
    half = size_wh * np.float32(0.5)
    boxes = np.empty((len(half), 4), np.float32)
    np.subtract(centre_xy, half, out=boxes[:, :2])
    np.add(centre_xy, half, out=boxes[:, 2:])
    return boxes


def outputs_problem(outputs: Sequence[Port], expects: str, family: str) -> Problem:
    """The one problem of outputs that are not those of a family."""
    have = ", ".join(map(str, outputs)) or "none"
    return Problem(
        "outputs",
        Reason.MODEL_OUTPUTS,
        f"the graph's outputs are {have}",
        expected=f"those of {family}: {expects}",
        remedy="name the right --family, or export the model again",
    )


def labels_problem(labels: Sequence[str], classes: int) -> list[Problem]:
    """A problem where there are labels, and not one for each class."""
    if not labels or len(labels) == classes:
        return []
    return [
        Problem(
            "labels",
            Reason.MODEL_LABELS,
            f"{len(labels)} labels for {classes} classes",
            expected=f"{classes} labels, one for each class, in the model's order",
            remedy="correct labels.txt",
        )
    ]
