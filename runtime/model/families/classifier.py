"""Classifiers of the whole image, single or multi-label: one output (N, C), or (N, C, 1, 1), of scores or of logits.

Scores leave as they are where the graph itself ends in a softmax or sigmoid; logits go through the one that the task means. Usual
preprocessing is that of ImageNet's published models: RGB, mean and deviation by channel, short side to 8/7 of the input, middle
cut out; YOLO's classifiers take /255 alone, and the whole short side; `wholeimage.py` tells others apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

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
from runtime.model.families.wholeimage import Scaling, scaling
from runtime.model.families.yolo import names_of
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, Result
from wire.problem import Problem

_CROP_SHARE = 0.875
"""The usual share of the short side that is left after the crop: 224 of 256."""
EMBEDDING_WORDS = ("embed", "feat", "descriptor")


class Classifier:
    """Classification and multi-label classification."""

    name = "classifier"
    evaluation = Evaluation()
    expects = "one output [N, classes] or [N, classes, 1, 1], two classes or more"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        classes = vector_length(graph.outputs)
        if classes < 2 or graph.metadata.get("task", "classify") != "classify":
            return None
        output = graph.outputs[0]
        if not named and any(word in output.name.lower() for word in EMBEDDING_WORDS):
            return None
        pixels = scaling(graph)
        maker = graph.makers.get(output.name, "")
        task = Task.MULTI_LABEL if maker == "Sigmoid" else Task.CLASSIFICATION
        ended = maker in ("Softmax", "Sigmoid") or graph.metadata.get("task") == "classify"
        return Match(
            self.name,
            task,
            _input(graph, pixels),
            DecodeSpec(nms="none", options={"activation": "none"} if ended else {}),
            classes,
            f"one output {output}: {classes} classes, "
            + (f"scores made by {maker or 'the exporter'} in the graph" if ended else "logits"),
            names_of(graph.metadata, classes),
            "" if graph.metadata.get("task") == "classify" else pixels.why,
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        classes = vector_length(outputs)
        if classes < 2:
            return [outputs_problem(outputs, self.expects, self.name)]
        return labels_problem(spec.labels, classes)

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return ClassifierDecoder(spec)


def vector_length(outputs: Sequence[Port]) -> int:
    """How many numbers the one output has for each image; 0 where it is no vector."""
    if len(outputs) != 1 or len(outputs[0].shape) not in (2, 4):
        return 0
    shape = outputs[0].shape
    return (shape[1] or 0) if all(side == 1 for side in shape[2:]) else 0


def _input(graph: Graph, pixels: Scaling) -> InputSpec:
    name, width, height = graph.image.name, graph.width, graph.height
    resize: Literal["centre-crop"] = "centre-crop"
    if graph.metadata.get("task") == "classify":
        return InputSpec(name, width, height, resize=resize, exact="pil")
    how: dict[str, Any] = {"scale": pixels.scale, "mean": pixels.mean, "std": pixels.std}
    if pixels.keras:
        return InputSpec(name, width, height, resize="stretch", exact="pil", **how)
    short = round(min(width, height) / _CROP_SHARE)
    return InputSpec(
        name,
        width,
        height,
        resize=resize,
        short_side=short,
        exact="pil",
        **how,
    )


class ClassifierDecoder:
    """Decodes the output of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        usual = "sigmoid" if spec.task is Task.MULTI_LABEL else "softmax"
        self._activation = str(spec.decode.options.get("activation", usual))

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        batch = batch.reshape(len(batch), -1)
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, values: Floats, geometry: Geometry) -> Answer:
        if has_nan(values):
            return not_a_number(self._spec)
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=self._spec.labels,
            classes=activate(values, self._activation),
        )


def activate(values: Floats, activation: str) -> Floats:
    """`softmax` over the last axis, `sigmoid` of each, or `none`; float32, a new array or the values themselves."""
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)
    return np.array(values, np.float32)
