"""`outrider infer SOURCE --model PACKAGE`: a model over a video, a picture, a folder of pictures, or a camera."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wire.redact import redact

if TYPE_CHECKING:
    from outrider.sdk import Model
    from runtime.results import Answer, Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_BAR_CHARS = 30
_BAR_PERIOD_S = 0.1
_DEFAULT_FPS = 25.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="a video, a picture, a folder of pictures, rtsp://…, or a camera's number"
    )
    parser.add_argument("--model", required=True, help="a package directory, a .tar.zst, or an ONNX file")
    parser.add_argument(
        "--out", type=Path, help="annotated video (.mp4, .avi), picture, or a folder for pictures"
    )
    parser.add_argument("--json", metavar="FILE", help="one JSON object a frame; - is standard output")
    parser.add_argument(
        "--live", action="store_true", help="preprocess as a device does, not as the authors do"
    )
    parser.add_argument("--score", type=float, help="least score of a detection (default: the package's)")
    parser.add_argument("--labels", help="for an ONNX file: coco80, coco91, or a text file")
    parser.add_argument("--family", help="for an ONNX file: instead of recognising it")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0 lets the engine choose")
    parser.add_argument("--limit", type=int, default=0, help="stop after this many frames")
    parser.add_argument("--no-progress", action="store_true")


def run(args: argparse.Namespace) -> int:
    from outrider.sdk import load
    from runtime.errors import RuntimeFault

    try:
        frames = open_frames(args.source)
        model = load(
            args.model, exact=not args.live, engine=args.engine, threads=args.threads,
            score_threshold=args.score, family=args.family, labels=args.labels,
        )  # fmt: skip
        with model, ExitStack() as files:
            sinks = _sinks(args, model, frames, files)
            return _loop(frames, model, sinks, args)
    except (RuntimeFault, OSError) as e:
        print(f"outrider: {e}", file=sys.stderr)
        return 1


@dataclass(frozen=True)
class Frame:
    """`name` is the picture's file, or empty; `at_s` the place in the video, or None."""

    number: int
    image: Image
    name: str = ""
    at_s: float | None = None


@dataclass(frozen=True)
class Frames:
    """A source: `total` is 0 where nobody knows."""

    name: str
    total: int
    fps: float
    is_video: bool
    each: Callable[[], Iterator[Frame]]


def open_frames(source: str) -> Frames:
    """Open a source.

    :raises SourceRefused: there is none, or it holds no picture
    """
    from runtime.errors import SourceRefused
    from wire.reasons import Reason

    path = Path(source)
    if path.is_dir():
        pictures = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        if not pictures:
            raise SourceRefused(
                Reason.CAMERA_SOURCE_INVALID, f"{source}: no pictures in it; expected {', '.join(PICTURES)}"
            )
        return Frames(source, len(pictures), 0.0, False, lambda: _pictures(pictures))
    if path.suffix.lower() in PICTURES:
        return Frames(source, 1, 0.0, False, lambda: _pictures([path]))
    return _video(source)


def _pictures(paths: list[Path]) -> Iterator[Frame]:
    from outrider.sdk import read_image

    for number, path in enumerate(paths):
        yield Frame(number, read_image(path), path.name)


def _video(source: str) -> Frames:
    import cv2

    from runtime.errors import SourceRefused
    from wire.reasons import Reason

    if "://" not in source and not source.isdigit() and not Path(source).exists():
        raise SourceRefused(
            Reason.CAMERA_SOURCE_INVALID, f"{source}: no such file or directory; correct the path"
        )
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise SourceRefused(
            Reason.CAMERA_UNREACHABLE,
            f"{redact(source)}: cannot be opened as a video; check the file or address",
        )
    fps = float(capture.get(cv2.CAP_PROP_FPS)) or _DEFAULT_FPS
    total = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def each() -> Iterator[Frame]:
        number = 0
        try:
            while True:
                good, image = capture.read()
                if not good:
                    return
                yield Frame(number, image, at_s=number / fps)
                number += 1
        finally:
            capture.release()

    return Frames(redact(source), total, fps, True, each)


