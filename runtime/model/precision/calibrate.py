"""Finds how large a model's activations get on the user's own pictures: what the steps of INT8 and FP8 are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused
from runtime.model.preprocess import BytePreprocessor, normalise
from runtime.model.spec import InputSpec
from wire.reasons import Reason

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MIN_PICTURES = 8
"""Fewer say little about what a camera will show."""
MAX_PICTURES = 256
"""More change the ranges by less than a step."""
SHARE = 0.9999
"""Of an activation's values in one picture that the range covers: a few outliers are cut, and all others have finer steps."""


def pictures(folder: Path) -> list[Path]:
    """Picture files of a folder and those below it, by name, spread evenly where there are too many.

    :raises ModelRefused: INVALID_FIELD: too few
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if len(found) < MIN_PICTURES:
        raise ModelRefused(
            Reason.INVALID_FIELD,
            f"calibration: {folder} holds {len(found)} pictures; give at least {MIN_PICTURES}, better 100, "
            "from the cameras that the model will see",
        )
    step = max(1.0, len(found) / MAX_PICTURES)
    return [found[int(i * step)] for i in range(int(len(found) / step))]


def ranges(
    model: Any, spec: InputSpec, names: list[str], files: list[Path], tell: Callable[[str], object]
) -> dict[str, float]:
    """The magnitude of each named activation that covers `SHARE` of its values in every picture. `model` is left as it is.

    :raises ModelRefused: a picture cannot be read, or the graph does not run
    """
    found = dict.fromkeys(names, 0.0)
    asked = [name for name in names if name != spec.name]
    if not names:
        return {}
    session = _session(model, asked)
    for count, batch in enumerate(_batches(files, spec), start=1):
        try:
            made = dict(zip(asked, session.run(asked, {spec.name: batch}), strict=True))
        except Exception as e:  # the runtime's errors share no base
            raise ModelRefused(Reason.MODEL_LOAD_FAILED, f"calibration: the graph does not run: {e}") from e
        for name in names:
            found[name] = max(found[name], _magnitude(made.get(name, batch)))
        tell(f"calibrating, {count} of {len(files)} pictures")
    return found


def _session(model: Any, names: list[str]) -> Any:
    import onnx
    import onnxruntime

    opened = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        opened.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def _magnitude(value: npt.NDArray[Any]) -> float:
    flat = np.abs(np.asarray(value, np.float32)).ravel()
    if not np.isfinite(flat).all():
        raise ModelRefused(
            Reason.MODEL_NAN, "calibration: an activation is not a number; check the weights of the model"
        )
    last = flat.size - 1
    return float(np.partition(flat, int(SHARE * last))[int(SHARE * last)]) if flat.size else 0.0


def _batches(files: list[Path], spec: InputSpec) -> Iterator[npt.NDArray[Any]]:
    import cv2

    preprocess = BytePreprocessor(spec)
    tensor = np.empty(spec.tensor_shape, np.uint8)
    for file in files:
        content = np.fromfile(file, np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if image is None:
            raise ModelRefused(Reason.INVALID_FIELD, f"calibration: {file} is no picture that can be read")
        preprocess.into(np.asarray(image, np.uint8), tensor)
        yield np.repeat(normalise(tensor, spec)[None], spec.batch or 1, axis=0)
