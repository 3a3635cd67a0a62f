"""The two versions of a model that the demo swaps: what the user gave, packed with a golden image where one can be had."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from outrider.demo.processes import DemoFailed
from outrider.demo.stage import outrider
from wire.source import EXPECTED, Kind, kind_of

OTHER_SCORE = "0.5"
"""The threshold of the second version where the user gave one model only."""


@dataclass(frozen=True)
class Version:
    """A packed model and what to call it in the terminal."""

    directory: Path
    name: str
    words: str


def prepare(
    model: Path, other: Path | None, golden: Path | None, labels: str, into: Path
) -> tuple[Version, Version]:
    """Pack the model, and as its second version the other one, or the same weights with a higher threshold.

    :raises DemoFailed: a model cannot be packed, with the packer's words
    """
    first = _pack(model, "v1", golden, labels, into, [])
    if other is not None:
        return first, _pack(other, "v2", golden, labels, into, [])
    if model.is_dir():
        second = _raised(model, into / "v2")
    else:
        second = _pack(model, "v2", golden, labels, into, ["--score", OTHER_SCORE]).directory
    return first, Version(second, "v2", f"{model.stem}, the same weights, reporting from score {OTHER_SCORE}")


def _pack(model: Path, name: str, golden: Path | None, labels: str, into: Path, more: list[str]) -> Version:
    if model.is_dir():
        return Version(model, name, model.name)
    if not model.is_file():
        raise DemoFailed(f"no model at {model}; give MODEL=path/to/model.onnx or a model package")
    arguments = ["model", "pack", str(model), "--out", str(into / name), "--name", model.stem, *more]
    arguments += ["--golden", str(golden)] if golden else ["--no-golden"]
    arguments += ["--labels", labels] if labels else []
    outrider(*arguments, temporary=into)
    return Version(into / name, name, model.stem)


def _raised(package: Path, into: Path) -> Path:
    shutil.copytree(package, into)
    text = (into / "model.toml").read_text()
    lines = [
        f"score_threshold = {OTHER_SCORE}" if line.startswith("score_threshold") else line
        for line in text.splitlines()
    ]
    (into / "model.toml").write_text("\n".join(lines) + "\n")
    return into


def golden_frame(source: str, into: Path) -> Path | None:
    """A frame from a third into the file as PNG, for the golden check; None for a source that is no file.

    :raises DemoFailed: the source is of no known form, not there, or no video
    """
    import cv2

    kind = kind_of(source)
    if kind is None:
        raise DemoFailed(f"SOURCE {source!r} is of no known form; expected {EXPECTED}")
    if kind is not Kind.FILE:
        return None
    path = Path(source.removeprefix("file://")).expanduser()
    if not path.is_file():
        raise DemoFailed(f"no video at {path}; expected {EXPECTED}")
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) // 3)
    ok, image = capture.read()
    if not ok:
        capture.open(str(path))
        ok, image = capture.read()
    capture.release()
    if not ok:
        raise DemoFailed(f"{path} cannot be read as a video; give one that ffmpeg can play")
    golden = into / "golden.png"
    return golden if cv2.imwrite(str(golden), image) else None