def _sinks(
    args: argparse.Namespace, model: Model, frames: Frames, files: ExitStack
) -> list[Callable[[Frame, Answer], None]]:
    sinks: list[Callable[[Frame, Answer], None]] = []
    if args.json:
        if args.json == "-":
            stream: IO[str] = sys.stdout
        else:
            path = Path(args.json)
            stream = files.enter_context(path.open("w", encoding="utf-8"))
        digest = model.digest
        sinks.append(lambda frame, answer: _json_line(stream, frames.name, frame, answer, model, digest))
    if args.out:
        sinks.append(_drawing(args.out, frames, files))
    if not sinks:
        sinks.append(_telling(frames))
    return sinks


def _json_line(stream: IO[str], source: str, frame: Frame, answer: Answer, model: Model, digest: str) -> None:
    from runtime.results import NoAnswer

    body: dict[str, Any] = {
        "source": source,
        "frame": frame.number,
        "model": model.spec.name,
        "digest": digest,
    }
    if frame.name:
        body["file"] = frame.name
    if frame.at_s is not None:
        body["at_s"] = round(frame.at_s, 3)
    if isinstance(answer, NoAnswer):
        body |= {"no_answer": answer.reason.value, "message": answer.message}
    else:
        body |= {"image_wh": list(answer.image_wh), "detections": detections(answer), **whole(answer)}
    stream.write(json.dumps(body, separators=(",", ":")) + "\n")


def detections(result: Any) -> list[dict[str, Any]]:
    """The detections as JSON: boxes in image pixels, x1 y1 x2 y2, and what the task has besides."""
    import numpy as np

    out: list[dict[str, Any]] = [
        {
            "class": name,
            "class_id": int(class_id),
            "score": round(float(score), 4),
            "box": [round(float(v), 2) for v in box],
        }
        for name, class_id, score, box in zip(
            result.class_names, result.class_ids, result.scores, result.boxes, strict=True
        )
    ]
    columns: dict[str, Any] = {"mask": result.masks, "text": result.texts}
    for name, values, digits in (("oriented", result.oriented, 4), ("keypoints", result.keypoints, 3)):
        columns[name] = None if values is None else np.round(values.astype(float), digits).tolist()
    for name, values in columns.items():
        for entry, value in zip(out, values or (), strict=False):
            entry[name] = value
    return out


def whole(result: Any) -> dict[str, Any]:
    """What is said about the whole image, as JSON; a class map as one mask for each class in it but 0."""
    import numpy as np

    from runtime import masks

    out: dict[str, Any] = {}
    if result.classes is not None:
        out["classes"] = [
            {"class": name, "class_id": class_id, "score": round(score, 4)}
            for class_id, name, score in result.top()
        ]
    if result.semantic is not None:
        out["semantic"] = [
            {"class": result.label(i), "class_id": i, "mask": masks.encode(result.semantic == i)}
            for i in np.unique(result.semantic).tolist()
            if i
        ]
    if result.embedding is not None:
        out["embedding"] = [round(float(v), 6) for v in result.embedding]
    return out


def _words(result: Any) -> str:
    """A result in a few words."""
    import numpy as np

    found = [
        f"{result.texts[i] if result.texts else name} {score:.2f}"
        for i, (name, score) in enumerate(zip(result.class_names, result.scores, strict=True))
    ]
    found += [f"{name} {score:.2f}" for _, name, score in result.top(3)]
    if result.semantic is not None:
        ids, counts = np.unique(result.semantic, return_counts=True)
        found += [
            f"{result.label(int(i))} {n / result.semantic.size:.0%}" for i, n in zip(ids, counts, strict=True)
        ]
    if result.embedding is not None:
        found.append(f"embedding of {len(result.embedding)} numbers")
    return ", ".join(found) or "nothing"


def _drawing(out: Path, frames: Frames, files: ExitStack) -> Callable[[Frame, Answer], None]:
    from runtime.draw import annotate
    from runtime.results import NoAnswer

    write = pictures_to(out, frames, files)
    return lambda frame, answer: write(
        frame, frame.image if isinstance(answer, NoAnswer) else annotate(frame.image, answer)
    )


