"""`outrider workflow run`: a definition over a video, pictures or a camera; JSON lines, a drawn video, a progress bar."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.commands.infer import Frame, Frames
    from outrider.sdk import Model
    from runtime.model.engine import Engine, Ticket
    from runtime.model.spec import ModelSpec
    from runtime.results import Image
    from runtime.workflow.executor import Executor, Outcome
    from runtime.workflow.graph import Graph
    from runtime.workflow.permits import Permits

DEADLINE_S = 60.0

Sink = Callable[["Frame", "Outcome"], None]


class _Loaded:
    """A model of the SDK as an engine."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def digest(self) -> str:
        return self._model.digest

    def submit(self, images: Sequence[Image]) -> Ticket:
        from runtime.model.engine import Done

        return Done(tuple(self._model.ask(images)))

    def close(self) -> None:
        self._model.close()


def run_over(args: argparse.Namespace, permits: Permits) -> int:
    """Run the definition over the source; the exit status, 1 where a step failed.

    :raises RuntimeFault: the definition, a package or the source is refused
    """
    from outrider.commands.infer import open_frames
    from runtime.workflow.check import read_document
    from runtime.workflow.compiler import compile_definition
    from runtime.workflow.executor import Executor

    graph = compile_definition(read_document(args.file), permits=permits)
    for step in graph.passed_over:
        print(
            f"outrider: step {step.step!r} is passed over: {step.block} does not run on a device",
            file=sys.stderr,
        )
    parameters = {name: _value(text) for name, text in _pairs(args.set, "--set").items()}
    _check_parameters(graph, parameters)
    frames = open_frames(args.source)
    with ExitStack() as held:
        engines = _engines(_pairs(args.model, "--model"), graph.model_ids, held)
        sinks: list[Sink] = []
        if args.json or not args.out:
            stream: IO[str] = sys.stdout
            if args.json and args.json != "-":
                stream = held.enter_context(Path(args.json).open("w", encoding="utf-8"))
            sinks.append(lambda frame, outcome: _write_line(stream, frame, outcome))
        if args.out:
            sinks.append(_drawing(args.out, frames, graph, args.draw, held))
        return _loop(frames, Executor(graph, engines), parameters, sinks, args)


