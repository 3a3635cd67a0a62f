"""The applications of this folder: which clip, which models, and which frame makes the picture.

python -m examples.workflows.gallery --assets DIR [NAME …]     draws the pictures anew; what was found in a real video is shown
in a drawn scene (sketch.py)
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import outrider
from examples.bottle_caps.belt import Image
from examples.bottle_caps.scene import FPS as BELT_FPS
from examples.bottle_caps.scene import Scene
from examples.workflows import drawn, matched
from examples.workflows.people import VIDEO, Placed, Room
from examples.workflows.sketch import Sketcher
from runtime.model.engine import Done
from runtime.sinks.desk import Counter, Desk, Receipt
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.values import ImageValue, VideoMetadata

FOLDER = Path(__file__).resolve().parent
CAPS = FOLDER.parent / "bottle_caps" / "packages"
DETECTOR = "detectors/yolox_nano_416.onnx"
BOTTLES = "video/bottle-detection.mp4"
Frames = Iterable[Image]


@dataclass
class Context:
    """Where real models and videos lie, and a folder for what is made."""

    assets: Path
    work: Path

    @cached_property
    def room(self) -> Room:
        return Room(self.assets)


Model = Callable[[Context], Path]


def detector(context: Context) -> Path:
    return context.assets / DETECTOR


@dataclass(frozen=True)
class Application:
    """`fps` of the frames that `frames` gives; `shown`: the number of the frame whose picture is kept; `told`: outputs written
    below it. `needs_assets`: real models or videos."""

    name: str
    fps: float
    frames: Callable[[Context], Frames]
    shown: int
    told: tuple[str, ...]
    models: Mapping[str, Model] = field(default_factory=dict)
    needs_assets: bool = True
    at_wall: float = 1_700_000_000.0


class Asked:
    """A model of the SDK, as an executor asks it."""

    def __init__(self, model: outrider.Model) -> None:
        self.spec, self.digest, self._model = model.spec, model.digest, model

    def submit(self, images: Sequence[Image]) -> Done:
        return Done(tuple(self._model.ask(images)))

    def close(self) -> None:
        self._model.close()


class Rehearsal(Desk):
    """Takes everything and delivers nothing: for looking at a workflow without its servers and machines."""

    def deliver(self, counter: Counter, body: Any, size_bytes: int) -> Receipt:
        receipt = Receipt()
        receipt.settle()
        return receipt


def video(
    context: Context, name: str, start: int = 0, stop: int | None = None, step: int = 1
) -> Iterator[Image]:
    """Frames of a video, from 0."""
    source = cv2.VideoCapture(str(context.assets / name))
    try:
        for number in range(stop or 1 << 30):
            wanted = number >= start and (number - start) % step == 0
            good, frame = source.read() if wanted else (source.grab(), None)
            if not good:
                return
            if frame is not None:
                yield np.asarray(frame, np.uint8)
    finally:
        source.release()


def belt(count: int, seed: int = 7, start: int = 0) -> Iterator[Image]:
    """Bottle caps on a moving belt."""
    scene = Scene(seed)
    return (scene.frame(start + k)[0] for k in range(count))


JAM_AT, JAM_FRAMES = 24, 45


def jammed_belt(_context: Context) -> Iterator[Image]:
    """The belt runs, stands still for three seconds, and runs again; the sensor's noise goes on."""
    scene, random = Scene(11), np.random.default_rng(5)
    for k in [*range(JAM_AT), *[JAM_AT] * JAM_FRAMES, *range(JAM_AT, JAM_AT + 20)]:
        picture = scene.frame(k)[0]
        yield np.clip(picture + random.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


QUEUES = (0, 1, 2, 3, 4, 2, 0)
"""How many wait; each for three frames, and somebody else walks by outside the zone."""
_PLACES = ((120, 405), (235, 412), (350, 408), (465, 415))


def queue(context: Context) -> Iterator[Image]:
    """People who wait side by side at a till, of whom some come and go."""
    for number in (n for n in QUEUES for _ in range(3)):
        waiting = [Placed(i, x, feet, 225) for i, (x, feet) in enumerate(_PLACES[:number])]
        yield context.room.frame([Placed(4, 670, 280, 190), *waiting])


VESTS = ((True, True, True), (True, False, True), (False, False), (True,), ())
"""Who wears one; the people of five pictures."""


def workers(context: Context) -> Iterator[Image]:
    for vests in VESTS:
        placed = [Placed(i, 170 + 210 * i, 400 - 8 * i, 290, vest) for i, vest in enumerate(vests)]
        yield context.room.frame(placed)


PARKED = tuple(tuple(bool((k * 37 + 11) >> bay & 1) for bay in range(drawn.BAYS)) for k in range(12))
READINGS = (190347, 190348, 190999, 191000, 604871, 12)
LABELS = ("LOT-2741", "LOT-2741", "LOT-2714", "", "LOT-2741")


def crates(_context: Context) -> Iterator[Image]:
    for seed, text in enumerate(LABELS, 10):
        yield drawn.crate(text, seed) if text else drawn.bare_crate(seed)


def _caps(version: str) -> Model:
    return lambda _context: CAPS / version


PEOPLE: Mapping[str, Model] = {"people/1": detector}
APPLICATIONS = (
    Application("line_count", 5.0, lambda c: video(c, VIDEO, step=2), 318, ("count_in", "count_out"), PEOPLE),
    Application("time_in_zone", 5.0, lambda c: video(c, VIDEO, 40, 240, 2), 72, ("times_s", "overdue"), PEOPLE),
    Application("reject_with_plc", BELT_FPS, lambda _: belt(120), 30, ("rejects", "reject_classes"),
                {"caps/1": _caps("v2")}, needs_assets=False),
    Application("two_model_consensus", BELT_FPS, lambda _: islice(belt(60), 0, None, 3), 12,
                ("verdict", "seen", "agreed"), {"caps/1": _caps("v1"), "caps/2": _caps("v2")}, needs_assets=False),
    Application("label_check", 1.0, crates, 2, ("verdict",), needs_assets=False),
    Application("parking", 1.0, lambda _: (drawn.car_park(taken, k) for k, taken in enumerate(PARKED)), 3,
                ("bays", "count"), needs_assets=False),
    Application("ppe_check", 1.0, workers, 1, ("people", "without_vest", "alarm"), {**PEOPLE, "vests/1": lambda c: matched.vests(c.work)}),
    Application("queue_length", 3.0, queue, 13, ("length", "advice"), PEOPLE),
    Application("stopped_object", BELT_FPS, jammed_belt, JAM_AT + 40, ("jam", "stopped"),
                {"caps/1": _caps("v2")}, needs_assets=False),
    Application("restricted_area", 2.0, lambda c: video(c, VIDEO, 40, 240, 5), 20, ("alarm", "inside", "hour"), PEOPLE),
    Application("shelf_stock", 1.0, lambda c: video(c, BOTTLES, 15, None, 30), 20, ("count", "stock"), {"bottles/1": detector}),
    Application("meter_reading", 1.0, lambda _: (drawn.meter(n, k) for k, n in enumerate(READINGS)), 0,
                ("reading", "least_sure"), {"digits/1": lambda c: matched.digits(c.work)}, needs_assets=False),
)  # fmt: skip


def definition(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def run(
    application: Application,
    context: Context,
    *,
    parameters: Mapping[str, Any] | None = None,
    desk: Desk | None = None,
    at_wall: float | None = None,
    sketched: bool = False,
) -> Iterator[tuple[Image, dict[str, Any]]]:
    """Each frame with the outputs on it. `sketched`: a drawn scene stands for each frame once the detector has seen it.

    :raises RuntimeError: a step failed, or a model gave no answer
    """
    graph = compile_definition(definition(application.name))
    wall = application.at_wall if at_wall is None else at_wall
    with ExitStack() as held:
        engines: dict[str, Asked | Sketcher] = {}
        frames = application.frames(context)
        for model_id, make in application.models.items():
            model = held.enter_context(outrider.load(make(context), exact=False, **_family(make)))
            if sketched and make is detector:
                sketcher = Sketcher(model)
                engines[model_id], frames = sketcher, sketcher.frames(frames)
            else:
                engines[model_id] = Asked(model)
        around = Surroundings(lambda: wall, time.monotonic, desk=desk or Rehearsal())
        executor = Executor(graph, engines, around)
        for number, image in enumerate(frames):
            metadata = VideoMetadata(
                application.name, number, wall + number / application.fps, application.fps, True
            )
            outcome = executor.run({**(parameters or {}), "image": ImageValue(image, metadata)})
            if outcome.errors or outcome.no_answer:
                raise RuntimeError(
                    f"{application.name}, frame {number}: {outcome.errors or outcome.no_answer}"
                )
            yield image, outcome.outputs[0]
        executor.close()


def _family(make: Model) -> dict[str, Any]:
    return {"family": "yolox", "labels": "coco80"} if make is detector else {}


def picture(application: Application, image: Image, outputs: Mapping[str, Any]) -> Image:
    """What the workflow drew, or the frame, with its outputs below."""
    shown = outputs["picture"].image if "picture" in outputs else image
    width_px = 640
    shown = cv2.resize(
        shown, (width_px, round(shown.shape[0] * width_px / shown.shape[1])), interpolation=cv2.INTER_AREA
    )
    bar = np.full((34, width_px, 3), 32, np.uint8)
    words = "   ".join(f"{name}: {_words(outputs[name])}" for name in application.told)
    cv2.putText(bar, words, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([shown, bar])


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (list, np.ndarray)):
        return ", ".join(_words(entry) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.workflows.gallery", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones; default all")
    parser.add_argument("--assets", type=Path, required=True, help="folder of real models and videos")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        context = Context(arguments.assets, Path(work))
        for application in APPLICATIONS:
            if arguments.names and application.name not in arguments.names:
                continue
            outcomes = run(application, context, sketched=application.needs_assets)
            for image, outputs in islice(outcomes, application.shown, application.shown + 1):
                shown = picture(application, image, outputs)
                cv2.imwrite(str(FOLDER / f"{application.name}.jpg"), shown, [cv2.IMWRITE_JPEG_QUALITY, 85])
                print(application.name)


if __name__ == "__main__":
    main()