def pictures_to(out: Path, frames: Frames, files: ExitStack) -> Callable[[Frame, Image], None]:
    """Writes drawn frames: to a video, to a picture, or to a folder of pictures, by the name's ending."""
    import cv2

    to_video = out.suffix.lower() in (".mp4", ".avi", ".mkv")
    to_picture = out.suffix.lower() in PICTURES
    (out.parent if to_video or to_picture else out).mkdir(parents=True, exist_ok=True)
    writers: list[cv2.VideoWriter] = []

    def write(frame: Frame, picture: Image) -> None:
        if to_video:
            if not writers:
                writers.append(_writer(out, frames.fps or _DEFAULT_FPS, picture))
                files.callback(writers[0].release)
            writers[0].write(picture)
            return
        target = out if to_picture else out / (frame.name or f"{frame.number:06d}.jpg")
        if not cv2.imwrite(str(target), picture):
            raise OSError(f"{target}: cannot be written; check the folder and the ending")

    return write


def _writer(out: Path, fps: float, picture: Image) -> Any:
    import cv2

    code = "MJPG" if out.suffix.lower() == ".avi" else "mp4v"
    writer = cv2.VideoWriter(
        str(out), cv2.VideoWriter.fourcc(*code), fps, (picture.shape[1], picture.shape[0])
    )
    if not writer.isOpened():
        raise OSError(f"{out}: this OpenCV cannot write such a video; try .mp4 or .avi")
    return writer


def _telling(frames: Frames) -> Callable[[Frame, Answer], None]:
    """With neither --out nor --json: a line a picture, or nothing but the summary for a video."""
    from runtime.results import NoAnswer

    def tell(frame: Frame, answer: Answer) -> None:
        if frames.is_video:
            return
        if isinstance(answer, NoAnswer):
            print(f"{frame.name}: no answer: {answer.message}")
            return
        print(f"{frame.name}: {_words(answer)}")

    return tell


def _loop(
    frames: Frames, model: Model, sinks: list[Callable[[Frame, Answer], None]], args: argparse.Namespace
) -> int:
    from runtime.results import NoAnswer

    total = min(frames.total, args.limit) if args.limit and frames.total else args.limit or frames.total
    bar = Bar(total, sys.stderr, shown=not args.no_progress and sys.stderr.isatty())
    done = found = unanswered = 0
    started_mono = time.monotonic()
    try:
        for frame in frames.each():
            (answer,) = model.ask([frame.image])
            for sink in sinks:
                sink(frame, answer)
            done += 1
            if isinstance(answer, NoAnswer):
                unanswered += 1
            else:
                found += len(answer)
            bar.show(done, time.monotonic())
            if args.limit and done >= args.limit:
                break
    except KeyboardInterrupt:
        print("\ninterrupted; what was done so far is written", file=sys.stderr)
    finally:
        bar.end()
    taken_s = max(time.monotonic() - started_mono, 1e-9)
    words = f", {unanswered} without an answer" if unanswered else ""
    print(
        f"{done} frames, {found} detections{words}, {taken_s:.1f} s, {done / taken_s:.1f} frames/s",
        file=sys.stderr,
    )
    return 0 if done and not unanswered else 1


class Bar:
    """A progress bar of one line, drawn at most ten times a second."""

    def __init__(self, total: int, stream: IO[str], *, shown: bool) -> None:
        self._total = total
        self._stream = stream
        self._shown = shown
        self._first_mono = self._last_mono = 0.0

    def show(self, done: int, at_mono: float) -> None:
        if not self._shown or at_mono - self._last_mono < _BAR_PERIOD_S:
            return
        self._first_mono = self._first_mono or at_mono
        self._last_mono = at_mono
        self._stream.write("\r" + self.line(done, at_mono - self._first_mono) + "\x1b[K")
        self._stream.flush()

    def line(self, done: int, taken_s: float) -> str:
        """The bar's text."""
        rate = done / taken_s if taken_s > 0 else 0.0
        if not self._total:
            return f"{done} frames  {rate:.1f}/s"
        full = min(_BAR_CHARS, _BAR_CHARS * done // self._total)
        left_s = (self._total - done) / rate if rate else 0.0
        bar = "█" * full + "░" * (_BAR_CHARS - full)
        return f"{bar} {done}/{self._total}  {rate:.1f}/s  {left_s:.0f} s left"

    def end(self) -> None:
        if self._shown and self._last_mono:
            self._stream.write("\n")
