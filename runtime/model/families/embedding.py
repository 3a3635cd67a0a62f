"""Embedding models (re-identification, retrieval): one output (N, D), made a vector of length 1 unless it is that already.

A classifier's output has the same shape, so the family is recognised by the output's name alone, or named by a person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.model.families.classifier import EMBEDDING_WORDS, vector_length
from runtime.model.families.family import (
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    has_nan,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.wholeimage import scaling
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, Result
from wire.problem import Problem
from wire.reasons import Reason


class Embedding:
    """Models that answer a vector for the whole image."""

    name = "embedding"
    evaluation = Evaluation()
    expects = (
        "one output [N, dimensions] or [N, dimensions, 1, 1], its name holding embed, feat or descriptor"
    )

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        dimensions = vector_length(graph.outputs)
        if dimensions < 2:
            return None
        output = graph.outputs[0]
        if not named and not any(word in output.name.lower() for word in EMBEDDING_WORDS):
            return None
        pixels = scaling(graph)
        return Match(
            self.name,
            Task.EMBEDDING,
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
            0,
            f"one output {output}: a vector of {dimensions} numbers",
            assumed=pixels.why,
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if vector_length(outputs) < 2:
            return [outputs_problem(outputs, self.expects, self.name)]
        if spec.labels:
            words = f"{len(spec.labels)} labels for a model without classes"
            return [Problem("labels", Reason.MODEL_LABELS, words, remedy="leave labels out")]
        return []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return EmbeddingDecoder(spec)


class EmbeddingDecoder:
    """Decodes the output of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        batch = batch.reshape(len(batch), -1)
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, vector: Floats, geometry: Geometry) -> Answer:
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not np.isfinite(length) or length == 0 or has_nan(vector):
            return not_a_number(self._spec)
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=(),
            embedding=np.asarray(vector / length, np.float32),
        )
