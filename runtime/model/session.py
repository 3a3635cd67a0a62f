"""A model package, loaded into an engine: tensors in, answers out. What the engine process and the in-process engine share.

Owns the engine's session and the family's decoder. Does no preprocessing and holds no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model import families, fuse, package
from runtime.model.backends import open_backend
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.families.family import Evaluation, Output, Port
from runtime.model.geometry import Geometry
from runtime.model.spec import ModelSpec
from runtime.results import Answer, NoAnswer
from wire.problem import Problem
from wire.reasons import Reason

WARM_RUNS = 2
"""The first run plans memory, the second is the first that is like all others."""


@dataclass(frozen=True)
class LoadOptions:
    """How to load. `exact`: feed floats where the authors resize floats. `evaluation`: decode as the family's authors do when
    they measure AP. Thresholds: None leaves those of the package."""

    engine: str = "auto"
    threads: int = 0
    spinning: bool = False
    max_batch: int = 8
    cache_dir: Path | None = None
    exact: bool = False
    evaluation: bool = False
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None


class LoadedModel:
    """A package in an engine. `feed_dtype` is what `run` takes: `uint8`, or `float32` on the exact path.

    At most `runs_at_once` threads at a time may call `run`, one thread the rest.
    """

    def __init__(self, directory: Path, options: LoadOptions | None = None) -> None:
        """Read the package, fuse, load.

        :raises ModelRefused: with every problem found
        """
        options = options or LoadOptions()
        self.directory = directory
        self.options = options
        spec = package.read(directory)
        self.family = families.get(spec.family)
        self.spec = _tuned(spec, self.family.evaluation if options.evaluation else None, options)
        self.feed_dtype = "float32" if options.exact and self.spec.input.exact != "uint8" else "uint8"
        graph = fuse.fused(directory, self.spec, self.feed_dtype, fuse.cache_dir(options.cache_dir))
        run_options = RunOptions(options.threads, options.spinning)
        self._backend = _open(graph, options.engine, run_options, directory, self.spec, self.feed_dtype)
        _check(self.spec, self.family.check(self._concrete(), self.spec), self._backend.inputs)
        self._decode = self.family.decoder(self._concrete(), self.spec)

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """One image's tensor, without the batch axis."""
        return self.spec.input.tensor_shape

    @property
    def batch_limit(self) -> int:
        """How many images one run of the engine takes."""
        return self.spec.input.batch or self.options.max_batch

    @property
    def runs_at_once(self) -> int:
        """How many threads may call `run` at the same time, and gain by it."""
        return self._backend.runs_at_once

    @property
    def info(self) -> dict[str, Any]:
        """For people: engine, provider, shapes."""
        return {
            **self._backend.info,
            "input": [*self.tensor_shape],
            "feed": self.feed_dtype,
            "outputs": [str(port) for port in self._backend.outputs],
            "batch": self.spec.input.batch or "any",
        }

    def warm(self) -> None:
        """Run on grey pictures until the engine's memory is planned.

        :raises ModelRefused: the engine fails on them
        """
        batch = np.full(
            (self.spec.input.batch or 1, *self.tensor_shape), self.spec.input.pad, self.feed_dtype
        )
        try:
            for _ in range(WARM_RUNS):
                self._backend.run(batch)
        except Transient as e:
            raise ModelRefused(Reason.MODEL_LOAD_FAILED, f"model {self.spec.name!r}: {e}") from e

    def check_golden(self) -> dict[str, Any]:
        """Compare the golden image's result with what the package promises; figures for people, `present` among them.

        :raises ModelRefused: GOLDEN_MISMATCH, with the figures in the message
        """
        from runtime.model import golden

        return golden.check(self)

    def run(self, batch: npt.NDArray[Any], geometries: Sequence[Geometry]) -> list[Answer]:
        """One answer for each image, in order.

        batch: (n, *tensor_shape), `feed_dtype`, values 0 to 255, C-contiguous. geometries: n, from the preprocessor.
        Never raises for what engine or model do: they become `NoAnswer`.
        """
        limit, count = self.batch_limit, len(geometries)
        answers: list[Answer] = []
        for start in range(0, count, limit):
            part = geometries[start : start + limit]
            try:
                outputs = self.outputs(batch[start : start + len(part)])
            except Transient as e:
                answers += [NoAnswer(e.reason, str(e))] * len(part)
                continue
            answers += self._decode(outputs, part)
        return answers

    def outputs(self, batch: npt.NDArray[Any]) -> list[Output]:
        """The raw outputs of up to `batch_limit` images; a fixed batch that is not full is filled up.

        :raises Transient: the engine failed
        """
        fixed = self.spec.input.batch
        if fixed is not None and len(batch) < fixed:
            batch = np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
        return self._backend.run(batch)

    def close(self) -> None:
        """Give the engine's memory back."""
        self._backend.close()

    def _concrete(self) -> Sequence[Port]:
        """The outputs with their real shapes: run once where the graph leaves them open."""
        ports = self._backend.outputs
        if all(None not in port.shape[1:] for port in ports):
            return ports
        batch = np.full(
            (self.spec.input.batch or 1, *self.tensor_shape), self.spec.input.pad, self.feed_dtype
        )
        try:
            made = self._backend.run(batch)
        except Transient as e:
            raise ModelRefused(Reason.MODEL_LOAD_FAILED, f"model {self.spec.name!r}: {e}") from e
        return [
            replace(port, shape=(port.shape[0] if port.shape else None, *output.shape[1:]))
            for port, output in zip(ports, made, strict=True)
        ]


def _tuned(spec: ModelSpec, evaluation: Evaluation | None, options: LoadOptions) -> ModelSpec:
    """The package's thresholds, replaced where the caller asked."""
    if evaluation is not None:
        usual = asdict(evaluation)
        labelled = {**spec.decode.options, "multi_label": usual.pop("multi_label")}
        spec = replace(spec, decode=replace(spec.decode, options=labelled, **usual))
    asked = {
        "score_threshold": options.score_threshold,
        "iou_threshold": options.iou_threshold,
        "max_detections": options.max_detections,
    }
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(spec, decode=replace(spec.decode, **changes)) if changes else spec


def _open(
    graph: Path | bytes, engine: str, options: RunOptions, directory: Path, spec: ModelSpec, feed: str
) -> Backend:
    """Load the fused graph; an entry of the cache that does not load is made once more, since a disk may have eaten it."""
    try:
        return open_backend(engine, graph, options)
    except ModelRefused as e:
        if e.reason is not Reason.MODEL_LOAD_FAILED or not isinstance(graph, Path):
            raise
        graph.unlink(missing_ok=True)
        return open_backend(engine, fuse.build(directory / spec.onnx, spec.input, feed), options)


def _check(spec: ModelSpec, problems: list[Problem], inputs: Sequence[Port]) -> None:
    if len(inputs) != 1:
        names = ", ".join(map(str, inputs))
        problems = [
            Problem("input", Reason.MODEL_INPUTS, f"the graph takes {names}", "one picture"),
            *problems,
        ]
    if problems:
        raise package.refusal(problems, f"model {spec.name!r}")
