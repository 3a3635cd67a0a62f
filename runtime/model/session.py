"""A model package, loaded into an engine: tensors in, answers out. What the engine process and the in-process engine share.

Owns the engine's session and the family's decoder. Does no preprocessing and holds no image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, RuntimeFault, Transient
from runtime.model import families, fuse, package, precision
from runtime.model.backends import cpus, on_gpu, open_backend
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.families.family import Decoder, Evaluation, Output, Port
from runtime.model.geometry import Geometry, place
from runtime.model.reader import TextReader, moved, seen_by
from runtime.model.shrink import MIN_OPSET, Shrink, decoder_for, plan
from runtime.model.spec import ModelSpec
from runtime.model.split import Book, Choice, Split, best, book, candidates, key, measure
from runtime.results import Answer, Image, NoAnswer
from wire.problem import Problem
from wire.reasons import Reason

logger = logging.getLogger(__name__)

_NOTHING: Image = np.zeros((1, 1, 3), np.uint8)
WARM_RUNS = 2
"""The first run plans memory, the second is the first that is like all others."""


@dataclass(frozen=True)
class LoadOptions:
    """How to load. `exact`: feed floats where the authors resize floats. `evaluation`: decode as the family's authors do when
    they measure AP. Thresholds: None leaves those of the package. `precision`: "" is the package's own; any other than FP32 must
    pass the golden check, unless `unverified` (for whoever measures what a precision costs). `measure_s`: how long `arrange` may try
    how the processors are best split between runs, for whoever asks several at a time. `shrink`: candidates are chosen within the graph; None: where the engine is a GPU. `progress` hears of long builds."""

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
    precision: str = ""
    unverified: bool = False
    measure_s: float = 0.0
    shrink: bool | None = None
    progress: Callable[[str], object] | None = field(default=None, compare=False)


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
        self.precision = precision.chosen(options.precision, self.spec)
        self._declared, self._shrink = self._plan_shrink()
        self._choice = self._kept_choice()
        self._backend = self._opened(refit=self.spec.golden is not None)
        self._reader: TextReader | None = None
        try:
            self._prove()
            if self.spec.parts:
                self._reader = TextReader(directory, self.spec, options)
            if self._backend.info.get("origin") == "refit":
                self._prove_refit()
        except BaseException:
            self._backend.close()
            raise

    def _opened(self, *, refit: bool, split: Split | None = None) -> Backend:
        options = self.options
        split = split or (self._choice.split if self._choice else None) or Split(options.threads, 0)
        run = RunOptions(
            split.threads,
            split.runs,
            options.spinning,
            precision=self.precision.engine,
            max_batch=self.batch_limit,
            cache=fuse.cache_base(options.cache_dir),
            refit=refit,
        )
        if options.progress is not None:
            run = replace(run, progress=options.progress)
        return _open(self.directory, self.spec, self._form, options.engine, run)

    @property
    def _form(self) -> fuse.Form:
        return fuse.Form(self.feed_dtype, self.precision.graph, self._shrink)

    def _plan_shrink(self) -> tuple[Sequence[Port], Shrink | None]:
        """The graph's outputs, and what is chosen from them within the graph: nothing for whoever wants nearly every box."""
        asked = self.options.shrink
        head_of = getattr(self.family, "head", None)
        wanted = on_gpu(self.options.engine) if asked is None else asked
        if not wanted or self.options.evaluation or head_of is None:
            return (), None
        from runtime.model.graph import open_onnx

        file = open_onnx(self.directory / self.spec.onnx)
        if file.opset < MIN_OPSET or self.family.check(file.outputs, self.spec):
            return (), None
        return file.outputs, plan(head_of(file.outputs, self.spec), file.outputs)

    # --- threads ------------------------------------------------------------------------------------------------------

    def _splits(self) -> tuple[Split, ...]:
        """What may be tried; nothing where a person has named a number, or one run at a time is all that is asked."""
        options = self.options
        asked = options.threads or not options.measure_s or self.spec.parts
        splits = () if asked else candidates(cpus.usable())
        return splits if len(splits) > 1 else ()

    def _book(self) -> tuple[Book, str]:
        options = self.options
        graph = fuse.key(self.directory, self.spec, self._form)
        name = key(graph, options.engine, self.precision.engine, cpus.usable())
        return book(fuse.cache_base(options.cache_dir)), name

    def _kept_choice(self) -> Choice | None:
        if not self._splits():
            return None
        kept, name = self._book()
        return kept.read(name)

    def arrange(self) -> None:
        """Find how the processors are best split between runs, once for each graph and machine, and run so from now on."""
        splits = self._splits()
        if self._choice is not None or self._split not in splits:
            return
        kept, name = self._book()
        try:
            measured = measure(
                self._backend,
                lambda split: self._opened(refit=False, split=split),
                lambda opened: cast("Backend", opened).close(),
                self._grey(),
                splits,
                self.options.measure_s,
            )
            choice = Choice(best(measured, self._split) if measured else None, measured)
            if choice.split not in (None, self._split):
                former, self._backend = self._backend, self._opened(refit=False, split=choice.split)
                former.close()
        except RuntimeFault as e:
            logger.warning("the split of threads is not measured: %s", e)
            return
        self._choice = choice
        if measured and choice.steady:
            kept.write(name, self.spec.name, choice)

    @property
    def _split(self) -> Split:
        info = self._backend.info
        return Split(info.get("threads", 0), info.get("runs_at_once", 0))

    def _prove(self) -> None:
        """What must hold before the model is anybody's: outputs of the family, and the golden image where that is not certain."""
        outputs = self._concrete() if self._shrink is None else self._declared
        _check(self.spec, self.family.check(outputs, self.spec), self._backend.inputs)
        self._decode: Decoder = self.family.decoder(outputs, self.spec)
        if self._shrink is not None:
            self._decode = decoder_for(self._decode, self._shrink, self.spec)
        if self.precision.name != "fp32" and not self.options.unverified:
            precision.verify(self)

    def _prove_refit(self) -> None:
        """New weights in an old engine are believed once the golden image says so; else an engine is built for them."""
        try:
            self.check_golden()
        except ModelRefused as e:
            logger.warning("refitted engine fails the golden check and is built anew: %s", e)
            self._backend.close()
            self._backend = self._opened(refit=False)
            self._prove()
        else:
            self._backend.confirm()

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
        return 1 if self._reader is not None else self._backend.runs_at_once

    @property
    def info(self) -> dict[str, Any]:
        """For people: engine, provider, shapes."""
        return {
            **self._backend.info,
            "precision": self.precision.name,
            "input": [*self.tensor_shape],
            "feed": self.feed_dtype,
            "outputs": [str(port) for port in self._backend.outputs],
            "batch": self.spec.input.batch or "any",
            **({"splits": self._choice.described()} if self._choice and self._choice.measured else {}),
        }

    def warm(self) -> None:
        """Run on grey pictures until the engine's memory is planned.

        :raises ModelRefused: the engine fails on them, or answers what is no number
        """
        batch = self._grey()
        for _ in range(WARM_RUNS):
            outputs = self._trial(batch)
        where = place(self.spec.input, self.spec.input.width, self.spec.input.height)
        (answer,) = self._decode(outputs, [where])
        if isinstance(answer, NoAnswer):
            raise ModelRefused(answer.reason, f"{answer.message}, on a grey picture")

    def check_golden(self) -> dict[str, Any]:
        """Compare the golden image's result with what the package promises; figures for people, `present` among them.

        :raises ModelRefused: GOLDEN_MISMATCH, with the figures in the message
        """
        from runtime.model import golden

        return golden.check(self)

    def run(
        self,
        batch: npt.NDArray[Any],
        geometries: Sequence[Geometry],
        images: Sequence[Image] | None = None,
    ) -> list[Answer]:
        """One answer for each image, in order.

        batch: (n, *tensor_shape), `feed_dtype`, values 0 to 255, C-contiguous. geometries: n, from the preprocessor. images: the
        pictures themselves where the caller has them; texts are then read from them, else from what lies in the batch.
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
        if self._reader is None:
            return answers
        return [
            self._read(answer, tensor, geometry, images[i] if images else None)
            for i, (answer, tensor, geometry) in enumerate(zip(answers, batch, geometries, strict=False))
        ]

    def _read(
        self, answer: Answer, tensor: npt.NDArray[Any], geometry: Geometry, image: Image | None
    ) -> Answer:
        assert self._reader is not None, "the caller has looked"
        if image is not None or isinstance(answer, NoAnswer):
            return self._reader.read(image if image is not None else _NOTHING, answer)
        small = seen_by(tensor, self.spec.input, geometry)
        read = self._reader.read(small, moved(answer, (small.shape[1], small.shape[0])))
        return read if isinstance(read, NoAnswer) else moved(read, answer.image_wh)

    def outputs(self, batch: npt.NDArray[Any]) -> list[Output]:
        """The raw outputs of up to `batch_limit` images; a fixed batch that is not full is filled up.

        :raises Transient: the engine failed
        """
        fixed = self.spec.input.batch
        if fixed is not None and len(batch) < fixed:
            batch = np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
        return self._backend.run(batch)

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """As `Backend.pin`."""
        self._backend.pin(parts)

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """As `Backend.unpin`."""
        self._backend.unpin(parts)

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._reader is not None:
            self._reader.close()
        self._backend.close()

    def _concrete(self) -> Sequence[Port]:
        """The outputs with their real shapes: run once where the graph leaves them open."""
        ports = self._backend.outputs
        if all(None not in port.shape[1:] for port in ports):
            return ports
        made = self._trial(self._grey())
        return [
            replace(port, shape=(port.shape[0] if port.shape else None, *output.shape[1:]))
            for port, output in zip(ports, made, strict=True)
        ]

    def _grey(self) -> npt.NDArray[Any]:
        shape = (self.spec.input.batch or 1, *self.tensor_shape)
        return np.full(shape, self.spec.input.pad, self.feed_dtype)

    def _trial(self, batch: npt.NDArray[Any]) -> list[Output]:
        """:raises ModelRefused: the engine fails: what comes and goes when a model serves is final while it loads"""
        try:
            return self._backend.run(batch)
        except Transient as e:
            told = (Reason.OUT_OF_MEMORY, Reason.GPU_FAULT)
            reason = e.reason if e.reason in told else Reason.MODEL_LOAD_FAILED
            raise ModelRefused(reason, f"model {self.spec.name!r}: {e}") from e


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


def _open(directory: Path, spec: ModelSpec, form: fuse.Form, engine: str, options: RunOptions) -> Backend:
    """Load the fused graph; an entry of the cache that does not load is made once more, since a disk may have eaten it."""
    graph = fuse.fused(directory, spec, form, fuse.cache_dir(options.cache))
    try:
        return open_backend(engine, graph, options)
    except ModelRefused as e:
        if e.reason is not Reason.MODEL_LOAD_FAILED or not isinstance(graph, Path):
            raise
        graph.unlink(missing_ok=True)
        return open_backend(engine, fuse.build(directory / spec.onnx, spec.input, form), options)


def _check(spec: ModelSpec, problems: list[Problem], inputs: Sequence[Port]) -> None:
    if len(inputs) != 1:
        names = ", ".join(map(str, inputs))
        problems = [
            Problem("input", Reason.MODEL_INPUTS, f"the graph takes {names}", "one picture"),
            *problems,
        ]
    if problems:
        raise package.refusal(problems, f"model {spec.name!r}")
