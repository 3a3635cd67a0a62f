"""The SDK: load a model, ask it about pictures.

    model = outrider.load("yolox_nano.pkg")
    result = model.predict("street.jpg")
    for name, score in zip(result.class_names, result.scores): ...

Results are those of the authors' own preprocessing (the exact path); `exact=False` gives what a device computes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.errors import ModelRefused, SourceRefused, Transient
from runtime.model import package
from runtime.model.inprocess import InProcessEngine
from runtime.model.session import LoadOptions
from runtime.model.spec import ModelSpec
from runtime.results import Answer, Image, NoAnswer, Result
from wire.problem import shown
from wire.reasons import Reason

_WEIGHT_SUFFIXES = (".data", ".bin", ".weights")


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """A `Result` that can be drawn and handed to the library supervision."""

    def draw(self, image: Image) -> Image:
        """A copy of the picture, (H, W, 3) uint8 BGR, with the result on it."""
        from runtime.draw import annotate

        return annotate(image, self)

    def to_supervision(self) -> Any:
        """As the library's own values: `supervision.Classifications` for the classes of a whole image, else `Detections`.

        Class names are in `data["class_name"]`, masks decoded, corners of oriented boxes in `data["xyxyxyxy"]`, keypoints in
        `data["keypoints_xy"]` and `data["keypoints_confidence"]`, texts in `data["text"]`. A class map gives one detection for
        each class in it but 0. An embedding is in `metadata["embedding"]`.
        """
        from outrider import interop

        return interop.to_supervision(self)

    def to_keypoints(self) -> Any:
        """As `supervision.KeyPoints`.

        :raises ValueError: the model gives none
        """
        from outrider import interop

        return interop.to_keypoints(self)


class Model:
    """A model that is ready to be asked. One thread at a time may call it."""

    def __init__(self, engine: InProcessEngine) -> None:
        self._engine = engine

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by class id."""
        return self._engine.spec.labels

    @property
    def digest(self) -> str:
        """`sha256:…` of the whole package: what a device reports beside each result."""
        return self._engine.digest

    @property
    def directory(self) -> Path:
        """Where the package lies; for an archive or ONNX file, its place in the cache."""
        return self._engine.model.directory

    @property
    def info(self) -> dict[str, Any]:
        """Engine, provider, shapes: for people."""
        return self._engine.model.info

    def predict(self, image: Image | str | Path) -> Prediction:
        """Ask about one picture: (H, W, 3) uint8 BGR, or the path of a picture file.

        :raises SourceRefused: the file is no picture
        :raises ModelRefused: the array is no picture
        :raises Transient: the model gave no answer; `reason` says why
        """
        return self.predict_many([image])[0]

    def predict_many(self, images: Sequence[Image | str | Path]) -> list[Prediction]:
        """Ask about several pictures, together where the model takes batches; raises as `predict`."""
        return [_prediction(answer) for answer in self.ask(images)]

    def ask(self, images: Sequence[Image | str | Path]) -> list[Answer]:
        """As `predict_many`, but `NoAnswer` is returned and not raised."""
        pictures = [image if isinstance(image, np.ndarray) else read_image(image) for image in images]
        return self._engine.submit(pictures).wait(0.0)

    def check_golden(self) -> dict[str, Any]:
        """Compare with what the package promises; the figures.

        :raises ModelRefused: GOLDEN_MISMATCH
        """
        return self._engine.model.check_golden()

    def close(self) -> None:
        """Give the model's memory back."""
        self._engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(
    source: str | os.PathLike[str],
    *,
    exact: bool = True,
    evaluation: bool = False,
    engine: str = "auto",
    threads: int = 0,
    precision: str = "",
    unverified: bool = False,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    family: str | None = None,
    labels: str | list[str] | None = None,
    size: tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a package directory, a `.tar.zst`, or an ONNX file, which is packed into the cache first.

    `exact`: the authors' own resize; False gives what a device computes. `evaluation`: decode as the family's authors do when
    they measure AP, nearly every box counting. `precision`: "" is the package's own; another must pass the golden check, unless `unverified`. Thresholds: None leaves the package's. `family`, `labels`, `size` are for an ONNX file only.

    :raises ModelRefused: with every problem found
    """
    cache = Path(cache_dir) if cache_dir is not None else default_cache()
    options = LoadOptions(
        engine=engine,
        threads=threads,
        precision=precision,
        unverified=unverified,
        cache_dir=cache,
        exact=exact,
        evaluation=evaluation,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    directory = package_directory(source, cache, family=family, labels=labels, size=size)
    return Model(InProcessEngine(directory, options))


def package_directory(
    source: str | os.PathLike[str],
    cache: Path | None = None,
    *,
    family: str | None = None,
    labels: str | list[str] | None = None,
    size: tuple[int, int] | None = None,
) -> Path:
    """The directory of a package; an archive or ONNX file is unpacked or packed into the cache first.

    :raises ModelRefused: no such file, or with every problem found
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _from_file(path, cache or default_cache(), family, labels, size)
    if not path.is_dir():
        raise ModelRefused(
            Reason.PACKAGE_INVALID, f"{path}: no such file or directory; name a package or an ONNX file"
        )
    return path


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/outrider`, or `~/.cache/outrider`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outrider"


def read_image(path: str | Path) -> Image:
    """A picture file as (H, W, 3) uint8 BGR, turned as its EXIF says.

    :raises SourceRefused: no such file, or no picture
    """
    if not isinstance(path, (str, os.PathLike)):
        raise SourceRefused(Reason.CAMERA_SOURCE_INVALID, f"{shown(path)}: give an array or a path")
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as e:
        raise SourceRefused(
            Reason.CAMERA_SOURCE_INVALID, f"{path}: {e.strerror or e}; correct the path"
        ) from e
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise SourceRefused(
            Reason.CAMERA_SOURCE_INVALID, f"{path} ({content.size} bytes): no picture OpenCV can read"
        )
    return np.asarray(image, np.uint8)


def _prediction(answer: Answer) -> Prediction:
    if isinstance(answer, NoAnswer):
        raise Transient(answer.reason, answer.message or answer.reason.text)
    return Prediction(**{field.name: getattr(answer, field.name) for field in fields(Result)})


def _from_file(
    path: Path,
    cache: Path,
    family: str | None,
    labels: str | list[str] | None,
    size: tuple[int, int] | None,
) -> Path:
    """The package directory of an archive or ONNX file, made in the cache when it is not there yet."""
    key = hashlib.sha256(repr((_identity(path), family, _labels_identity(labels), size)).encode()).hexdigest()
    directory = cache / "packages" / key[:32]
    if directory.is_dir():
        return directory
    try:
        if path.name.endswith(".tar.zst"):
            from runtime.model import archive

            archive.unpack(path, directory)
        else:
            _pack(path, directory, cache, family, labels, size)
    except (ModelRefused, OSError):
        if not directory.is_dir():  # another process may have made it meanwhile
            raise
    return directory


def _pack(
    path: Path,
    directory: Path,
    cache: Path,
    family: str | None,
    labels: str | list[str] | None,
    size: tuple[int, int] | None,
) -> None:
    from runtime.model.pack import PackOptions, pack

    options = PackOptions(name=path.stem, family=family, labels=labels, no_golden=True, size=size)
    pack(path, directory, options, LoadOptions(cache_dir=cache))


def _identity(path: Path) -> tuple[Any, ...]:
    """Content of the file; weights that lie beside it by size and time, since hashing gigabytes at each start is too dear."""
    beside = sorted(p for p in path.parent.glob("*") if p.suffix in _WEIGHT_SUFFIXES and p.is_file())
    return package.hash_file(path), [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in beside]


def _labels_identity(labels: str | list[str] | None) -> str:
    if isinstance(labels, str) and Path(labels).is_file():
        return package.hash_file(Path(labels))
    return repr(labels)
