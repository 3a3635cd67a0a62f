"""`python -m runtime.pipeline.trial DIR`: run a definition over a picture or a clip before anybody uses it; one `CheckResult` line.

DIR holds `workflow.json`, `trial.json` (a `Wish`) and what that names. Annotated pictures are written to DIR; the card tells the rest.
Nothing leaves: what sinks would have sent is said in their outputs, and not sent. Code that a definition brings is not run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.camera.reader import Frame
from runtime.errors import Refused, RuntimeFault, SourceRefused, WorkflowRefused
from runtime.model.inprocess import InProcessEngine
from runtime.model.session import LoadOptions
from runtime.pipeline.snapshot import JPEG_QUALITY, Seen
from runtime.results import Image
from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.messages import Message
from runtime.workflow.check import read_document
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.graph import Graph, Step
from runtime.workflow.permits import Permits
from runtime.workflow.serialise import to_json
from runtime.workflow.sinkblock import SinkBlock
from runtime.workflow.values import ImageValue, VideoMetadata
from wire.local import CheckResult, encode
from wire.problem import nearest
from wire.reasons import Reason

NOT_SENT = "Not sent: this is a trial"
MAX_FRAME_CHARS = 24_000
"""Of the outputs of one frame; with `MAX_KEPT` of them below a line of the link."""
MAX_KEPT = 24
WIDTH_PX = 1280
_DEFAULT_FPS = 25.0
_FRAME_DEADLINE_S = 60.0
_SAID = {"error_status": False, "throttling_status": False, "disabled": True, "message": NOT_SENT}


@dataclass(frozen=True)
class Wish:
    """What to try on. `models`: model id → directory of a package; `frames`, `seconds`: when to stop."""

    media: str
    models: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 300
    seconds: float = 60.0


@dataclass
class _Tally:
    """What it came to. Of `kept` every `stride`th frame is told in full; the stride doubles when there are too many."""

    done: int = 0
    blind: int = 0
    stride: int = 1
    kept: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    step_us: dict[str, float] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.done += 1
        self.blind += outcome.no_answer is not None
        for step, message in outcome.errors.items():
            kept = self.failed.setdefault(step, {"frames": 0, "message": ""})
            kept["frames"] += 1
            kept["message"] = message[:500]
        for step, spent_us in outcome.step_times_us.items():
            self.step_us[step] = self.step_us.get(step, 0.0) + spent_us

    @property
    def is_due(self) -> bool:
        """Whether the frame that comes is to be told in full."""
        return self.done % self.stride == 0

    def keep(self, frame: dict[str, Any]) -> list[str]:
        """Pictures that are not wanted any more."""
        self.kept.append(frame)
        if len(self.kept) <= MAX_KEPT:
            return []
        gone = [entry["picture"] for entry in self.kept[1::2]]
        self.kept = self.kept[::2]
        self.stride *= 2
        return gone


def withheld(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph with its sinks replaced by ones that only say that they did not send; the names of those steps."""
    steps = tuple(
        replace(step, block=_silent(step)) if issubclass(step.block, (SinkBlock, Message)) else step
        for step in graph.steps
    )
    names = tuple(old.name for old, new in zip(graph.steps, steps, strict=True) if old.block is not new.block)
    return replace(graph, steps=steps), names


def _silent(step: Step) -> type[Block]:
    answers = tuple(_SAID.get(name) for name in step.block.outputs)

    class Silent(Block):
        types = step.block.types
        fields = step.block.fields
        outputs = step.block.outputs

        def run(self, **_values: Any) -> Any:
            return answers if len(answers) != 1 else answers[0]

    return Silent


def try_out(folder: Path) -> dict[str, Any]:
    """The card.

    :raises RuntimeFault: the definition, a model or the media cannot be used
    """
    wish = Wish(**json.loads((folder / "trial.json").read_text()))
    compiled = compile_definition(read_document(folder / "workflow.json"), permits=Permits(True))
    graph, silent = withheld(compiled)
    _check_parameters(graph, wish.parameters)
    with ExitStack() as held:
        engines = {}
        for model_id in graph.model_ids:
            package = wish.models.get(model_id)
            if package is None:
                raise WorkflowRefused(
                    Reason.UNKNOWN_REFERENCE, f"model id {model_id!r} is bound to no model; name one for it"
                )
            engine = InProcessEngine(folder / package, LoadOptions(cache_dir=folder / "cache"))
            held.callback(engine.close)
            engines[model_id] = engine
        executor = Executor(graph, engines, Surroundings(time.time, time.monotonic))
        held.callback(executor.close)
        tally, why = _run(executor, wish, folder)
    return {
        "frames": tally.kept,
        "done": tally.done,
        "blind": tally.blind,
        "failed": tally.failed,
        "step_us": {step: round(spent / max(tally.done, 1), 1) for step, spent in tally.step_us.items()},
        "not_sent": list(silent),
        "passed_over": [step.step for step in graph.passed_over],
        "ended": why,
    }