def _pairs(texts: list[str], flag: str) -> dict[str, str]:
    from runtime.errors import Refused
    from wire.reasons import Reason

    pairs: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise Refused(Reason.INVALID_FIELD, f"{flag} {text!r}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _engines(packages: dict[str, str], wanted: tuple[str, ...], held: ExitStack) -> dict[str, Engine]:
    """An engine for each model of the workflow.

    :raises WorkflowRefused: a model_id has no package
    :raises ModelRefused: a package cannot serve
    """
    from outrider.sdk import load
    from runtime.errors import WorkflowRefused
    from wire.reasons import Reason

    if missing := [model_id for model_id in wanted if model_id not in packages]:
        text = ", ".join(f"--model {model_id}=PACKAGE" for model_id in missing)
        raise WorkflowRefused(Reason.UNKNOWN_REFERENCE, f"the workflow needs {text}")
    engines: dict[str, Engine] = {}
    for model_id, package in packages.items():
        model = held.enter_context(load(package, exact=False))
        engines[model_id] = _Loaded(model)
    return engines


def _check_parameters(graph: Graph, parameters: dict[str, Any]) -> None:
    from runtime.errors import Refused
    from wire.problem import nearest
    from wire.reasons import Reason

    known = [i.name for i in graph.inputs.values() if i.name not in graph.image_inputs]
    for name in parameters:
        if name not in known:
            hint = nearest(name, known) or f"the workflow has {', '.join(known) or 'none'}"
            raise Refused(Reason.INVALID_FIELD, f"--set {name}: no such parameter; {hint}")


def _drawing(out: Path, frames: Frames, graph: Graph, chosen: str | None, held: ExitStack) -> Sink:
    """Frames to `out`: the picture that the workflow puts out, or else what its models saw, drawn."""
    from outrider.commands.infer import pictures_to
    from runtime.draw import annotate
    from runtime.errors import Refused
    from runtime.workflow.fields import IMAGE
    from runtime.workflow.values import ImageValue
    from wire.reasons import Reason

    pictures = [o.name for o in graph.outputs if o.names is None and IMAGE in o.slots[0].kinds]
    if chosen is not None and chosen not in pictures:
        raise Refused(
            Reason.INVALID_FIELD,
            f"--draw {chosen}: no output of that name is a picture; there are: {', '.join(pictures) or 'none'}",
        )
    output = chosen or (pictures[-1] if pictures else "")
    write = pictures_to(out, frames, held)

    def draw(frame: Frame, outcome: Outcome) -> None:
        value = outcome.outputs[0].get(output) if outcome.outputs else None
        picture = value.image if isinstance(value, ImageValue) else frame.image
        if not isinstance(value, ImageValue):
            for result in outcome.predictions.values():
                picture = annotate(picture, result)
        write(frame, picture)

    return draw


@dataclass
class _Tally:
    """What the run came to."""

    done: int = 0
    blind: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    step_us: dict[str, float] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.done += 1
        self.blind += outcome.no_answer is not None
        for step, message in outcome.errors.items():
            self.failed[step] = self.failed.get(step, 0) + 1
            self.messages[step] = message
        for step, spent_us in outcome.step_times_us.items():
            self.step_us[step] = self.step_us.get(step, 0.0) + spent_us

    def tell(self, taken_s: float) -> None:
        blind = f", {self.blind} without an answer" if self.blind else ""
        print(
            f"{self.done} frames{blind}, {taken_s:.1f} s, {self.done / taken_s:.1f} frames/s", file=sys.stderr
        )
        for step, count in self.failed.items():
            print(
                f"outrider: {step} failed on {count} frame(s); the last time: {self.messages[step]}",
                file=sys.stderr,
            )
        slowest = sorted(self.step_us.items(), key=lambda item: -item[1])[:3]
        if self.done and slowest:
            words = ", ".join(f"{step} {spent_us / self.done:.0f} µs" for step, spent_us in slowest)
            print(f"slowest steps, the waiting for models apart: {words}", file=sys.stderr)


def _loop(
    frames: Frames,
    executor: Executor,
    parameters: dict[str, Any],
    sinks: list[Sink],
    args: argparse.Namespace,
) -> int:
    from outrider.commands.infer import Bar

    total = min(frames.total, args.limit) if args.limit and frames.total else args.limit or frames.total
    bar = Bar(total, sys.stderr, shown=not args.no_progress and sys.stderr.isatty())
    tally, started_mono = _Tally(), time.monotonic()
    try:
        for frame in frames.each():
            outcome = executor.run({**parameters, **_images(frame, frames, executor)}, DEADLINE_S)
            for sink in sinks:
                sink(frame, outcome)
            tally.add(outcome)
            bar.show(tally.done, time.monotonic())
            if args.limit and tally.done >= args.limit:
                break
    except KeyboardInterrupt:
        print("\ninterrupted; what was done so far is written", file=sys.stderr)
    finally:
        bar.end()
    tally.tell(max(time.monotonic() - started_mono, 1e-9))
    return 0 if tally.done and not tally.failed and not tally.blind else 1


def _images(frame: Frame, frames: Frames, executor: Executor) -> dict[str, Any]:
    from runtime.workflow.values import ImageValue, VideoMetadata

    metadata = VideoMetadata(frames.name, frame.number + 1, frame.at_s or 0.0, frames.fps, frames.is_video)
    return dict.fromkeys(executor.graph.image_inputs, ImageValue(frame.image, metadata))


def _write_line(stream: IO[str], frame: Frame, outcome: Outcome) -> None:
    stream.write(json.dumps(_line(frame, outcome), separators=(",", ":")) + "\n")


def _line(frame: Frame, outcome: Outcome) -> dict[str, Any]:
    from runtime.workflow.serialise import to_json

    body: dict[str, Any] = {"frame": frame.number}
    if frame.name:
        body["file"] = frame.name
    if frame.at_s is not None:
        body["at_s"] = round(frame.at_s, 3)
    body["outputs"] = to_json(outcome.outputs[0])
    if outcome.errors:
        body["errors"] = outcome.errors
    if outcome.no_answer is not None:
        body["no_answer"] = {"reason": outcome.no_answer.reason.value, "message": outcome.no_answer.message}
    return body