def _run(executor: Executor, wish: Wish, folder: Path) -> tuple[_Tally, str]:
    tally, end_mono = _Tally(), time.monotonic() + wish.seconds
    for image, metadata in frames_of(folder / wish.media):
        if tally.done >= wish.frames:
            return tally, f"after {wish.frames} frames"
        if time.monotonic() > end_mono:
            return tally, f"after {wish.seconds:g} s"
        pictures = dict.fromkeys(executor.graph.image_inputs, ImageValue(image, metadata))
        due, number = tally.is_due, tally.done
        outcome = executor.run({**wish.parameters, **pictures}, _FRAME_DEADLINE_S)
        tally.add(outcome)
        if due:
            for name in tally.keep(_told(outcome, image, number, metadata, folder)):
                (folder / name).unlink()
    if not tally.done:
        raise SourceRefused(Reason.CAMERA_SOURCE_INVALID, "the file holds no picture that can be read")
    return tally, ""


def _told(
    outcome: Outcome, image: Image, number: int, metadata: VideoMetadata, folder: Path
) -> dict[str, Any]:
    outputs = outcome.outputs[0] if outcome.outputs else {}
    seen = Seen(Frame(number, image, 0.0, 0.0), outputs, outcome.predictions)
    name = f"{number:06d}.jpg"
    _write(seen.picture(), folder / name)
    body = to_json(outputs)
    if len(json.dumps(body)) > MAX_FRAME_CHARS:
        body = {key: _cut(value, MAX_FRAME_CHARS // max(len(body), 1)) for key, value in body.items()}
    told: dict[str, Any] = {
        "frame": number,
        "at_s": round(metadata.time_s, 3) if metadata.comes_from_video_file else None,
        "picture": name,
        "width": int(image.shape[1]),
        "height": int(image.shape[0]),
        "outputs": body,
        "errors": {step: message[:500] for step, message in outcome.errors.items()},
        "no_answer": outcome.no_answer.message[:500] if outcome.no_answer is not None else "",
    }
    return told


def _cut(value: Any, limit_chars: int) -> Any:
    text = json.dumps(value)
    return value if len(text) <= limit_chars else f"{text[:limit_chars]} … ({len(text)} characters)"


def _write(image: Image, path: Path) -> None:
    height, width = image.shape[:2]
    if width > WIDTH_PX:
        size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def frames_of(path: Path) -> Iterator[tuple[Image, VideoMetadata]]:
    """The one picture, or every frame of the clip, (H, W, 3) uint8 BGR.

    :raises SourceRefused: it is neither
    """
    content = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if picture is not None:
        yield np.asarray(picture, np.uint8), VideoMetadata("trial", 1, time.time())
        return
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceRefused(
                Reason.CAMERA_SOURCE_INVALID,
                f"the file ({content.size} bytes) is no picture and no clip that can be read; expected JPEG, PNG, WebP, MP4, WebM, …",
            )
        fps, number = float(capture.get(cv2.CAP_PROP_FPS)) or _DEFAULT_FPS, 0
        while True:
            good, frame = capture.read()
            if not good:
                return
            number += 1
            yield np.asarray(frame, np.uint8), VideoMetadata("trial", number, number / fps, fps, True)
    finally:
        capture.release()


def _check_parameters(graph: Graph, parameters: Mapping[str, Any]) -> None:
    known = [name for name in graph.inputs if name not in graph.image_inputs]
    for name in parameters:
        if name not in known:
            hint = nearest(name, known) or f"the workflow has {', '.join(known) or 'none'}"
            raise Refused(Reason.INVALID_FIELD, f"parameters.{name}: no such parameter; {hint}")


def main(argv: Sequence[str]) -> int:
    """Exit status 0 when it ran, 1 when something was refused, 2 for wrong usage."""
    if len(argv) != 1:
        print("usage: python -m runtime.pipeline.trial DIR", file=sys.stderr)
        return 2
    try:
        result = CheckResult(True, card=try_out(Path(argv[0])))
    except RuntimeFault as e:
        result = CheckResult(False, e.reason.value, str(e)[:4000], [p.to_json() for p in e.problems])
    sys.stdout.buffer.write(encode(result))
    return 0 if result.ok else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
